"""Routes: choosing the route of a request, and the routes.

Begin with ``routing``, which opens routes. In an event loop they are opened in turn: see ``opening_turns``. ``route``
has the base class; ``scope_route`` has the base class of routes through a scope, and the route through a cassette. The
others are ``script_route`` and ``faulted_route``.

Imported by ``callers``, ``clients``, ``script_transport``, ``intercept`` and ``engine``.
"""

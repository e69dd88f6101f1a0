"""Routes: the choice of a route for a request, and the routes.

Begin with ``routing``, which opens them; for an event loop in turns, as ``opening_turns`` says. ``route`` is what all
routes are; ``scope_route`` is what those through a scope have in common, and the one through a cassette; the others are
``script_route`` and ``faulted_route``.

Imported by ``callers``, ``clients``, ``script_transport``, ``intercept`` and ``engine``.
"""

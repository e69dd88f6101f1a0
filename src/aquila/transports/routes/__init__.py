"""Routes: which way a request goes, and what each way does.

Begin with ``routing``. ``route`` is what all routes are, and ``scope_route`` what those through a scope have in common:
``cassette_route``, ``script_route`` and ``faulted_route``, of which ``scope_routes`` opens one.
"""

"""Other people's code: where their HTTP clients are caught, and where the network is refused.

Begin with ``policy``, which says for one request or connection: answered by a scope, let go, or refused.
``httpx_clients`` patches httpx and httpx2, ``vcr_clients`` every other HTTP client through vcrpy's stubs,
``socket_guard`` sockets; ``activation`` turns all of it on and off; ``provider_data`` is the table of who is guarded.
"""

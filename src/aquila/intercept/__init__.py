"""Other people's code: where their HTTP clients are caught, and where the network is refused.

Begin with ``policy``, which says for one request or connection: answered by a scope, let through, or refused.
``httpx_clients`` patches httpx and httpx2, ``vcr_clients`` every other HTTP client: aiohttp is answered by
``aiohttp_answers``, the rest by ``vcr_stubs``, on the stubs of vcrpy, ``socket_guard`` sockets and TLS handshakes;
all of them by ``patching``. ``activation`` puts them in force and takes them back, with ``dummy_keys`` and what
``child_processes`` are told.

``use_cassette`` opens a scope for a block or a function.
"""

"""The client libraries whose WebSockets are intercepted: one module for each kind of client.

``clients``, a folder above, lists the intercepted methods. ``websockets_protocol`` has the parts that the clients of
the library websockets share: ``websockets_asyncio``, ``websockets_sync`` and, before version 14, ``websockets_legacy``.
The others are ``aiohttp_sockets``, ``websocket_client``, and ``httpx_sockets`` for httpx-ws. ``function_code`` replaces
a function wherever its name was bound.

Begin with ``websockets_protocol``. Imported by ``clients``, and by ``intercept.http_clients``.
"""

"""The client libraries whose WebSockets are caught: one module for each way in which one of them connects.

Which there are is in ``clients``, a folder above. ``websockets_protocol`` has what the clients of ``websockets`` share,
``function_code`` replaces a function wherever its name was bound.
"""

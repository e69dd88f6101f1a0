"""Intercepts the HTTP clients of other libraries, and refuses connections that nothing asked for.

Begin with ``policy``, which decides whether a request or connection is answered by a scope, let through, or refused.

- ``http_clients`` intercepts the requests of HTTP libraries. ``own_sockets`` answers clients without any library,
  ``web_sockets`` the clients of WebSockets.
- ``connections`` guards the connections below them. ``sealing`` starts a run in a namespace in which the kernel refuses
  every connection. The table of guarded hosts is in ``aquila.recording.network.model_hosts``, the text of a refusal in
  ``aquila.recording.network.guard``.
- ``processes`` brings child processes into the run. ``queues`` keeps the jobs of tests away from real queues.
- ``activation`` puts all of this in force and undoes it, by ``patching`` and, for a library that is imported later,
  ``calling_loader``. ``unknown_modules`` notes a module that cannot be patched. ``dummy_keys`` puts dummies into the
  variables of the table ``provider_keys``. ``blocking_calls`` lets blockbuster accept Aquila's own calls.
- ``use_cassette`` opens a scope: ``scope_block`` for a block, ``decorated_functions`` for a function.

Imported by everything below it in the plan of the house.
"""

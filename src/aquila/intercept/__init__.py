"""Other people's code: where their HTTP clients are caught, and where the network is refused.

Begin with ``policy``, which says for one request or connection: answered by a scope, let through, or refused.

- HTTP clients: ``httpx_clients`` patches httpx and httpx2, ``other_clients`` all others. Of these, aiohttp is answered
  by ``aiohttp_answers``, the rest by ``vcr_stubs``, on the stubs of vcrpy. ``own_sockets`` answers clients without any
  library, ``web_sockets`` those of WebSockets. ``side_requests`` is the table of what libraries send by themselves.
- Connections: ``socket_guard`` patches sockets and TLS handshakes, ``native_clients`` libraries that connect by
  themselves, and ``sealing`` puts a run where the kernel refuses. Which hosts are guarded is in
  ``aquila.recording.network.model_hosts``, what a refusal says in ``aquila.recording.network.guard``.
- ``activation`` puts all of this in force and takes it back, by ``patching``, with ``dummy_keys`` for the variables in
  the table ``provider_keys``.
- Other processes and threads: ``child_processes`` tells children of the run, and ``parent_run`` joins it there;
  ``left_threads`` are those that outlive it.

``use_cassette`` opens a scope for a block or a function.
"""

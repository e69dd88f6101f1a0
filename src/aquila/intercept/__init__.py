"""Other people's code: where their HTTP clients are caught, and where the network is refused.

Begin with ``policy``, which says for one request or connection: answered by a scope, let through, or refused.

- HTTP clients: ``httpx_clients`` patches httpx and httpx2, ``other_clients`` all others: aiohttp, urllib3 (requests,
  botocore), httplib2, ``http.client``. What aiohttp asks is answered by ``aiohttp_answers``, the rest by ``vcr_stubs``,
  on the stubs of vcrpy, with the bodies that ``given_bodies`` reads. ``foreign_mocks`` recognises mocks of others below
  a client. ``own_sockets`` answers clients without any library, ``web_sockets`` those of WebSockets. ``side_requests``
  is the table of what libraries send by themselves.
- Connections: ``socket_guard`` patches sockets and TLS handshakes, ``native_clients`` libraries that connect by
  themselves, ``compiled_clients`` those in Rust and Go, ``kept_originals`` plugins that put functions of sockets back,
  and ``sealing`` puts a run where the kernel refuses. Which hosts are guarded is in
  ``aquila.recording.network.model_hosts``, what a refusal says in ``aquila.recording.network.guard``.
- ``activation`` puts all of this in force and takes it back, by ``patching`` and, for a library that is imported later,
  ``calling_loader``. What cannot be patched becomes a note of ``unknown_modules``. ``dummy_keys`` stand in the
  variables of the table ``provider_keys``. ``blocking_calls`` tells blockbuster what Aquila does in an event loop.
- Other processes and threads: ``child_processes`` tells children of the run, and ``parent_run`` joins it there;
  ``fork_server`` tells those that are forked from a server of an earlier moment. ``started_children`` prepares what the
  first child of a run needs. ``left_threads`` are those that outlive it.

``use_cassette`` opens a scope: ``scope_block`` for a block, ``decorated_functions`` for a function.
``watched_queues`` sees each job before it enters a queue; ``parent_queues`` says what child processes may enqueue, by
``queue_places``.

Imported by everything below it in the plan of the house.
"""

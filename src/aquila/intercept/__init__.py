"""Intercepts the HTTP clients of other libraries, and refuses connections that nothing asked for.

Begin with ``policy``, which decides whether a request or connection is answered by a scope, let through, or refused.

- HTTP clients: ``httpx_clients`` patches httpx and httpx2, ``other_clients`` all others: aiohttp, urllib3 (requests,
  botocore), httplib2, ``http.client``. ``aiohttp_answers`` answers requests of aiohttp, and ``vcr_stubs`` the rest, on
  the stubs of vcrpy and with the bodies that ``given_bodies`` reads. ``foreign_mocks`` recognises mocks of other tools
  below a client. ``own_sockets`` answers clients without any library, ``web_sockets`` the clients of WebSockets.
  ``side_requests`` is the table of requests that libraries send by themselves.
- Connections: ``socket_guard`` patches sockets and TLS handshakes, ``native_clients`` libraries that connect by
  themselves, ``compiled_clients`` libraries in Rust and Go. ``kept_originals`` patches plugins that restore functions
  of sockets. ``sealing`` starts a run in a namespace in which the kernel refuses every connection. The table of guarded
  hosts is in ``aquila.recording.network.model_hosts``, the text of a refusal in ``aquila.recording.network.guard``.
- ``activation`` puts all of this in force and undoes it, by ``patching`` and, for a library that is imported later,
  ``calling_loader``. ``unknown_modules`` notes a module that cannot be patched. ``dummy_keys`` puts dummies into the
  variables of the table ``provider_keys``. ``blocking_calls`` lets blockbuster accept Aquila's own calls.
- Other processes and threads: ``child_processes`` writes the variable by which child processes learn of the run, and
  ``parent_run`` joins the run in the child. ``fork_server`` does so for processes that a fork server of
  ``multiprocessing`` forks. ``started_children`` prepares for a child that is started.
  ``pool_workers`` lets workers of ``multiprocessing.Pool`` report a miss that a client has wrapped.
  ``left_threads`` guards threads that outlive the run.

``use_cassette`` opens a scope: ``scope_block`` for a block, ``decorated_functions`` for a function.
``watched_queues`` sees each job before it enters a queue. ``parent_queues`` refuses jobs in child processes, and
``queue_places`` names the places of queues.

Imported by everything below it in the plan of the house.
"""

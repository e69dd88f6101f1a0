"""``aquila serve``: a server that answers any program from cassettes.

Begin with ``application``. For WebSockets begin with ``web_sockets``: it takes a ``handshake``, talks to the client by
``client_socket``, and then replays (``socket_replay``), or relays to the upstream and records (``socket_relay``).
``admission`` decides which clients are answered. ``targets`` reads the target of a request, and decides whether it may
be answered. ``connection`` reads HTTP within limits. ``waiting_clients`` ends the work for clients that have left.
``failures`` has the errors of the server itself; those of a request, such as a miss, are in
``aquila.transports.callers.failures``. ``access_log`` writes a line for each request, and ``background_server``
runs the server.

``page_gate`` decides who may use a page of Aquila: the page of a review (``review_page``), or the page of jobs.

Imported by ``huey`` (its page of jobs), ``testing``, ``cli`` and ``pytest_aquila``.
"""

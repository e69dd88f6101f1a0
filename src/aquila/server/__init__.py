"""``aquila serve``: a server that answers any program from cassettes.

Begin with ``application``, and for WebSockets with ``web_sockets``: it takes a ``handshake``, speaks with the client by
``client_socket``, and then replays (``socket_replay``) or passes on what it records (``socket_relay``). ``admission``
decides which clients it answers, ``targets`` what a request asks for and whether it may, ``connection`` which HTTP it
reads within which limits; ``waiting_clients`` ends the work for clients that leave, ``failures`` are the errors that
clients get, ``access_log`` writes a line for each request, and ``background_server`` runs the server.

``page_gate`` decides who may use a page of Aquila: that of a review (``review_page``), and that of jobs.

Imported by ``huey`` (its page of jobs), ``testing``, ``cli`` and ``pytest_aquila``.
"""

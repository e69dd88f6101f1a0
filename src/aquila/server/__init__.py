"""``aquila serve``: a server that answers any program from cassettes.

Begin with ``application``, and for WebSockets with ``web_sockets``. ``admission`` decides which clients it answers,
``targets`` what a request asks for and whether it may, ``connection`` which HTTP it reads within which limits;
``access_log`` writes a line for each request, and ``background_server`` runs the server.

``page_gate`` decides who may use a page of Aquila: that of a review, and that of jobs.
"""

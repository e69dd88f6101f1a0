"""``aquila serve``: a server that answers any program from cassettes.

Begin with ``application``, and for WebSockets with ``web_sockets``. ``admission`` says whom it answers, ``targets``
what is asked for and whether it may be, ``connection`` what HTTP it reads and within which limits, ``access_log``
writes the line for each request, and ``background_server`` runs it.

``page_gate`` says who is let in to a page of Aquila: that of a review, and that of jobs.
"""

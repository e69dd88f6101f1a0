"""Reports of runs, for people and for programs: what was asked, what answered, and what differs.

``schema.py`` declares the data, which ``pytest --aquila-report=run.json`` writes; begin there. ``exchanges.py`` reads
it from recordings, and ``page/`` renders it as one HTML file. It knows cassettes, wire forms, prices and redaction, and
nothing of pytest: the plugin collects, the command line reviews, and both show what is made here.

``related_requests`` says what the requests of a test have to do with each other.
"""

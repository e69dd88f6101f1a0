"""Scripts: answers written by hand, for requests of any provider.

``script.py`` decides which answer a request gets: begin there. ``replies.py`` has the methods by which answers are
written, ``conditions.py`` what ``when`` compares. ``script_file`` reads scripts from YAML, ``shared_script`` serves one
to the other processes of a run (over ``unguarded_connections``), ``conversation`` answers over a WebSocket. The package
knows wire forms and cassettes, but no HTTP clients.

Imported by everything below it in the plan of the house.
"""

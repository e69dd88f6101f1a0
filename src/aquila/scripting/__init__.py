"""Scripts: answers written by hand, for requests of any provider.

``script.py`` decides which answer a request gets: begin there. ``replies.py`` has the calls by which answers are
written, ``conditions.py`` what ``when`` compares. Knows wire forms and cassettes, and nothing of HTTP clients.
"""

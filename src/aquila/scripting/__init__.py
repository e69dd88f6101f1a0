"""Scripts: answers written by hand, for requests of any provider.

``script.py`` decides which answer a request gets: begin there. ``replies.py`` has the methods by which answers are
written, ``conditions.py`` what ``when`` compares. The package knows wire forms and cassettes, but no HTTP clients.
"""

"""Faults: what arrives over the wire instead of a good answer.

``table.py`` lists them: begin there. Each is a pure function from a recorded or scripted interaction to a response.
``failures.py`` has the faults that come before a good answer, ``streams.py`` those of its bytes and events, and
``contents.py`` those of its content. ``parsing.py`` reads faults from text; ``plan.py`` decides which request meets
which fault. The package knows cassettes and wire forms, but neither HTTP clients nor settings.
"""

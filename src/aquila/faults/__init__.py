"""Faults: what comes over the wire in the place of a good answer.

``table.py`` lists them: begin there. Each is a pure function from an interaction, recorded or scripted, to a response:
in ``failures.py`` what happens before a good answer, in ``streams.py`` what happens to its bytes and events, in
``contents.py`` what it says. ``parsing.py`` reads them as text, ``plan.py`` says which request meets which. Knows
cassettes and wire forms, and nothing of HTTP clients or settings.
"""

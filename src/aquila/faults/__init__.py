"""Faults: responses that arrive instead of a good answer.

``table.py`` lists them: begin there. Each is a pure function from a recorded or scripted interaction to a response.
``failures.py`` has the faults that replace an answer, ``streams.py`` those of its bytes and events, and ``contents.py``
those of its content. ``edits`` changes the content in each wire form. ``conversations.py`` has the same faults for
WebSockets; they change a ``conversation_draft``. ``fault.py`` has the record of a fault, and ``events.py`` reads the
events of a recorded stream. ``parsing.py`` reads faults from text, and ``plan.py`` decides which request meets which
fault. The package knows cassettes and wire forms, but neither HTTP clients nor settings.

Imported by everything below it in the plan of the house.
"""

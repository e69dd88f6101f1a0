"""Changes to the content of answers: one module for each wire form.

``form_edits.py`` declares the changes that each form offers: begin there. ``draft.py`` reads the JSON of an answer, and
writes it back without a change to the other bytes. To add a form, add a module, and a row in the table of ``contents``.

The others are named after their wire form: ``anthropic_messages``, ``chat_completions``, ``gemini``, ``responses``.

Imported by ``contents``.
"""

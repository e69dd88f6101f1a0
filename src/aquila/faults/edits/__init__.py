"""How what an answer says is changed: one module for each wire form, in that form's own words.

``form_edits.py`` is what each of them can do, and ``table.py`` lists them: begin there. ``draft.py`` has the JSON of an
answer that is being changed, and puts it back among the bytes that stay. A new form is a module and a row in the table.
"""

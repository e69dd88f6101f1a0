"""Event streams (server-sent events) as tables: what events share is written once, and each event is a row.

Begin with ``reader``, whose docstring describes the form, and the line that says when which part of a body arrived.
``writer`` makes both.
"""

"""Event streams (server-sent events) as tables: what events share is written once, and each event is a row.

Begin with ``table_reader``, whose docstring describes the form. ``table_writer`` makes it, and ``chunk_list`` says when
which part of a body arrived.
"""

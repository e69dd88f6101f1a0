"""Event streams (server-sent events) as tables: text that events share is written once, and each event is a row.

Begin with ``stream_reader``. Its docstring describes the table, and the chunk list: a line that says when which part of
a body arrived. ``stream_writer`` writes both.

Imported by ``yaml``, ``msgpack`` and ``cassettes.storage``.
"""

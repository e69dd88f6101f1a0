"""Event streams (server-sent events) as tables: what events share is written once, and each event is a row.

Begin with ``stream_reader``, whose docstring describes the form, and the line that says when which part of a body
arrived. ``stream_writer`` makes both.

Imported by ``yaml``, ``msgpack`` and ``cassettes.storage``.
"""

"""Turns tasks and results into messages and back, without pickle: whoever can write to a queue runs no code.

- ``serializer`` signs messages and bounds their sizes. Begin reading here. ``wire_format`` turns values into bytes.
- ``task_messages`` checks the fields of a message that arrives, and ``message_bounds`` counts its objects before any is
  built. ``sendable_values`` explains what cannot be sent.

Imported by ``instances``, ``delivery``, ``progress`` and ``testing``.
"""

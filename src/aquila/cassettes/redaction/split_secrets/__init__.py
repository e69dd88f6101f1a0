"""Finds secrets that a stream delivers in pieces, over events and fields. Begin with ``split_text``.

``stream_events`` cuts a stream into its events and finds the texts in their JSON; ``split_text`` joins those that are
pieces of one text. ``event_layouts`` does the same quickly for streams of thousands of events. ``frame_scrubbing``
handles event streams of AWS. Imported by ``scrubber``, ``window_redaction`` and the recording of large answers; the
faults that change what an answer says (``aquila.faults.edits``) find its events with ``stream_events``.
"""

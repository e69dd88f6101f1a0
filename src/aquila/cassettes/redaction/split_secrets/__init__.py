"""Finds secrets that a stream delivers in pieces, over events and fields. Begin with ``split_text``.

``stream_events`` splits a stream into its events and finds the texts in their JSON. ``split_text`` joins the texts that
are pieces of one text. ``event_layouts`` finds texts quickly in streams of thousands of events. ``aws_frames``
handles event streams of AWS. The edits of ``faults`` find the events of an answer with ``stream_events``.

Imported by ``scrubber``, ``window_redaction``, ``recording`` (for large answers) and ``faults``.
"""

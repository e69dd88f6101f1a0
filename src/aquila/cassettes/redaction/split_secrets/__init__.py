"""Finds secrets that a stream delivers in pieces, over events and fields. Begin with ``split_text``.

``stream_events`` cuts a stream into its events and finds the texts in their JSON; ``split_text`` joins those that are
pieces of one text. ``event_layouts`` does the same quickly for streams of thousands of events. ``amazon_frames`` and
``frame_scrubbing`` handle event streams of AWS. Only ``scrubber``, ``window_redaction`` and the recording of large
answers import this package.
"""

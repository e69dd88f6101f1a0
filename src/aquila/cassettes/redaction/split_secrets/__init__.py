"""Finds secrets that a stream delivers in pieces, over events and fields. Begin with ``split_text``.

``stream_framing`` cuts a stream into its events, ``json_leaves`` finds the texts in their JSON, and ``assembled_texts``
says which of them are pieces of one text. ``event_layouts`` does the same quickly for streams of thousands of events.
``amazon_frames`` and ``frame_scrubbing`` handle event streams of AWS. Only ``scrubber``, ``window_redaction`` and the
recording of large answers import this package.
"""

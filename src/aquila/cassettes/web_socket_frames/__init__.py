"""Conversations over WebSockets: how they are stored, how they are compared, and how they are replayed.

Nothing here knows a client or does I/O. Begin with ``frame``: a conversation is stored as the answer to its handshake,
an event stream in which each frame is an event. ``stored_frames`` reads the frames of a long one as they are needed.
Imports the model and ``matching``. Imported by ``codecs``, ``redaction``, ``storage`` and everything below
``cassettes``.

- A replay: ``replay`` delivers frames, ``lanes`` says which may be delivered, ``lane_matching`` compares what a client
  sends, and ``misses`` says where that differs.
- What is compared: ``messages``, with ``client_ids`` and ``call_numbers`` for ids that are new in every run, and
  ``sounds`` for sound. ``alike`` compares messages of the provider in two recordings.
- What is stored first: ``unasked`` moves a message that the provider sends unasked to the beginning.
- Sound in files: ``found_sounds`` finds it, ``sound_formats`` says what makes a file playable, ``sound_chunks`` puts it
  back. ``storage.sound_files`` writes the files.
"""

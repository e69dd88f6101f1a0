"""Conversations over WebSockets: how they are stored, how they are compared, and how they are replayed.

Nothing here knows a client or does I/O. Begin with ``frame``: a conversation is stored as the answer to its handshake,
an event stream in which each frame is an event. ``stored_frames`` reads the frames of a long conversation on demand.
Imports the model, ``body_file``, ``matching`` and, for placeholders, ``redaction``. Imported by ``answers``,
``codecs``, ``redaction``, ``storage`` and everything below ``cassettes``.

- Replaying: ``replay`` delivers frames, ``lanes`` decides which frames may be delivered, ``lane_matching`` compares the
  messages of the client with the recording, and ``misses`` explains a difference.
- Comparing: ``messages`` compares messages, ``client_ids`` and ``call_numbers`` ids that are new in every run, and
  ``sounds`` sound. ``alike`` compares messages of the provider in two recordings.
- Order: ``unasked`` moves a message that the provider sends unasked to the beginning.
- Sound in files: ``found_sounds`` finds sound in frames, ``sound_formats`` has the formats and the header of WAV files,
  ``sound_chunks`` puts the sound back into frames. ``storage.sound_files`` writes the files.
"""

"""Sessions: a session is one use of a cassette. It decides whether a request is replayed, recorded or refused.

Begin with ``session``. ``session_factory`` opens sessions, and ``scope_sessions`` keeps the sessions of a scope. The
decisions are the records of ``session_decisions``. ``recording_keys`` finds recordings by key and counts the requests
for each, ``known_keys`` is a memo of computed keys, and ``other_origins`` finds recordings of other hosts.
``client_calls`` tells retries of a client from calls of the program, and ``after_failures`` finds what follows a
failure. ``miss_explanation`` puts together the text of a miss. ``filters`` applies a program's own functions before
interactions are compared. ``drifted_conversations`` finds conversations that must be recorded again as a whole, and
``put_aside`` leaves their recordings out meanwhile. ``played_recordings`` notes the played recordings, and the played
messages of each conversation.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

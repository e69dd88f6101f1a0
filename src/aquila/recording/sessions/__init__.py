"""One use of a cassette: which recording answers a request, or whether it is recorded or refused.

Begin with ``session``. ``session_factory`` opens sessions, ``scope_sessions`` keeps those of a scope. A session decides
what ``session_decisions`` holds, by the keys and counts of ``recording_keys``, by ``known_keys`` and ``other_origins``.
``client_calls`` tells attempts of a client from calls of the program, ``filters`` has what a program changes before
anything is compared. ``drifted_conversations`` says which conversations are recorded anew as a whole, ``put_aside``
which recordings are left out meanwhile; ``played_recordings`` says what was played, and how much of a conversation was
said.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

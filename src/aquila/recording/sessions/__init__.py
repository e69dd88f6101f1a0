"""One use of a cassette: which recording answers a request, or whether it is recorded or refused.

Begin with ``session``. ``session_factory`` opens sessions, ``scope_sessions`` keeps those of a scope. A session decides
what ``session_decisions`` holds, by the keys and counts of ``recording_keys``, by ``known_keys`` and ``other_origins``.
``client_calls`` tells attempts of a client from calls of the program, ``filters`` has what a program changes before
anything is compared. ``drifted_conversations``, ``put_aside`` and ``played_conversations`` are about conversations:
what of one is recorded anew, which recordings are left out meanwhile, how much of one was said.

Imports the modules of ``recording`` and its other rooms; imported by whatever answers requests.
"""

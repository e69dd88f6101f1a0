"""What a run writes: journals while it records, cassettes at the end of a scope, and what waits beside them.

Begin with ``recorder``, which writes journals. ``journal_merging`` merges them into cassettes, and ``interrupted_runs``
those of a run that was killed or ended by Ctrl-C. ``answers_in_progress`` lists the answers that are arriving.
``large_answer`` writes an answer to disk while it arrives, ``frame_recorder`` records a conversation over a WebSocket.
``pending_recordings`` and ``pending_files`` are about recordings that wait beside a cassette to be accepted.
``record_budget`` limits how much a run records, ``recording_age`` says which recordings are too old,
``machine_clock`` says when; ``storage_failures`` says what could not be written.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

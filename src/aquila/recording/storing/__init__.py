"""What a run writes: journals while it records, cassettes at the end of a scope, and pending files beside them.

Begin with ``recorder``, which writes journals. ``journal_merging`` merges them into cassettes, and ``interrupted_runs``
those of a run that was killed or ended by Ctrl-C. ``answers_in_progress`` lists the answers that are arriving.
``large_answer`` writes an answer to disk while it arrives, ``frame_recorder`` records a conversation over a WebSocket.
``pending_recordings`` and ``pending_files`` are about recordings that wait beside a cassette to be accepted.
``record_budget`` limits how much a run records, ``recording_age`` computes the age of recordings, and ``machine_clock``
has the real time. ``storage_failures`` collects what could not be read or written.

Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

"""What a run writes: journals while it records, cassettes at the end of a scope, and what waits beside them.

Begin with ``recorder``, which writes journals. ``journal_merging`` brings them into cassettes, and ``interrupted_runs``
those of a run that was killed or ended by Ctrl-C. ``answers_in_progress`` are those that arrive now. ``large_answer``
goes to disk while it arrives, ``frame_recorder`` takes down a conversation over a WebSocket. ``pending_recordings`` and
``pending_files`` wait beside a cassette; ``record_budget`` and ``recording_age`` say what is recorded at all;
``machine_clock`` says when; ``storage_failures`` says what could not be written.

Imported by the modules of ``recording``, by its other rooms and everything below ``recording``.
"""

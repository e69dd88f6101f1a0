"""What a run notes for its summary and its reports. Nothing here changes what a request is answered.

Begin with ``reports`` (what a scope did, in numbers and names). ``drift_watch`` and ``drift_groups`` are for a run that
looks for drift, ``play_log`` for one that verifies, ``wire_watch`` for one that tries faults, ``exchange_watch`` for
one that writes a report. ``miss_log``, ``renamed_tests``, ``gone_tests`` and ``unrecorded_tests`` are about misses,
``child_misses`` is what child processes tell their test, ``open_to_children`` lets them see whether it still runs,
``played_answers`` what answers had taken.

What is printed of it is in ``pytest_aquila.summary`` and ``run_report``.
Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

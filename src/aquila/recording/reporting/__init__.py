"""What a run notes for its summary and its reports. Nothing here changes how a request is answered.

Begin with ``reports`` (what a scope did, in numbers and names). ``drift_watch`` and ``drift_groups`` are for a run that
looks for drift, ``play_log`` for one that verifies, ``wire_watch`` for one that tries faults, ``exchange_watch`` for
one that writes a report. ``miss_log``, ``cassette_search``, ``renamed_tests``, ``other_tests``, ``gone_tests`` and
``unrecorded_tests`` are about misses.
``child_messages`` has the messages of child processes to their test, which are rows in ``message_files``, with misses
as plain data from ``described_misses``. ``open_to_children`` shows child processes which scopes are still open.
``played_answers`` counts the seconds and tokens of played answers.

``pytest_aquila.summary`` and ``run_report`` show what is noted here.
Imported by the modules of ``recording``, by its other folders and everything below ``recording``.
"""

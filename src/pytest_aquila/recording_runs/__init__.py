"""A run that records: what it will ask for, what it shows meanwhile, and tests that are run once more.

Begin with ``recording_plan``, which says how much will be asked for before anything is. ``recording_progress`` writes a
line for each test that has recorded something, ``recording_status`` one while a single answer takes long, and
``second_attempts`` runs a test again in which a conversation has drifted; ``rerun_status`` shows the first attempt.

Imported by the modules of ``pytest_aquila`` and ``faulted_tests``.
"""

"""A run that records: how many requests it will send, what it shows meanwhile, and tests that are run once more.

Begin with ``recording_plan``, which says before the tests how many requests will be sent. ``recording_progress`` writes
a line for each test that has recorded something, ``recording_status`` one while a single answer takes long.
``second_attempts`` runs a test again in which a conversation has drifted; ``rerun_status`` shows its first attempt.

Imported by the modules of ``pytest_aquila`` and ``faulted_tests``.
"""

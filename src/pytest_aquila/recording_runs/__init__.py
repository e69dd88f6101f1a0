"""Runs that record: the number of requests, the progress, and tests that are run again.

Begin with ``recording_plan``, which says before the tests how many requests will be sent. ``recording_progress`` writes
a line for each test that has recorded something, and ``recording_status`` a line while a single answer takes long.
``second_attempts`` runs a test again if a conversation in it has drifted, and ``rerun_status`` shows the first attempt.
A test that another plugin runs again, such as a flaky one, gets a new scope: see ``test_scopes``.

Imported by the modules of ``pytest_aquila`` and ``faulted_tests``.
"""

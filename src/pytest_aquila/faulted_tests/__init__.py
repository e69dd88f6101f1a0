"""Tests under faults: faults in the markers of a test, and ``--aquila-faults``, which runs each test under usual ones.

Begin with ``fault_runs``. ``fault_check`` checks the faults in the markers of a test before it runs.
``faulted_attempt`` is one run of a test in a forked child. ``aquila.faults`` says what a fault does, and
``aquila.fault_verdicts`` judges programs.

Imported by ``run_kinds`` and ``scope_starts``.
"""

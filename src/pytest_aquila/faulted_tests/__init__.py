"""Tests under faults: those that a test names, and ``--aquila-faults``, which tries each test under the usual ones.

Begin with ``fault_runs``. ``fault_check`` checks the faults that a test names, before it runs. ``faulted_attempt`` is
one run of a test in a forked child, and ``faked_waits`` says whether that test replaces the waits of its program.
``aquila.faults`` says what a fault does, and ``aquila.fault_verdicts`` judges programs.

Imported by ``run_kinds`` and ``scope_starts``.
"""

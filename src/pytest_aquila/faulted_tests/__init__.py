"""Tests under faults: those that a test names, and ``--aquila-faults``, which tries each test under the usual ones.

Begin with ``fault_runs``. ``fault_check`` reads the faults that a test names before it runs, ``faulted_attempt`` is
one run of a test in a forked child, ``faked_waits`` says whether the test replaces the waits of its program. What a
fault does is in ``aquila.faults``, and the verdicts about programs in ``aquila.fault_verdicts``.

Imported by ``run_kinds`` and ``scope_starts``.
"""

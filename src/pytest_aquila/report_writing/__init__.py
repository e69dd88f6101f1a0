"""Collects the tests of a run for ``--aquila-report``, and writes the files at the end.

``wanted_reports`` says which reports a run writes, and ``targets`` into which files. ``collected_tests`` has the hooks
that collect tests in each process that runs tests. ``written_reports`` joins the parts of all processes, and
``report_guard`` keeps errors of a report away from the run. The content of a report is made in ``aquila.run_report``.

Begin with ``collected_tests``. Imported by ``run_kinds``, ``verify_run``, ``faulted_tests`` and ``summary``.
"""

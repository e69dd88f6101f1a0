"""Collects what ``--aquila-report`` writes: the option, the tests of this process, and the files at the end.

``targets.py`` says where reports go, ``collected_tests.py`` has the hooks that take tests down, in each process that
runs any, and ``written_reports.py`` joins what all have collected. What a report holds is made in
``aquila.run_report``.

``wanted_reports`` says which files a run writes, ``command_line`` how its command is shown, and ``report_guard`` keeps
what goes wrong with a report away from the run.

Begin with ``collected_tests``. Imported by ``run_kinds``, ``verify_run``, ``faulted_tests`` and ``summary``.
"""

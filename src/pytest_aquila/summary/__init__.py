"""What is written when the tests are over: a few lines in the terminal, and the files that were asked for.

Begin with ``end_of_run``. ``run_totals`` sums up what the tests and the workers of pytest-xdist did, ``session_end``
adds what belongs to no test; ``run_news`` has the kinds of news in their order, of which ``totals_news``,
``miss_report``, ``pending_report``, ``drift_report`` and ``orphans_report`` have one or more each. ``summary_line`` is
the last line: ``aquila: 3 replayed, ...``. ``summary_layout`` makes few lines of all, with the commands of
``record_commands``, and ``redacted_terminal`` prints them. ``unrecorded_tests_cache`` keeps the tests that miss for a
review, ``junit_facts`` are for the XML of JUnit. ``run_extent`` says which tests the run was about, ``noted_uses``
which tests use which cassettes, ``unused_cassettes`` which no test uses.

Imported by the modules of ``pytest_aquila`` and its other rooms, late: a run that has nothing to tell loads none of it.
"""

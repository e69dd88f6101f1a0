"""What is written when the tests are over: a few lines in the terminal, and the files that were asked for.

- Begin with ``end_of_run``, which writes the lines; the last one is ``aquila: 3 replayed, ...``.
- ``run_totals`` sums up what the tests and the workers of pytest-xdist did; ``final_totals`` completes the sums.
- ``run_news`` has the kinds of news in their order. ``totals_news``, ``miss_report``, ``pending_report``,
  ``drift_report`` and ``unused_report`` make news, with the commands of ``record_commands``. ``summary_layout`` lays
  news out in a few lines, and ``redacted_terminal`` prints the lines.
- ``run_extent`` knows which tests the run had, ``noted_uses`` stores which tests use which cassettes, and
  ``unused_cassettes`` finds the cassettes that no test uses.
- ``unrecorded_tests_cache`` keeps the tests that miss for a review, ``junit_facts`` writes into the XML of JUnit.

Imported by the other packages of ``pytest_aquila``. A run that has nothing to report loads none of it.
"""

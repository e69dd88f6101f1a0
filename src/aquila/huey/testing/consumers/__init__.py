"""Real consumers in tests: workers in threads, processes or greenlets, or a program of its own.

Begin with ``consumer_runs``, which starts and ends them. ``running_consumer`` is a consumer as the test sees it.
``consumer_program`` is the program that runs in a process of its own.
``consumer_delays`` says how often workers look for tasks. ``worker_errors`` reports to the test what has failed in a
worker. ``end_with_maker`` ends consumers whose test run was killed.

Imported by ``fixture_types`` and ``aquila.testing``.
"""

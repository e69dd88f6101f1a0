"""Real consumers in tests: workers in threads, processes or greenlets, or a program of its own.

Begin with ``consumer_runs``, which starts and ends them; ``running_consumer`` is what a test holds of one.
``shared_consumer`` is one for many tests, ``consumer_program`` what runs in a process of its own, ``consumer_delays``
how often workers look for tasks. ``worker_errors`` and ``unanswered_requests`` bring to the test what failed in a
worker. ``orphans`` ends them with a test run that was killed.

Imported by ``fixture_types``, ``aquila.testing`` and ``pytest_aquila``.
"""

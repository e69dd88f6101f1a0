"""Which test a task belongs to, and so which cassette answers its requests, in whatever process it executes.

- ``scope_reference`` writes a reference to the test that enqueued the task into the message. Begin reading here.
- ``task_scope`` puts the scope of the test in force while the task executes. ``joined_scopes`` keeps the scopes of
  other processes, and ``scope_sharing`` shares counts of requests and misses between processes.
- ``watched_jobs`` notes executions for the report of a run. ``clock_of_test`` is the clock that a test may put forward.

Imported by ``instances``, ``tasks``, ``delivery``, ``limits`` and ``testing``.
"""

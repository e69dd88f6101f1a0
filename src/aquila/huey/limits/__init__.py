"""What keeps the tasks of many workers within bounds: providers' limits, limits of one's own, budgets, unique jobs.

- ``rescheduling``: a task whose provider asks it to come back later leaves its worker until then. Begin here.
- ``task_gate``: what every request of a task passes: ``provider_pauses`` (a provider's ``retry-after``, kept by all
  workers), ``shared_limits``, ``budgets``, ``idempotency``.
- ``rules``, ``providers``: limits as people write them. ``counting``: whether a request fits, as a pure function;
  ``estimates``: how many tokens it will take. ``settings``: the limits of a Huey, and of a task.
- ``budgets``: caps on tokens and money, and what is spent of them.
- ``limits_without_task``: limits where no task executes, and for other clients.
- ``unique_settings``, ``unique_jobs``: jobs of which there is one at a time (``unique=``).

Imported by the modules of ``huey``, by ``delivery`` and ``testing``.
"""

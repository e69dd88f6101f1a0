"""Limits that the workers of a queue share: rate limits of providers, limits of the user, budgets, unique jobs.

- ``rescheduling``: a task whose provider asks it to come back later leaves its worker until then. Begin here.
- ``task_gate``: the gate that every request of a task passes. It applies ``provider_pauses`` (a provider's
  ``retry-after``, which all workers observe), ``shared_limits``, ``budgets`` and ``idempotency``, and estimates the
  tokens that the request will take.
- ``rules``, ``providers``: limits as people write them. ``counting``: decides whether a request fits, as a pure
  function. ``settings``: the limits of a Huey, and of a task.
- ``budgets``: caps on tokens and money, and how much of each is spent.
- ``limits_without_task``: limits where no task executes, and for other clients.
- ``unique_settings``, ``unique_jobs``: jobs of which there is one at a time (``unique=``).

Imported by the modules of ``huey``, by ``tasks``, ``delivery``, ``progress`` and ``testing``.
"""

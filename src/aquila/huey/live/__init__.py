"""Jobs that can be watched: what happens to them is published, can be followed by any program, and seen on a page.

``publisher`` takes in what happens, in producers and workers; ``event_writer`` writes it, in batches of ``events`` and
in ``summaries``. ``subscription`` reads the events of one job, ``waking`` wakes whoever waits for them; ``job_index``
reads the summaries of all, ``job_view`` puts together what the page of one shows. ``page`` is the page. Everything is
in the shared state of the queue, so that it outlives each process. Begin reading with ``publisher``.

- What is stored: ``job_record`` collects one execution, ``model_calls`` what its calls do, ``redacting`` takes secrets
  out, ``retention`` forgets old jobs, ``unread_messages`` finds the job of a message that nobody can read.
- What is shown beside jobs: ``job_rates``, how many end over time; ``pausing``, a queue that is paused; ``clock``, the
  time by the clock of the storage. ``worker_heartbeats`` says that a worker lives, ``heartbeat_reader`` which workers
  do; those by which lost tasks are taken over are in ``delivery.consumer_heartbeats``.

Imported by ``instances``, ``watched_jobs``, ``delivery``, ``telemetry`` and ``cli``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.huey.live.events import JobEvent as JobEvent
    from aquila.huey.live.page.application import app as app
    from aquila.huey.live.publisher import publish_jobs as publish_jobs
    from aquila.huey.live.subscription import subscribe as subscribe
    from aquila.huey.live.subscription import subscribe_async as subscribe_async

_NAMES = {
    "JobEvent": "events",
    "app": "page.application",
    "publish_jobs": "publisher",
    "subscribe": "subscription",
    "subscribe_async": "subscription",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(
        __name__, {name: f"{__name__}.{module}" for name, module in _NAMES.items()}, extra="jobs"
    )

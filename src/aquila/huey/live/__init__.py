"""Publishes the events of jobs: any program can follow a job, and a web page shows all jobs.

Begin reading with ``publisher``, which collects events in producers and workers. ``event_writer`` stores them:
as batches of ``events``, and in one summary for each job (``summaries``). ``subscription`` reads the events of one job,
and ``waking`` wakes the programs that wait for them. ``job_index`` reads the summaries of all jobs, and counts how many
end over time. ``job_view`` combines the events of one job for its page. ``page`` is the web page. Everything is in the
shared state of the queue, so it outlives each process.

- Storing: ``job_record`` collects one execution, ``model_calls`` adds the events of its model calls, ``redacting``
  removes secrets, ``retention`` removes old jobs.
- Queues and workers: ``pausing`` pauses a queue, ``clock`` tells the time of the storage. ``worker_heartbeats`` sends
  heartbeats, and reads which workers live. The heartbeats by which lost tasks are taken over are in
  ``delivery.consumer_heartbeats``.

Imported by ``instances``, ``scopes``, ``delivery``, ``telemetry`` and ``cli``.
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

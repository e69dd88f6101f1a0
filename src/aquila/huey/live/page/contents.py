"""Collects what the templates show: the queues, a page of the overview, one job."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aquila.huey.delivery.dead_letters import dead_letters
from aquila.huey.live import events
from aquila.huey.live.job_index import JobIndex, JobQuery
from aquila.huey.live.job_view import JobView, indent_json
from aquila.huey.live.page.actions import can_still_run, has_letter
from aquila.huey.live.pausing import is_paused
from aquila.huey.live.redacting import redact_json
from aquila.huey.live.subscription import JobReader
from aquila.huey.live.summaries import JOBS_TABLE, STATES, decode_summary
from aquila.huey.progress.kept_progress import CHECKPOINTS_PREFIX
from aquila.huey.progress.storage_patience import Outage
from aquila.huey.state import state_of

PAGE = 50  # Jobs of a page.
_MINUTES = 60  # Minutes of the chart.


class Queue:
    """A Huey that the page shows, the index of its jobs, and the outage of its storage as all open pages see it."""

    def __init__(self, huey: Any) -> None:
        self.huey = huey
        self.name = str(huey.name)
        self.index = JobIndex(huey)
        self.outage = Outage(f"the page of the queue {self.name!r}", "Pages that are open connect again and again.")


@dataclass(frozen=True, slots=True)
class JobOverview:
    """One page of the overview of a queue: the jobs that fit ``query``. ``page`` counts from 1.

    ``queues`` are all queues that the page shows, by their names.
    """

    queues: Mapping[str, Queue]
    queue: Queue
    query: JobQuery
    search: str
    page: int
    may_act: bool

    @classmethod
    def read(cls, queues: Mapping[str, Queue], given: Mapping[str, str], *, may_act: bool) -> JobOverview:
        """Return the overview that the parameters of a URL ask for. Parameters that make no sense are ignored."""
        state, search, page = given.get("state", ""), given.get("q", "")[:200], given.get("page", "")
        number = int(page) if page.isdecimal() and len(page) < 7 else 1
        query = JobQuery.read(state if state in STATES else "", given.get("name", "")[:200], search)
        queue = queues.get(given.get("queue", "")) or next(iter(queues.values()))
        return cls(queues, queue, query, search, max(1, number), may_act)

    def describe(self) -> dict[str, Any]:
        """Return the values for the template. Asks the storage, and raises what it raises."""
        index, huey = self.queue.index, self.queue.huey
        index.refresh()
        _, total = index.find(self.query, offset=0, limit=0)
        page = min(self.page, max(1, math.ceil(total / PAGE)))  # jobs that were on a later page may be gone
        jobs, _ = index.find(self.query, offset=(page - 1) * PAGE, limit=PAGE)
        now = state_of(huey).now()
        minute = math.floor(now / 60) * 60
        return {
            "title": self.queue.name,
            "queue": self.queue.name,
            "queues": list(self.queues),
            "jobs": [(summary, index.state_of_job(summary)) for summary in index.load(jobs)],
            "total": total,
            "all": sum(index.states.values()),
            "first": (page - 1) * PAGE + 1,
            "last": min(total, page * PAGE),
            "newer": self.link(page=page - 1) if page > 1 else "",
            "older": self.link(page=page + 1) if page * PAGE < total else "",
            "states": [(state, index.states[state], self.link(state=state)) for state in STATES],
            "every_state": self.link(state=""),
            "names": sorted(name for name, number in index.names.items() if number),
            "query": self.query,
            "search": self.search,
            "is_complete": index.is_complete,
            "known": max(index.total, sum(index.states.values())),
            "workers": index.workers,
            "waiting": huey.storage.queue_size(),
            "due_later": huey.storage.schedule_size(),
            "dead": len(dead_letters(huey)),
            "is_paused": is_paused(huey),
            "done_rate": index.rates.per_minute("done", now),
            "failed_rate": index.rates.per_minute("failed", now),
            "done_bars": index.rates.by_minute("done", minute, _MINUTES),
            "failed_bars": index.rates.by_minute("failed", minute, _MINUTES),
            "may_act": self.may_act,
        }

    def link(self, **changes: Any) -> str:
        """Return the URL of this overview with some parameters changed."""
        parts = {"queue": self.queue.name, "state": self.query.state, "name": self.query.name, "q": self.search}
        parts |= {name: str(value) for name, value in changes.items()}
        if len(self.queues) == 1:
            del parts["queue"]
        return (
            f"/?{urlencode({name: value for name, value in parts.items() if value and (name, value) != ('page', '1')})}"
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """The page of one job."""

    queue: Queue
    job: str

    def describe(self, *, may_act: bool, view: JobView | None = None) -> dict[str, Any]:
        """Return the values for the template; an empty dict for a job that is not known.

        ``view`` has the events of the job, if they were read already. Asks the storage, and raises what it raises.
        """
        summary = decode_summary(self.job, state_of(self.queue.huey).get(JOBS_TABLE, self.job))
        if summary is None:
            return {}
        self.queue.index.refresh()
        if view is None:
            view = JobView(read_all(self._make_reader()))
        state = self.queue.index.state_of_job(summary)
        huey = self.queue.huey
        can_run = can_still_run(huey, self.queue.index, summary)
        return {
            "title": summary.name.rpartition(".")[2],
            "queue": self.queue.name,
            "job": summary,
            "state": state,
            "view": view,
            "waited": max(0.0, summary.runs[0].started - summary.created)
            if summary.runs and not summary.earlier
            else None,
            "arguments": view.arguments or indent_json(summary.arguments),
            "checkpoint": self._read_checkpoint(),
            "is_revoked": not summary.ended and huey.is_revoked(self.job),
            "may_act": may_act,
            "may_cancel": may_act and can_run,
            "may_retry": may_act and state != "running" and has_letter(huey, self.job),
            "may_delete": may_act and not can_run,
        }

    def follow(
        self, after: int, *, may_act: bool, write: Callable[..., str]
    ) -> Callable[[], list[tuple[str, Any, int | None]]]:
        """Return a function for an open page. Each call of it returns the messages about new events.

        The page has the events up to the number ``after``. ``write`` renders a template with some values.
        """
        # All events are read, also those that the page has: the whole view is needed to render a part of it again. The
        # three objects belong to this one stream.
        reader, view, shown = self._make_reader(), JobView(), [""]

        def look() -> list[tuple[str, Any, int | None]]:
            found = read_all(reader)
            for event in found:
                view.add_event(event)
            values = self.describe(may_act=may_act, view=view)
            if not values:
                return [("gone", None, None)]
            new = [event for event in found if event.number > after]
            messages: list[tuple[str, Any, int | None]] = []
            if any(event.kind not in _TEXTS for event in new):
                messages.append(("answers", write("_answers.html", **values), view.number))
            else:
                messages += _join_texts(new)
            facts = write("_job.html", **values)
            if facts != shown[0]:
                shown[0] = facts
                messages.append(("job", facts, None))
            return messages

        return look

    def _make_reader(self) -> JobReader:
        return JobReader(self.queue.huey, self.job, outage=self.queue.outage)

    def _read_checkpoint(self) -> str:
        try:
            huey = self.queue.huey
            kept = huey.get(CHECKPOINTS_PREFIX + self.job, peek=True)
            if kept is not None and not huey.publisher.content:
                kept = list(kept)  # Only the names of the checkpoints: their values are content.
            return "" if kept is None else indent_json(redact_json(json.dumps(kept, ensure_ascii=False, default=repr)))
        except Exception:  # noqa: BLE001 -- anybody may have written what is stored there
            return ""


_TEXTS = (events.TEXT, events.REASONING)


def read_all(reader: JobReader) -> list[events.JobEvent]:
    """Return all events that a reader has not returned yet."""
    found: list[events.JobEvent] = []
    while page := reader.read():
        found += page
    return found


def _join_texts(new: list[events.JobEvent]) -> list[tuple[str, Any, int | None]]:
    """Return pieces of text as messages. Pieces of the same kind and run that follow one another become one message."""
    messages: list[tuple[str, Any, int | None]] = []
    for (kind, run), pieces in itertools.groupby(new, key=lambda event: (event.kind, event.run)):
        group = list(pieces)
        text = "".join(str(event.data.get("text", "")) for event in group)
        messages.append((kind, {"run": run, "text": text}, group[-1].number))
    return messages

"""The summary of a job, which an overview shows, and how two processes change the same one.

A job has runs. Each execution is one, also an execution that a killed worker did not end. The state of a job is that of
its last run. So a process that is slow only changes its own run, and nothing that came after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

JOBS_TABLE = "live.jobs"
"""The table of summaries: by the id of the job, in the order of their last changes."""

_ENDED = ("failed", "canceled", "expired", "done")
ACTIVE = ("running", "queued", "scheduled", "retrying")
"""The states of a job that runs or waits."""
STATES = (*ACTIVE, "interrupted", *_ENDED)
"""The states of a job, in the order in which an overview shows them."""

MOST_RUNS = 20  # Runs of a job that are kept. Older ones are only counted.

T = TypeVar("T")


@dataclass(slots=True)
class JobRun:
    """One execution of a job.

    ``state`` is ``running``, ``retrying``, ``interrupted``, or how the job ended. ``started``, ``ended`` and ``eta``
    (when its retry is due) are in seconds since the epoch, 0 for none. ``tail`` is the end of the answer.
    """

    key: str
    attempt: int = 1
    delivery: int = 0
    state: str = "running"
    started: float = 0.0
    ended: float = 0.0
    worker: str = ""
    error: str = ""
    eta: float = 0.0
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    characters: int = 0
    requests: int = 0
    request_retries: int = 0
    tail: str = ""


@dataclass(slots=True)
class JobSummary:
    """The summary of a job.

    ``created``, ``changed`` and ``eta`` (when a scheduled job is due) are in seconds since the epoch. ``earlier`` is
    the number of runs that are not kept.
    """

    id: str
    name: str = ""
    created: float = 0.0
    changed: float = 0.0
    eta: float = 0.0
    retries: int = 0
    arguments: str = ""
    ended_as: str = ""
    """How the job ended without a run, or by being given up: ``failed``, ``canceled`` or ``expired``; else empty."""
    earlier: int = 0
    runs: list[JobRun] = field(default_factory=list)

    @property
    def last(self) -> JobRun | None:
        """The last run, or None before the first."""
        return self.runs[-1] if self.runs else None

    @property
    def state(self) -> str:
        """The state of the job: one of ``STATES``."""
        if self.ended_as:
            return self.ended_as if self.ended_as in STATES else "canceled"
        if self.last is None:
            return "scheduled" if self.eta > self.changed else "queued"
        return self.last.state if self.last.state in STATES else "running"

    @property
    def started(self) -> float:
        """When its last run began, in seconds since the epoch; 0 before the first."""
        return self.last.started if self.last else 0.0

    @property
    def ended(self) -> float:
        """When the job ended, in seconds since the epoch; 0 before that."""
        if self.last is None:
            return self.changed if self.ended_as else 0.0
        return self.last.ended if self.state in _ENDED else 0.0

    @property
    def attempt(self) -> int:
        """The number of its last attempt; 0 before the first."""
        return self.last.attempt if self.last else 0

    @property
    def tokens(self) -> int:
        """The tokens of all runs that are kept, of prompts and answers together."""
        return sum(run.input_tokens + run.output_tokens for run in self.runs)

    @property
    def cost(self) -> float:
        """The cost of all runs that are kept, in the currency of ``price``."""
        return sum(run.cost for run in self.runs)

    def put_run(self, run: JobRun) -> None:
        """Add a run, or replace the run with the same key."""
        # Sorted by what the runs say themselves, because a slow process may add an old run after a newer one.
        others = [one for one in self.runs if one.key != run.key]
        self.runs = sorted([*others, run], key=lambda one: (one.started, one.attempt, one.delivery))
        if len(self.runs) > MOST_RUNS:
            self.earlier += len(self.runs) - MOST_RUNS
            del self.runs[:-MOST_RUNS]

    def fail_last_run(self, at: float, error: str) -> None:
        """End the last run as failed, unless it has ended: its worker was lost, and the job is given up.

        ``at`` is in seconds since the epoch, and ``error`` says why.
        """
        if self.last is not None and self.last.state not in _ENDED:
            self.last.state, self.last.ended, self.last.error = "failed", at, error

    def encode(self) -> bytes:
        """Return the summary as it is stored, without its empty fields."""
        plain = _without_empty(self)
        plain["runs"] = [_without_empty(run) for run in self.runs]
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


def decode_summary(job: str, value: bytes | None) -> JobSummary | None:
    """Return the stored summary of a job, or None where there is none."""
    if value is None:
        return None
    plain: Any = json.loads(value)
    runs = plain.pop("runs", [])
    summary = _take_fields(JobSummary(job), plain)
    summary.id = job
    summary.runs = [_take_fields(JobRun(""), run) for run in runs]
    return summary


_FIELDS = {kind: [each.name for each in fields(kind) if each.name != "runs"] for kind in (JobSummary, JobRun)}
"""The names of the fields of each record that are stored as they are."""


def _without_empty(record: JobSummary | JobRun) -> dict[str, Any]:
    """Return the fields of a record that are not empty."""
    # Without `asdict`, which copies each value deeply and takes many times as long: every job comes here.
    return {name: value for name in _FIELDS[type(record)] if (value := getattr(record, name))}


def _take_fields(record: T, plain: dict[str, Any]) -> T:
    """Set the fields of a record to the values of ``plain``, and return the record. A later version may have others."""
    for name in _FIELDS[type(record)]:  # type: ignore[index]
        if name in plain:
            setattr(record, name, plain[name])
    return record

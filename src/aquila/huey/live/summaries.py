"""The summary of a job: what an overview shows of it, and how what two processes know of it becomes one.

A job has runs: each execution is one, also the one that a killed worker did not end. What a job is doing is what its
last run says. So a process that was slow changes its own run, and nothing that came after it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

JOBS_TABLE = "live.jobs"
"""The table of summaries: by the id of the job, ordered by when they last changed."""

STATES = ("running", "queued", "scheduled", "retrying", "interrupted", "failed", "canceled", "done")
"""What a job can be doing, in the order in which an overview names them."""

MOST_RUNS = 20
_LARGEST = 2**53

T = TypeVar("T")


@dataclass(slots=True)
class JobRun:
    """One execution of a job. ``state`` is ``running``, ``retrying``, ``interrupted``, or how the job ended."""

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
    tools: int = 0
    requests: int = 0
    request_retries: int = 0
    tail: str = ""


@dataclass(slots=True)
class JobSummary:
    """What is known of a job. ``earlier`` counts runs that are not kept; ``eta`` is when a scheduled job is due."""

    id: str
    name: str = ""
    created: float = 0.0
    changed: float = 0.0
    eta: float = 0.0
    priority: float = 0.0
    retries: int = 0
    arguments: str = ""
    message: str = ""
    """Identifies its message, the first or that of a retry, until a worker has read that."""
    ended_as: str = ""
    """How it ended without a run: revoked or expired before one began."""
    earlier: int = 0
    runs: list[JobRun] = field(default_factory=list)

    @property
    def last(self) -> JobRun | None:
        """The last run, or None before the first."""
        return self.runs[-1] if self.runs else None

    @property
    def state(self) -> str:
        """What the job is doing: one of ``STATES``."""
        if self.ended_as:
            return self.ended_as if self.ended_as in STATES else "canceled"
        if self.last is None:
            return "scheduled" if self.eta > self.changed else "queued"
        return self.last.state if self.last.state in STATES else "running"

    @property
    def started(self) -> float:
        """When its last run began; 0 before the first."""
        return self.last.started if self.last else 0.0

    @property
    def ended(self) -> float:
        """When it ended; 0 before."""
        if self.last is None:
            return self.changed if self.ended_as else 0.0
        return self.last.ended if self.state in ("failed", "canceled", "done") else 0.0

    @property
    def attempt(self) -> int:
        """The number of its last attempt; 0 before the first."""
        return self.last.attempt if self.last else 0

    @property
    def tokens(self) -> int:
        """Tokens of all runs that are kept, those of questions and answers together."""
        return sum(run.input_tokens + run.output_tokens for run in self.runs)

    @property
    def cost(self) -> float:
        """What all runs that are kept have cost."""
        return sum(run.cost for run in self.runs)

    def put_run(self, run: JobRun) -> None:
        """Take in a run, in the place of what was known of it."""
        others = [one for one in self.runs if one.key != run.key]
        self.runs = sorted([*others, run], key=lambda one: (one.started, one.attempt, one.delivery))
        if len(self.runs) > MOST_RUNS:
            self.earlier += len(self.runs) - MOST_RUNS
            del self.runs[:-MOST_RUNS]

    def fail_last_run(self, at: float, error: str) -> None:
        """Note that the last run, which did not end by itself, is the last."""
        if self.last is not None and self.last.state not in ("failed", "canceled", "done"):
            self.last.state, self.last.ended, self.last.error = "failed", at, error

    def encode(self) -> bytes:
        """Return the summary as it is stored: without what is empty."""
        plain = _without_empty(self)
        plain["runs"] = [_without_empty(run) for run in self.runs]
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "replace")


def decode_summary(job: str, value: bytes | None) -> JobSummary | None:
    """Return a stored summary, or None for what is missing or malformed, and may be anybody's."""
    if value is None:
        return None
    try:
        plain: Any = json.loads(value)
        runs = plain.pop("runs", [])
        summary = _take_fields(JobSummary(job), plain)
        summary.id = job
        summary.runs = [_take_fields(JobRun(""), run) for run in runs[-MOST_RUNS:]]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return summary


_KINDS = {
    kind: {name: type(value) for name, value in asdict(kind("")).items() if name != "runs"}
    for kind in (JobSummary, JobRun)
}
"""Of each record its fields, with the types of their values."""


def _without_empty(record: JobSummary | JobRun) -> dict[str, Any]:
    """Return what a record says, by its fields. Not by ``asdict``, which copies each value: each job comes here."""
    return {name: value for name in _NAMES[type(record)] if (value := getattr(record, name))}


_NAMES = {kind: tuple(each.name for each in fields(kind) if each.name != "runs") for kind in (JobSummary, JobRun)}


def _take_fields(record: T, plain: dict[str, Any]) -> T:
    """Put the values that fit into a record."""
    kinds = _KINDS[type(record)]  # type: ignore[index]
    for name, value in plain.items():
        kind = kinds.get(name)
        if type(value) is int and abs(value) > _LARGEST:
            continue
        if kind is type(value) and (kind is not float or math.isfinite(value)):
            setattr(record, name, value)
        elif kind is float and type(value) is int:
            setattr(record, name, float(value))
    return record

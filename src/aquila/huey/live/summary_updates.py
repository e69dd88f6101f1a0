"""Puts what an execution has changed into the stored summary of its job, whoever else has changed that meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aquila.huey.live.job_record import JobRecord
from aquila.huey.live.summaries import JobRun, decode_summary


@dataclass(frozen=True, slots=True)
class SummaryUpdate:
    """A change of a job's summary.

    ``run`` is a copy of the execution, or None for a job that ended without one. ``at`` is the time by the clock of the
    storage, ``began`` by the monotonic clock of this process.
    """

    record: JobRecord
    run: JobRun | None
    at: float
    began: float

    def merge(self, present: bytes | None) -> bytes:
        """Return ``present``, the stored summary or None, with the changes of this execution.

        Called again where another process has changed the summary meanwhile.
        """
        record = self.record
        known = decode_summary(record.summary.id, present) or replace(record.summary, runs=[])
        known.changed = self.at
        known.name = known.name or record.summary.name
        known.arguments = known.arguments or record.summary.arguments
        known.ended_as = record.summary.ended_as
        if known.ended_as == "failed":
            known.fail_last_run(self.at, record.error)
        if self.run is not None:
            known.put_run(self.run)
            # The identity of the message of its retry, if it has one. Where a later execution has begun meanwhile, that
            # one knows better.
            if known.last is not None and known.last.key == self.run.key:
                known.message = record.summary.message
        return known.encode()

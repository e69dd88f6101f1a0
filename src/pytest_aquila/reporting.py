"""What the run did, summed over its tests and its xdist workers, and the lines about it in the terminal."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording import outgoing

if TYPE_CHECKING:
    import pytest

    from aquila.config import Settings
    from aquila.recording import recording_age
    from aquila.recording.reports import ScopeReport
    from pytest_aquila import pending_report
    from pytest_aquila.miss_report import ChangedRequest
else:
    lazy_modules(
        globals(),
        pending_report="pytest_aquila.pending_report",
        recording_age="aquila.recording.recording_age",
    )

_MOST_NAMES = 5


@dataclasses.dataclass
class Totals:
    """Sums over tests. Everything in it is plain data, so that a worker can send it."""

    used: bool = False
    replayed: int = 0
    recorded: int = 0
    missed: int = 0
    scripted: int = 0
    seconds: float = 0.0
    tokens: int = 0
    pending: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    unplayed: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    stale: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    cassettes: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    uses: list[tuple[str, str, str, bool]] = dataclasses.field(default_factory=list)
    recovered: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    unrecovered: list[str] = dataclasses.field(default_factory=list)
    unstored: list[str] = dataclasses.field(default_factory=list)
    told: list[str] = dataclasses.field(default_factory=list)
    drifted: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    unasked: list[str] = dataclasses.field(default_factory=list)
    changed: list[ChangedRequest] = dataclasses.field(default_factory=list)
    anew: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add_report(self, report: ScopeReport, settings: Settings, test: str) -> None:
        """Take in what one test did. ``test`` is how to type it."""
        self.used = True
        self.replayed += report.replayed
        self.recorded += report.recorded
        self.missed += report.missed
        self.scripted += report.scripted
        self.seconds += report.seconds
        self.tokens += report.tokens
        self.pending += report.pending
        self.cassettes += report.cassettes
        self.drifted += [{"test": test, **one} for one in report.drifted]
        self.changed += [(group, difference, test) for group, difference in report.changes]
        if settings.unplayed == "warn":
            self.unplayed += [(report.name, cassette, what) for cassette, what in report.unplayed]
        if settings.max_age is not None and recording_age.is_older(report.oldest, settings.max_age):
            self.stale.append((report.name, report.oldest))

    def merge_worker(self, sent: dict[str, Any]) -> None:
        """Take in what an xdist worker sent."""
        for name, value in sent.items():
            mine = getattr(self, name)
            if isinstance(mine, bool):
                setattr(self, name, mine or value)
            elif isinstance(mine, list):
                mine.extend(map(_as_tuple, value))
            else:
                setattr(self, name, mine + value)

    def as_plain_data(self) -> dict[str, Any]:
        """What a worker sends."""
        # A worker can send a tuple, and no record that is one.
        return {**dataclasses.asdict(self), "uses": list(map(tuple, self.uses))}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class CleanTerminal:
    """Writes Aquila's own lines to pytest's terminal, without secrets."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def write_line(self, text: str, *, yellow: bool = False, red: bool = False) -> None:
        """Write a line, in a colour if that is wanted."""
        self._terminal.write_line(outgoing.redact_label(text), yellow=yellow, red=red)


def write_summary(reporter: pytest.TerminalReporter, totals: Totals) -> None:
    """Write the lines about the run."""
    terminal = CleanTerminal(reporter)
    for path, count in totals.recovered:
        terminal.write_line(f"aquila: took over {count} recordings of an interrupted run into {path}")
    for text in totals.unrecovered:
        terminal.write_line(f"aquila: {text}", red=True)
    waiting = pending_report.find_pending(totals)
    for line in pending_report.describe_pending(waiting):
        terminal.write_line(f"aquila: {line}", yellow=True)
    for text, count in collections.Counter(totals.unstored).items():
        times = f" ({count} processes)" if count > 1 else ""
        terminal.write_line(f"aquila: not stored: {text}{times}", red=True)
    for test, reason in dict.fromkeys(totals.anew):
        terminal.write_line(
            f"aquila: {test} ran twice: a conversation was recorded anew from its beginning, because in its middle "
            f"{reason}",
            yellow=True,
        )
    for text in dict.fromkeys(totals.told):
        terminal.write_line(f"aquila: {text}", yellow=True)
    for test, cassette, what in totals.unplayed:
        terminal.write_line(f"aquila: {test} did not play {what} of {cassette}", yellow=True)
    for test, recorded in totals.stale:
        terminal.write_line(
            f"aquila: {test} plays recordings that are old (from {recorded}): --aquila-record makes them anew",
            yellow=True,
        )
    for request in dict.fromkeys(totals.unasked):
        terminal.write_line(
            f"aquila: {request} failed as without a network: it came from what no test had started, and nothing "
            "answered it. Name it in aquila_side_requests to hear no more of it, or its host in aquila_ignore_hosts "
            "to let it go",
            yellow=True,
        )
    if totals.used:
        terminal.write_line(summary_line(totals, len(waiting)), red=bool(totals.missed or totals.unstored))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def write_waiting(reporter: pytest.TerminalReporter, waiting: list[tuple[str, int]], folder: str) -> None:
    """Write what waits in the journals under ``folder``, for each cassette, and what takes it over."""
    terminal = CleanTerminal(reporter)
    if not waiting:
        return
    count = sum(count for _, count in waiting)
    what = f"{_count(count, 'recording')} {'waits' if count == 1 else 'wait'}"
    names = ", ".join([f"{name} ({count})" for name, count in waiting[:_MOST_NAMES]])
    more = f" and {len(waiting) - _MOST_NAMES} others" if len(waiting) > _MOST_NAMES else ""
    terminal.write_line(
        f"aquila: {what} in {folder}: {names}{more}. The next recording run (pytest --aquila-record) "
        "takes them over; to do it now: aquila cassettes accept",
        yellow=True,
    )


def summary_line(totals: Totals, pending: int = 0) -> str:
    """One line: replayed, recorded, missed, and ``pending`` files that wait; seconds and tokens saved."""
    line = f"aquila: {totals.replayed} replayed, {totals.recorded} recorded, {totals.missed} missed"
    if totals.scripted:
        line += f", {totals.scripted} scripted"
    if pending:
        line += f", {pending} pending"
    if totals.replayed:
        # An answer need not tell tokens, as those of embeddings and conversations of speech do not.
        line += f"; saved {totals.seconds:.1f} s" + (f" and {totals.tokens:,} tokens" if totals.tokens else "")
    if totals.unstored:
        line += f"; {_count(len(totals.unstored), 'error')} of storage"
    return line

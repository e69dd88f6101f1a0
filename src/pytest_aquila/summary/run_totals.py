"""The totals of a run over its tests and its workers of pytest-xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from pytest_aquila import report_redaction, test_scopes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from aquila.recording.reporting.child_messages import ChildMessages
    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.storing import recording_age
    from aquila.settings import Settings
    from pytest_aquila.summary.miss_report import ChangedRequest
    from pytest_aquila.summary.unrecorded_tests_cache import MissedCassette
else:
    lazy_modules(globals(), "aquila.recording.storing: recording_age")

_NO_NEWS = ("cassettes", "further", "uses")
"""The lists of totals that every run fills, also one that has nothing to tell."""

_TEST_IN = {
    **dict.fromkeys(("missing", "unscripted", "too_short", "emptied")),
    **dict.fromkeys(("changed", "unplayed", "stale"), -1),
    "anew": 0,
}
"""The lists of totals about tests, each with the place of the test in a row; None if the row is the test."""


class RunTotals:
    """Totals over tests. They contain only plain data, so that a worker can send them.

    Each process has one object, in the stash of its configuration; the controller merges those of its workers. Lists of
    texts hold tests, as users type them, or sentences for the summary.
    """

    # No dataclass: a run with one cassette makes this class, and generating it takes longer than replaying a test.
    def __init__(self) -> None:
        self.used = False
        self.replayed = 0
        self.recorded = 0
        self.missed = 0
        self.scripted = 0
        self.seconds = 0.0
        self.tokens = 0
        self.pending: list[tuple[str, str]] = []  # cassette folder and pending file
        self.superseded: list[str] = []  # pending files
        self.unplayed: list[tuple[str, str, str, str]] = []  # scope, cassette, recordings, test
        self.stale: list[tuple[str, str, str]] = []  # scope, date of its oldest recording, test
        self.emptied: list[str] = []
        self.cassettes: list[tuple[str, str]] = []  # cassette folder and name
        self.further: list[str] = []  # files that answered besides them
        self.uses: list[tuple[str, str, str, bool]] = []  # the fields of `NotedUse`
        self.recovered: list[tuple[str, int]] = []  # cassette and number of recordings
        self.unrecovered: list[str] = []
        self.unstored: list[str] = []
        self.sentences: list[str] = []
        self.refused: list[str] = []
        self.unheard: list[str] = []
        self.unguarded: list[str] = []
        self.notes: list[tuple[str, str]] = []  # sentence and next command
        self.drifted: list[dict[str, Any]] = []
        self.unasked: list[str] = []
        self.missing: list[str] = []
        self.unscripted: list[str] = []
        self.too_short: list[str] = []
        self.changed: list[ChangedRequest] = []
        self.unrecorded: list[MissedCassette] = []
        self.anew: list[tuple[str, str]] = []  # test that ran twice, and why
        self.places: dict[str, int] = {}
        """From the ids of tests of workers, as users type them, to their positions among the collected tests."""

    def take_blocks(self, told: ChildMessages) -> None:
        """Add what blocks in child processes have done since the last call."""
        for replayed, recorded, scripted, tokens, seconds in told.take_blocks():
            self.used = self.used or bool(replayed or recorded or scripted)
            self.replayed += replayed
            self.recorded += recorded
            self.scripted += scripted
            self.tokens += tokens
            self.seconds += seconds

    def add_report(self, report: ScopeReport, settings: Settings, test: str, *, is_whole: bool) -> None:
        """Add the report of a scope of a test.

        ``test`` is its id as users type it, and ``is_whole`` says that it ran to its end.
        """
        if report.replayed or report.recorded or report.scripted or report.missed:  # else the scope has asked no model
            self.used = True
        self.replayed += report.replayed
        self.recorded += report.recorded
        self.missed += report.missed
        self.scripted += report.scripted
        self.seconds += report.seconds
        self.tokens += report.tokens
        self.pending += report.pending
        self.superseded += report.superseded
        self.cassettes += report.cassettes
        self.further += report.further
        self.drifted += [{"test": test, **one} for one in report.drifted]
        if report.unscripted:
            self.unscripted.append(test)
        if report.too_short:
            self.too_short.append(test)
        if report.unrecorded:
            self.missing.append(test)
            if settings.transport == "replay":
                change = report.changes[0][1] if report.changes else ""
                self.unrecorded += [(test, change, folder, name) for folder, name in report.cassettes]
        self.changed += [(*change, test) for change in report.changes]
        if report.emptied:
            self.emptied.append(test)
        if settings.unplayed == "warn" and is_whole:
            self.unplayed += [(report.name, cassette, what, test) for cassette, what in report.unplayed]
        if settings.max_age is not None and recording_age.is_older(report.oldest, settings.max_age):
            self.stale.append((report.name, report.oldest, test))

    @property
    def tells_more(self) -> bool:
        """Whether there may be more to say than the sums, which the last line of the run has."""
        return any(value and name not in _NO_NEWS for name, value in vars(self).items() if isinstance(value, list))

    def merge_worker(self, sent: dict[str, Any]) -> None:
        """Add the totals that a worker of pytest-xdist sent."""
        for name, value in sent.items():
            mine = getattr(self, name)
            if isinstance(mine, bool):
                setattr(self, name, mine or value)
            elif isinstance(mine, list):
                mine.extend(map(_as_tuple, value))
            elif isinstance(mine, dict):
                mine.update(value)
            else:
                setattr(self, name, mine + value)

    def sort_tests(self) -> None:
        """Sort the entries of workers in the order of collection, so that the faster worker does not come first."""
        if self.places:
            for name, at in _TEST_IN.items():
                getattr(self, name).sort(key=lambda row, at=at: self.places.get(_test_in(row, at), len(self.places)))

    def as_plain_data(self, collected: Iterable[str]) -> dict[str, Any]:
        """Return what a worker sends. ``collected`` are the ids of all tests, as users type them."""
        named = {_test_in(row, at) for name, at in _TEST_IN.items() for row in getattr(self, name)}
        if named:
            self.places = {test: place for place, test in enumerate(collected) if test in named}
        # execnet, which carries the data of workers, serialises tuples but no subclass of them.
        return {**vars(self), "uses": list(map(tuple, self.uses))}


def _test_in(row: Any, at: int | None) -> str:
    test: str = row if at is None else row[at]
    return test


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def totals_of(config: pytest.Config) -> RunTotals:
    """Return the totals of a run. The first call makes them; from then on warnings of the run are redacted, too."""
    if test_scopes.TOTALS not in config.stash:
        config.stash[test_scopes.TOTALS] = RunTotals()
        report_redaction.begin_redacting(config, report_redaction.CleanWarnings)
    return config.stash[test_scopes.TOTALS]

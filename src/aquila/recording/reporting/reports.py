"""What a scope did, in numbers and names, for summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from aquila.errors import BudgetSpent, CassetteMiss, ConfigError, FaultFailed, RecordingTooShort, UnscriptedRequest
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.quick_records import NamedTuple
from aquila.recording.reporting.played_answers import RecordedAnswer, plays_of
from aquila.recording.sessions.played_recordings import describe_unplayed

if TYPE_CHECKING:
    from aquila.recording.reporting import drift_watch
    from aquila.recording.scope import Scope
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.recording.reporting: drift_watch")


Change: TypeAlias = tuple[str, str, str | None]
"""The group of a miss, the fields that differ, and the setting that cures it (see ``UnansweredRequest``)."""


class StoredRecordings(NamedTuple):
    """What became of a scope's recordings: how many were recorded, which files were written.

    ``superseded`` are the pending files that were removed, because what they held was recorded anew. ``cassettes`` are
    the names of all cassettes that any process used. ``answers`` are the recorded answers.
    """

    recorded: int = 0
    written: tuple[Path, ...] = ()
    pending: tuple[Path, ...] = ()
    cassettes: tuple[str, ...] = ()
    answers: tuple[RecordedAnswer, ...] = ()
    superseded: tuple[Path, ...] = ()


class ScopeReport(NamedTuple):
    """What one scope did, and the blocks within it.

    ``missed`` counts all misses. Recording cures the ``unrecorded`` ones. The ``too_short`` ones must be recorded anew.
    For the ``unscripted`` ones a script has no answer. ``seconds`` and ``tokens`` are what the replayed answers took
    when they were recorded. ``unplayed`` has the name of the cassette that the scope owns, and what of it was not
    played. ``oldest`` is the earliest date of a played recording. ``pending`` are the pending files that were written,
    and ``cassettes`` the names of the cassettes that were used, each after the cassette folder. ``changes`` has a row
    for each miss that is near a recording. ``drifted`` are requests as ``drift_watch`` describes them. ``answers`` are
    the recorded answers. ``emptied`` says that the scope made no requests, so that its cassette was removed.
    ``superseded`` are the pending files that were removed. ``further`` are files that answer besides the cassettes.
    """

    name: str
    replayed: int = 0
    recorded: int = 0
    missed: int = 0
    scripted: int = 0
    seconds: float = 0.0
    tokens: int = 0
    unplayed: tuple[tuple[str, str], ...] = ()
    pending: tuple[tuple[str, str], ...] = ()
    cassettes: tuple[tuple[str, str], ...] = ()
    oldest: str = ""
    changes: tuple[Change, ...] = ()
    drifted: tuple[Mapping[str, Any], ...] = ()
    answers: tuple[RecordedAnswer, ...] = ()
    unrecorded: int = 0
    unscripted: int = 0
    too_short: int = 0
    emptied: bool = False
    superseded: tuple[str, ...] = ()
    further: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Without what was asked and answered.
        counts = f"{self.replayed} replayed, {self.recorded} recorded, {self.missed} missed, {self.scripted} scripted"
        return f"<ScopeReport of {self.name}: {counts}>"


def summarize_scope(scope: Scope, stored: StoredRecordings, settings: Settings | None) -> ScopeReport:
    """Sum up a scope that is closed.

    ``stored`` is what became of its recordings. ``settings`` are its settings; None if they were wrong at its end.
    """
    sessions, blocks, misses = scope.sessions.opened(), scope.block_reports, scope.misses.known
    children = scope.child_messages
    hears = scope.is_owner and children.files.may_have_rows  # mostly not: then nothing more is asked
    if hears:
        misses = scope.misses.hear(is_last=True)
    played = plays_of(scope, children.take_plays(scope.id) if hears else ())
    folder = _folder_of(settings) if settings is not None else ""
    # Its default cassette counts as used in any case: another process may have used it, or nothing needs it any more.
    used = {(folder, name) for name in (*[session.name for session in sessions], *stored.cassettes)}
    if scope.default_cassette is not None:
        used.add((folder, scope.default_cassette))
    if hears and (scope.kind == "test" or (scope.kind == "fixture" and not _is_within_test(scope))):
        used |= children.take_used()
    seconds, tokens, oldest = 0.0, 0, ""
    for answer in played:
        seconds += answer.seconds
        tokens += answer.tokens
        if answer.recorded and (not oldest or answer.recorded < oldest):
            oldest = answer.recorded
    # Not asked again below: most tests miss nothing, and this runs for each of them.
    rows = tuple(misses.untaken) if misses else ()  # the others are in the reports of the tests that asked
    own = ScopeReport(
        name=scope.name,
        replayed=len(played),
        recorded=stored.recorded,
        missed=len(rows),
        scripted=scope.scripts.answered_count,
        seconds=seconds,
        tokens=tokens,
        unplayed=_describe_unplayed(scope),
        pending=tuple([(folder, str(path)) for path in stored.pending]) if stored.pending else (),
        cassettes=tuple(sorted(used)),
        oldest=oldest,
        changes=_changes_of(rows) if rows else (),
        drifted=_drifted_requests(scope),
        answers=stored.answers,
        superseded=tuple(map(str, stored.superseded)),
        further=tuple([str(path.absolute()) for path in scope.further_files]),
        emptied=bool(stored.written and not stored.recorded and not all(path.exists() for path in stored.written)),
    )
    if rows:
        own = _count_by_remedy(own, rows)
    return _with_blocks(own, blocks) if blocks else own


def summarize_misses(scope: Scope, misses: Sequence[CassetteMiss]) -> ScopeReport:
    """Sum up some misses of a scope that is open, for the test that they belong to."""
    used = () if scope.default_cassette is None else ((_folder_of(scope.settings), scope.default_cassette),)
    own = ScopeReport(name=scope.name, missed=len(misses), cassettes=used, changes=_changes_of(misses))
    return _count_by_remedy(own, misses)


def _changes_of(misses: Sequence[CassetteMiss]) -> tuple[Change, ...]:
    """Return the changes of misses near a recording. They name cures only if settings cure all misses."""
    is_cured = all(miss.cure is not None for miss in misses)
    near = [(miss.group, miss) for miss in misses if miss.group is not None]
    return tuple([(group, miss.difference or "", miss.cure if is_cured else None) for group, miss in near])


def _is_within_test(scope: Scope) -> bool:
    """Whether the scope of a test is still open, as when the last test ends the fixtures of the session."""
    return any(other.kind == "test" for other in scope.run.scopes.unclosed())


def _folder_of(settings: Settings) -> str:
    """Return the cassette folder of a scope; "" if it is unknown, because it was relative to a deleted folder."""
    try:
        return str(settings.cassette_root())
    except ConfigError:
        return ""


def _count_by_remedy(own: ScopeReport, misses: Sequence[CassetteMiss]) -> ScopeReport:
    unscripted = sum(isinstance(miss, UnscriptedRequest) for miss in misses)
    too_short = sum(isinstance(miss, RecordingTooShort) for miss in misses)
    with_own_advice = sum(isinstance(miss, FaultFailed | BudgetSpent) for miss in misses)
    return own._replace(
        unrecorded=len(misses) - unscripted - too_short - with_own_advice, unscripted=unscripted, too_short=too_short
    )


def _with_blocks(own: ScopeReport, blocks: Sequence[ScopeReport]) -> ScopeReport:
    """Add what the blocks within a scope did. Their misses are among its own."""
    reports = (own, *blocks)
    return own._replace(
        replayed=sum(report.replayed for report in reports),
        recorded=sum(report.recorded for report in reports),
        scripted=sum(report.scripted for report in reports),
        seconds=sum(report.seconds for report in reports),
        tokens=sum(report.tokens for report in reports),
        pending=tuple(row for report in reports for row in report.pending),
        superseded=tuple(row for report in reports for row in report.superseded),
        cassettes=tuple(sorted({row for report in reports for row in report.cassettes})),
        further=tuple(sorted({row for report in reports for row in report.further})),
        oldest=min((report.oldest for report in reports if report.oldest), default=""),
        drifted=tuple(row for report in reports for row in report.drifted),
        answers=tuple(row for report in reports for row in report.answers),
    )


def _describe_unplayed(scope: Scope) -> tuple[tuple[str, str], ...]:
    """Return the cassette that a scope owns and, in words, what of it was not played; () if all was played."""
    if not scope.owns_cassette:
        return ()
    sessions = scope.sessions.opened_for(scope.default_cassette)
    left = [(one, unplayed) for one in sessions if one.mode == "replay" and (unplayed := one.plays.unplayed)]
    if not left:  # as of nearly every test
        return ()
    described = [(one.name, *describe_unplayed(unplayed, one.plays.conversations)) for one, unplayed in left]
    rows = [(name, [count_of(len(whole), "recording")] * bool(whole) + parts) for name, whole, parts in described]
    return tuple((name, " and ".join(texts)) for name, texts in rows if texts)


def _drifted_requests(scope: Scope) -> tuple[Mapping[str, Any], ...]:
    if not (scope.run.layers.finds_drift or scope.sessions.watches_contents):
        return ()
    return tuple(scope.run.state_of(drift_watch.DriftLog).take(scope))

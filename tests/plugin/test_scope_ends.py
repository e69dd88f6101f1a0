"""The end of a test's scope: what is stored of it, and what is told of it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.cassettes.redaction.redactor import Redactor
from aquila.errors import CassetteMiss, ConfigError
from aquila.recording.reporting import reports
from aquila.recording.reporting.miss_log import MissLog
from pytest_aquila import node_ids, report_redaction, scope_ends, test_scopes
from pytest_aquila.outcomes import make_outcome
from pytest_aquila.recording_runs import second_attempts
from pytest_aquila.summary import run_totals
from pytest_aquila.summary.run_totals import RunTotals


class FakeScope:
    """A scope that notes how it is closed. ``wrong`` says that its test has left a wrong setting."""

    def __init__(self, *, misses: int = 0, faults: str | None = None, wrong: bool = False) -> None:
        log = MissLog()
        for number in range(misses):
            log.remember(CassetteMiss(str(number)))
        self.misses = SimpleNamespace(hear=lambda: log)
        self.own = SimpleNamespace(faults=faults, transport="replay", unplayed="ignore", record="missing")
        self.own.outdated = "ignore"
        self.scripts = SimpleNamespace(is_written=False, from_files=())
        self.is_wrong = wrong
        self.owns_cassette = True
        self.default_cassette = "x"
        self.removed: list[FakeScope] = []
        self.run = SimpleNamespace(scopes=SimpleNamespace(remove=self.removed.append), lock=threading.RLock())
        self.closed_with: list[dict[str, bool]] = []
        self.opened: list[tuple[str, str]] = []
        self.sessions = SimpleNamespace(session_for=lambda cassette, mode: self.opened.append((cassette, mode)))

    @property
    def settings(self) -> Any:
        if self.is_wrong:
            raise ConfigError("wrong")
        return self.own

    def close(self, **options: bool) -> str:
        self.closed_with.append(options)
        return "report"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the end of a scope has told other modules, by the names of their functions."""
    told: dict[str, Any] = {}
    for module, name in (
        (second_attempts, "plan_second_attempt"),
        (report_redaction, "redactors_of"),
        (report_redaction, "remember_redactors"),
        (scope_ends, "add_report"),
        (reports, "summarize_scope"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name, **options: told.setdefault(name, options))
    return told


def item_of(scope: FakeScope) -> Any:
    stash = pytest.Stash()
    stash[test_scopes.SCOPE] = scope  # type: ignore[assignment]
    config = SimpleNamespace(stash=pytest.Stash())
    return SimpleNamespace(stash=stash, config=config)


@pytest.mark.parametrize(
    ("outcome", "misses", "faults", "passed", "adds_only"),
    [
        ("passed", 0, None, True, False),
        ("passed", 1, None, False, False),  # what a process of the test tells late
        ("skipped", 0, None, False, True),
        ("xfailed", 0, None, False, True),
        ("failed", 0, None, False, False),
        ("failed", 0, "overloaded", False, True),  # it has recorded the good answer from which the fault is made
        ("failed", 1, "overloaded", False, False),
        ("skipped", 1, None, False, False),
    ],
)
def test_what_is_stored_follows_from_how_the_test_ended(
    told: dict[str, Any], outcome: Any, misses: int, faults: str | None, passed: bool, adds_only: bool
) -> None:
    scope: Any = FakeScope(misses=misses, faults=faults)
    item = item_of(scope)
    scope_ends.close_test_scope(item, scope, outcome)
    assert scope.closed_with == [{"passed": passed, "adds_only": adds_only}]
    assert scope.removed == [scope]
    assert test_scopes.SCOPE not in item.stash
    assert told.pop("add_report") == {"is_of_test": True, "is_whole": passed}
    needs_redactors = misses or outcome != "passed"
    expected = {"plan_second_attempt"} if misses else set()
    assert told.keys() == expected | {"redactors_of" if needs_redactors else "remember_redactors"}


@pytest.mark.parametrize(
    ("transport", "unplayed", "owns", "mode"),
    [
        ("record", "ignore", True, "missing"),
        ("replay", "warn", True, "replay"),
        ("replay", "ignore", True, None),
        ("live", "warn", True, None),
        ("record", "warn", False, None),
    ],
)
def test_the_cassette_of_a_test_that_asks_nothing_any_more_is_looked_at(
    transport: str, unplayed: str, owns: bool, mode: str | None
) -> None:
    scope: Any = FakeScope()
    scope.own.transport, scope.own.unplayed, scope.owns_cassette = transport, unplayed, owns
    scope_ends.check_plays(scope)
    assert scope.opened == ([] if mode is None else [("x", mode)])


def test_a_scope_with_a_wrong_setting_is_closed_all_the_same(told: dict[str, Any]) -> None:
    scope: Any = FakeScope(wrong=True)
    with pytest.raises(ConfigError):
        scope_ends.close_test_scope(item_of(scope), scope, "passed")
    assert scope.closed_with == [{"passed": False, "adds_only": False}]
    assert scope.removed == [scope]
    assert not told


@pytest.mark.parametrize(("misses", "wrong", "names"), [(1, False, 2), (1, True, 0), (0, False, 0)])
def test_an_interrupted_test_tells_its_misses(told: dict[str, Any], misses: int, wrong: bool, names: int) -> None:
    scope: Any = FakeScope(misses=misses, wrong=wrong)
    scope_ends.note_interruption(item_of(scope), scope)
    assert len(told) == names


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (pytest.fail.Exception("a plugin says so"), "passed"),
        (pytest.skip.Exception("the quota is used up"), "passed"),
        (ValueError("it is broken"), "failed"),
        (make_outcome(CassetteMiss("missed in the teardown")), "failed"),
    ],
)
def test_only_a_teardown_that_fails_on_purpose_leaves_the_outcome(
    error: BaseException, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    scope = FakeScope()
    item = item_of(scope)
    test_scopes.remember_teardown_miss(item.config, CassetteMiss("of this test"))
    monkeypatch.setattr(test_scopes, "end_test", lambda item: scope)
    monkeypatch.setattr(scope_ends, "close_test_scope", lambda item, scope, outcome: closed.append(outcome))
    scope_ends.end_failed_test(item, error, "passed")
    assert closed == [outcome]
    assert test_scopes.take_teardown_misses(item.config) == []


def test_what_is_reported_after_a_scope_is_redacted_as_within_it() -> None:
    scope: Any = FakeScope()
    of_fixture, of_session = Redactor(), Redactor()
    scope.sessions.opened = lambda: [SimpleNamespace(redactor=of_session)]
    item = item_of(scope)
    item.stash[test_scopes.REDACTORS] = {of_fixture: None}
    report_redaction.remember_redactors(item, scope)
    del item.stash[test_scopes.SCOPE]
    assert list(report_redaction.redactors_of(item)) == [of_fixture, of_session]


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> RunTotals:
    totals = RunTotals()
    monkeypatch.setattr(run_totals, "totals_of", lambda config: totals)
    monkeypatch.setattr(RunTotals, "add_report", lambda self, report, settings, test, **_: self.sentences.append(test))
    monkeypatch.setattr(node_ids, "id_to_type", lambda item: "test_app.py::test_it")
    return totals


def add_report(item: Any, *, is_of_test: bool = True) -> None:
    report: Any = SimpleNamespace(cassettes=["x"], answers=())
    item.config.option = SimpleNamespace()
    scope_ends.add_report(item, report, SimpleNamespace(transport="replay"), is_of_test=is_of_test)  # type: ignore[arg-type]


def test_of_a_test_that_runs_twice_only_the_second_attempt_counts(totals: RunTotals) -> None:
    item = item_of(FakeScope())
    item.stash[test_scopes.RECORDED_ANEW], item.stash[test_scopes.REASON] = {"x": {"key": None}}, "it has drifted"
    for _ in range(2):  # of the test, and of a fixture of it
        add_report(item)
    assert totals.anew == [("test_app.py::test_it", "it has drifted")]
    assert not totals.sentences
    with test_scopes.second_attempt(item):
        add_report(item)
    assert totals.sentences == ["test_app.py::test_it"]
    assert len(totals.anew) == 1


@pytest.mark.parametrize("is_of_test", [True, False])
def test_a_run_has_used_cassettes_if_a_test_has(totals: RunTotals, is_of_test: bool) -> None:
    add_report(item_of(FakeScope()), is_of_test=is_of_test)
    assert totals.used == is_of_test

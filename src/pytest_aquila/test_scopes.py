"""What is known of a test: whether it runs, whether its scope is open, what is to become of it.

Every run loads this module. ``scope_starts`` opens the scope when something in the test needs it, ``scope_ends`` closes
it. All state is in the stash of the test or of the configuration, so it ends with these. The keys are all here: a run
of pytester forgets the modules that it has imported, and a key that is created again would be another key.
"""

from __future__ import annotations

import contextlib
from _contextvars import ContextVar  # as in `aquila.recording.runtime`
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila.intercept import activation
from aquila.lazy_imports import lazy_modules
from pytest_aquila import options, run_life

if TYPE_CHECKING:
    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.errors import CassetteMiss, UnansweredRequest
    from aquila.recording.runtime import Run
    from aquila.recording.scope import Scope
    from pytest_aquila import node_ids, scope_starts, shared_misses, suggested_commands
    from pytest_aquila.scope_ends import Outcome
    from pytest_aquila.summary import junit_facts
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(
        globals(),
        "pytest_aquila: node_ids, scope_starts, shared_misses, suggested_commands",
        "pytest_aquila.summary: junit_facts",
    )

RUN = run_life.RUN
SCOPE: pytest.StashKey[Scope] = pytest.StashKey()
"""In the stash of a test: its open scope."""
_ended: pytest.StashKey[bool] = pytest.StashKey()
"""In the stash of a test that may open no scope any more. Set and read under the lock of the run."""
_is_second: pytest.StashKey[bool] = pytest.StashKey()
RECORDED_ANEW: pytest.StashKey[dict[str, dict[str, None]]] = pytest.StashKey()
"""In the stash of a test whose conversation has drifted: for each cassette the keys of recordings to record again.

``second_attempts.plan_second_attempt`` sets it, and ``second_attempts.run_again`` deletes it.
"""
REASON: pytest.StashKey[str] = pytest.StashKey()
"""In the stash of such a test: why it runs a second time, in one sentence."""
FACTS: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""In the stash of a test: the facts of this attempt for its entry in the XML of JUnit."""
PREPARE_SCOPE: pytest.StashKey[Callable[[Scope], None]] = pytest.StashKey()
"""In the stash of a test that runs under faults: a function that prepares its scope before anything uses it."""
RERUN = "rerun"
"""The outcome of an attempt that another attempt follows, as in pytest-rerunfailures."""
node_of_fixture: ContextVar[Any] = ContextVar("aquila_node_of_fixture", default=None)
"""The test, or what encloses tests, for which a fixture is being set up."""
MARKED: pytest.StashKey[tuple[str | None, dict[str, Any]]] = pytest.StashKey()
"""The cassette and the settings that the markers of a test gave its scope."""
TYPED_ID: pytest.StashKey[str] = pytest.StashKey()
"""In the stash of a test: what ``node_ids.id_to_type`` returns, because each scope of a test asks twice."""
REDACTORS: pytest.StashKey[dict[Redactor, None]] = pytest.StashKey()
"""In the stash of a test: the redactors for its reports. In that of the configuration: those of shared fixtures."""
SHARED_MISSES: pytest.StashKey[list[CassetteMiss]] = pytest.StashKey()
"""In the stash of a test: what fixtures that several tests share have missed while it ran, or at its end."""
FAILED_FIXTURES: pytest.StashKey[dict[object, tuple[BaseException, Sequence[UnansweredRequest]]]] = pytest.StashKey()
"""In the stash of the configuration: the error of each fixture that has failed, and what was unanswered in it."""
INTERRUPTED: pytest.StashKey[list[Scope]] = pytest.StashKey()
"""In the stash of a test: the scopes of fixtures during whose setup the run was ended. Nothing closes them."""
_teardown_misses: pytest.StashKey[list[CassetteMiss]] = pytest.StashKey()
OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""The outcome of a test before its teardown. Each setup sets it to skipped, the end of the body to passed."""
TOTALS: pytest.StashKey[RunTotals] = pytest.StashKey()
"""In the stash of the configuration: the totals of the run, if there is anything to sum up."""
_MARKERS = frozenset({options.MARKER, options.LIVE})
_ASK_NOTHING = frozenset({"aquila_script", "aquila_faults", "aquila_refusals"})
"""Fixtures of Aquila that need no scope while they are set up."""


class _RunningItem:
    """The running test of a run. The run keeps it, because not every caller has pytest's configuration."""

    item: pytest.Item | None = None


def _how_to_type(item: pytest.Item) -> tuple[str, str]:
    typed = node_ids.id_to_type(item)
    return typed, suggested_commands.record_command(item, typed)


class running_test:
    """Make ``item`` the running test of its run, and renew the guard, which the test before may have removed."""

    # Not a generator, which takes three times as long, and each test enters this.

    def __init__(self, item: pytest.Item) -> None:
        run, test = item.config.stash[RUN], item.nodeid
        self._item, self._run = item, run
        if "@" in test:  # pytest-xdist adds the group of a test
            test = node_ids.id_of(item)
        self._test = run.running_test(test, lambda: _scope_until_end(item))

    def __enter__(self) -> None:
        activation.interception().renew_guard()
        item = self._run.state_of(_RunningItem).item = self._item
        self._run.repetition.is_possible = not is_second_attempt(item)
        self._test.__enter__().how_to_type = lambda: _how_to_type(item)

    def __exit__(self, *_: object) -> None:
        self._test.__exit__()
        self._run.state_of(_RunningItem).item = None
        self._run.repetition.is_possible = False


@contextlib.contextmanager
def second_attempt(item: pytest.Item) -> Iterator[None]:
    """Mark the block as the second run of the protocol of a test."""
    item.stash[_is_second] = True
    try:
        yield
    finally:
        del item.stash[_is_second]


def is_second_attempt(item: pytest.Item) -> bool:
    """Whether the second attempt of a test is running."""
    return _is_second in item.stash


def runs_again(item: pytest.Item) -> bool:
    """Whether a test will run a second time after this attempt."""
    # Not with `get`, which is slow for a missing key: nearly every test lacks this one, and each test asks six times.
    return RECORDED_ANEW in item.stash and bool(item.stash[RECORDED_ANEW]) and not is_second_attempt(item)


def running_item_of(run: Run) -> pytest.Item | None:
    """Return the running test of a run, or None between tests."""
    return run.state_of(_RunningItem).item


def running_item(config: pytest.Config) -> pytest.Item | None:
    """Return the running test, or None between tests."""
    return running_item_of(config.stash[RUN])


def _scope_until_end(item: pytest.Item) -> Scope | None:
    """Return the scope of a test, or None after its teardown, because nothing would close a scope opened then."""
    with item.config.stash[RUN].lock:
        return opened_scope(item) if _ended in item.stash else scope_starts.scope_of(item)


def begin_test(item: pytest.Item) -> None:
    """Allow a test to open its scope. A plugin may run the test again after its teardown."""
    if (test := item.config.stash[RUN].test) is not None:
        test.has_begun, test.mark.outcome, test.has_ended = True, "", False
    if _ended in item.stash:
        junit_facts.forget_facts(item)
        item.stash[SHARED_MISSES] = []
        del item.stash[_ended]


def tell_blocks(item: pytest.Item, outcome: Outcome) -> None:
    """Say that a test has not passed, for the blocks that its fixtures keep open. The first outcome counts."""
    if (test := item.config.stash[RUN].test) is not None:
        test.mark.outcome = test.mark.outcome or outcome


def end_test(item: pytest.Item) -> Scope | None:
    """Allow no scope for a test any more, and return the scope that is open, or None.

    The refusals of the test are cleared, because a plugin may run it again. Later refusals cannot fail it any more.
    """
    run = item.config.stash[RUN]
    if (test := run.test) is not None:
        test.has_ended = True
        test.refusals.clear()
    with run.lock:
        item.stash[_ended] = True
        return opened_scope(item)


def wants_cassette(item: pytest.Item) -> bool:
    """Whether a test has a cassette or settings, by a marker or by a fixture that it uses."""
    # Fixtures are checked first, because searching for a marker takes longer.
    return uses_cassette_fixture(item) or uses_script_fixture(item) or _has_marker(item)


def _has_marker(item: pytest.Item) -> bool:
    node: Any = item
    while node is not None:  # as `iter_markers` does, with three generators
        for marker in node.own_markers:
            if marker.name in _MARKERS:
                return True
        node = node.parent
    return False


def uses_cassette_fixture(item: pytest.Item) -> bool:
    """Whether a test has its own cassette because of a fixture that it uses, directly or through another one."""
    names = getattr(item, "fixturenames", ())
    return "aquila_cassette" in names or ("aquila_faults" in names and "aquila_script" not in names)


def uses_script_fixture(item: pytest.Item) -> bool:
    """Whether a test uses ``aquila_script``, directly or through another fixture."""
    return "aquila_script" in getattr(item, "fixturenames", ())


def remember_teardown_miss(config: pytest.Config, miss: CassetteMiss) -> None:
    """Keep a miss of a fixture's teardown until ``take_teardown_misses``."""
    config.stash.setdefault(_teardown_misses, []).append(miss)


def take_teardown_misses(config: pytest.Config) -> list[CassetteMiss]:
    """Return and clear the misses of fixtures that were torn down since the last call."""
    if _teardown_misses not in config.stash:
        return []
    misses = config.stash[_teardown_misses]
    del config.stash[_teardown_misses]
    return misses


def opened_scope(item: pytest.Item) -> Scope | None:
    """Return the scope of a test if it is open, else None."""
    return item.stash[SCOPE] if SCOPE in item.stash else None  # noqa: SIM401 - `get` is slow for a missing key


def has_own_cassette(fixture: pytest.FixtureDef[Any], item: pytest.Item) -> bool:
    """Whether the requests of a fixture are kept apart from those of ``item``, the test that sets it up."""
    if fixture.scope == "function":
        if fixture.argname in _ASK_NOTHING:
            return False
        scope = opened_scope(item)
        if scope is not None:
            return not scope.has_answers and scope.settings.transport != "live"
    return not _is_of_pytest(fixture)


def _is_of_pytest(fixture: pytest.FixtureDef[Any]) -> bool:
    """Whether a fixture is one of pytest's own, which ask no model. A plain parameter of a test is one, too.

    Those that pytest makes of ``setup_method``, ``setUpClass`` and the like call code of the project.
    """
    module = getattr(fixture.func, "__module__", None) or ""
    return module.startswith("_pytest.") and not fixture.argname.startswith(("_xunit_", "_unittest_"))


def has_unanswered(item: pytest.Item, *, is_last: bool = False) -> bool:
    """Whether a request of the running test was missed or refused, by it or by a child process.

    ``is_last`` says that its scope is about to end. Then answers in progress end first, because one may be a miss.
    """
    scope, run = opened_scope(item), item.config.stash[RUN]
    if is_last and scope is not None and scope.has_listeners:
        run.scopes.announce_end(scope)
    misses: Sequence[CassetteMiss] = scope.misses.known if scope is not None else ()
    shared: Sequence[CassetteMiss] = ()
    told = run.told_by_children
    if told is not None and told.files.may_have_rows:
        told.pass_on_refusals(run)
        misses = scope.misses.hear(is_last=True) if scope is not None else ()
        shared = shared_misses.pass_on(item)
    elif run.has_shared_misses:
        shared = shared_misses.pass_on(item)
    return bool(misses or shared or (run.test is not None and run.test.refusals))

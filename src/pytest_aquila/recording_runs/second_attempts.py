"""Runs a test once more, in which a conversation has drifted in its middle while it was recorded.

The first attempt ends at the request that could not be sent, and stores nothing. In the second one the conversation is
live from its beginning, and all else is replayed as before. There is no third one.

The second attempt is a whole protocol of its own, through the hooks, so that other plugins that run tests again, limit
their time or run them in event loops do with it what they do with any. The first one is reported as ``rerun``, as
pytest-rerunfailures does, which no plugin takes for a failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import test_scopes

if TYPE_CHECKING:
    from aquila import errors
    from aquila.errors import CassetteMiss
    from aquila.recording.reporting import child_misses
else:
    lazy_modules(
        globals(),
        child_misses="aquila.recording.reporting.child_misses",
        errors="aquila.errors",
    )


def reason_of(item: pytest.Item) -> str:
    """Why a test runs once more, in one sentence."""
    return item.stash[test_scopes.REASON]


def plan(item: pytest.Item, misses: Iterable[CassetteMiss]) -> None:
    """Let a test run once more if one of its misses, so far, is within a conversation that can be recorded anew."""
    if test_scopes.is_second_attempt(item):
        return
    for miss in misses:
        if isinstance(miss, errors.ConversationDrifted) and miss.conversation:
            item.stash.setdefault(test_scopes.REASON, miss.sentence)
            planned = item.stash.setdefault(test_scopes.RECORDED_ANEW, {})
            for cassette, keys in miss.conversation.items():
                planned.setdefault(cassette, {}).update(dict.fromkeys(keys))


def mark_as_rerun(report: pytest.TestReport) -> None:
    """Make a report say that another attempt follows, instead of how this one ended."""
    outcome: Any = test_scopes.RERUN
    report.outcome = outcome
    if hasattr(report, "wasxfail"):
        del report.wasxfail


def hide_end(report: pytest.TestReport) -> None:
    """Make the report of a teardown say that the test is not over: JUnit's file would have an entry for each."""
    when: Any = test_scopes.RERUN
    report.when = when


def run_again(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Run a test for the second time, with its drifted conversations live. Return what its protocol does."""
    run = item.config.stash[test_scopes.RUN]
    keys = {cassette: list(keys) for cassette, keys in item.stash[test_scopes.RECORDED_ANEW].items()}
    _forget_failed_fixtures(item)
    run.repetition.keys = keys
    run.state_of(child_misses.ChildMisses).tell_anew(keys)
    try:
        with test_scopes.second_attempt(item):
            return item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)
    finally:
        run.repetition.keys = {}
        run.state_of(child_misses.ChildMisses).tell_anew({})
        del item.stash[test_scopes.RECORDED_ANEW], item.stash[test_scopes.REASON]


@contextlib.contextmanager
def keeping_shared_fixtures(item: pytest.Item) -> Iterator[None]:
    """Tear down within the block what belongs to the test alone, also where no other test needs the rest.

    Pytest would tear down the fixtures of a module with its last test, and the second attempt is still to come.
    """
    state = getattr(item.session, "_setupstate", None)
    tear_down: Callable[[pytest.Item | None], None] | None = getattr(state, "teardown_exact", None)
    if state is None or tear_down is None:  # a later pytest: it sets all of them up again
        yield
        return
    # There is no public way to say it. What the state is torn down to is a node whose parents stay.
    state.teardown_exact = lambda nextitem: tear_down(item.parent)  # type: ignore[arg-type]
    try:
        yield
    finally:
        del state.teardown_exact


def fixtures_of(item: pytest.Item) -> Mapping[str, Sequence[pytest.FixtureDef[Any]]]:
    """The definitions of the fixtures that a test uses, by name."""
    info = getattr(item, "_fixtureinfo", None)
    found: Mapping[str, Sequence[pytest.FixtureDef[Any]]] = getattr(info, "name2fixturedefs", {})
    return found


def _forget_failed_fixtures(item: pytest.Item) -> None:
    """Let the fixtures that failed in the first attempt be set up anew: pytest remembers their errors."""
    for definitions in fixtures_of(item).values():
        for definition in definitions:
            if definition.cached_result is not None and definition.cached_result[2] is not None:
                request: Any = SimpleNamespace(node=item, config=item.config)  # all that is asked of it
                with contextlib.suppress(Exception):  # of what it tears down
                    definition.finish(request)
                definition.cached_result = None

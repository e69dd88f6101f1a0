"""The second run of a test in which a conversation drifted in its middle while it was recorded.

The first attempt ends at the request that could not be sent, and stores nothing. In the second attempt the conversation
is live from its beginning, and everything else is replayed as before. There is no third attempt.

The second attempt is a complete test protocol, called through the hooks, so that other plugins that repeat tests, limit
their time or run them in event loops treat it like any test. The first attempt is reported as ``rerun``, the outcome of
pytest-rerunfailures, which no plugin takes for a failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from aquila import errors
from aquila.recording.reporting import child_messages
from pytest_aquila import test_scopes
from pytest_aquila.recording_runs import rerun_status


def plan_second_attempt(item: pytest.Item, misses: Iterable[errors.CassetteMiss]) -> None:
    """Plan a second attempt if one of the misses is in a conversation that can be recorded again.

    The plan is in the stash of the test, and ``run_again`` removes it.
    """
    if test_scopes.is_second_attempt(item):
        return
    for miss in misses:
        if isinstance(miss, errors.ConversationDrifted) and miss.conversation:
            rerun_status.show_reruns(item.config)
            item.stash.setdefault(test_scopes.REASON, miss.sentence)
            planned = item.stash.setdefault(test_scopes.RECORDED_ANEW, {})
            for cassette, keys in miss.conversation.items():
                planned.setdefault(cassette, {}).update(dict.fromkeys(keys))


def run_again(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Run a test for the second time, with its drifted conversations live. Return the result of its protocol."""
    run = item.config.stash[test_scopes.RUN]
    keys = {cassette: list(keys) for cassette, keys in item.stash[test_scopes.RECORDED_ANEW].items()}
    _forget_failed_fixtures(item)
    run.repetition.keys = keys
    run.state_of(child_messages.ChildMessages).tell_anew(keys)
    try:
        with test_scopes.second_attempt(item):
            return item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)
    finally:
        run.repetition.keys = {}
        run.state_of(child_messages.ChildMessages).tell_anew({})
        del item.stash[test_scopes.RECORDED_ANEW], item.stash[test_scopes.REASON]


@contextlib.contextmanager
def keeping_shared_fixtures(item: pytest.Item) -> Iterator[None]:
    """Tear down within the block only the fixtures of the test itself, even if no other test needs the shared ones.

    Pytest would tear down the fixtures of a module after its last test, although the second attempt needs them.
    """
    state = getattr(item.session, "_setupstate", None)
    tear_down: Callable[[pytest.Item | None], None] | None = getattr(state, "teardown_exact", None)
    if state is None or tear_down is None:  # a future pytest without these privates sets all fixtures up again
        yield
        return
    # `teardown_exact` keeps the node that it gets, and the parents of that node. The attribute on the instance hides
    # the method of the class until it is deleted. There is no public way.
    state.teardown_exact = lambda nextitem: tear_down(item.parent)  # type: ignore[arg-type]
    try:
        yield
    finally:
        del state.teardown_exact


def fixtures_of(item: pytest.Item) -> Mapping[str, Sequence[pytest.FixtureDef[Any]]]:
    """Return the definitions of the fixtures that a test uses, by name."""
    info = getattr(item, "_fixtureinfo", None)  # private to pytest; items that are no functions have none
    found: Mapping[str, Sequence[pytest.FixtureDef[Any]]] = getattr(info, "name2fixturedefs", {})
    return found


def _forget_failed_fixtures(item: pytest.Item) -> None:
    """Clear the fixtures that failed in the first attempt, because pytest would raise their remembered errors again."""
    for definitions in fixtures_of(item).values():
        for definition in definitions:
            if definition.cached_result is not None and definition.cached_result[2] is not None:
                request: Any = SimpleNamespace(node=item, config=item.config)  # `finish` reads nothing else of it
                with contextlib.suppress(Exception):  # errors of its teardown do not matter: it is set up again
                    definition.finish(request)
                definition.cached_result = None

"""The scope of a test, which opens when something in the test needs it and closes with the test.

All state is in the stash of the test or of the configuration, so it ends with these.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from _contextvars import ContextVar  # as in `aquila.recording.runtime`
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from pytest_aquila import options, run_life

if TYPE_CHECKING:
    from aquila import errors
    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.cassettes.storage import names
    from aquila.errors import CassetteMiss
    from aquila.intercept import activation
    from aquila.recording import scope as scopes
    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.scope import Scope
    from aquila.recording.secrets import outgoing
    from aquila.recording.secrets import redactors as known_redactors
    from aquila.recording.sessions import session_factory
    from aquila.settings import Settings
    from pytest_aquila import marker_options, node_ids, typed_command
    from pytest_aquila.summary import junit_facts
else:
    lazy_modules(
        globals(),
        activation="aquila.intercept.activation",
        errors="aquila.errors",
        typed_command="pytest_aquila.typed_command",
        known_redactors="aquila.recording.secrets.redactors",
        marker_options="pytest_aquila.marker_options",
        names="aquila.cassettes.storage.names",
        outgoing="aquila.recording.secrets.outgoing",
        junit_facts="pytest_aquila.summary.junit_facts",
        node_ids="pytest_aquila.node_ids",
        scopes="aquila.recording.scope",
        session_factory="aquila.recording.sessions.session_factory",
    )

RUN = run_life.RUN
_scope: pytest.StashKey[Scope] = pytest.StashKey()
_ended: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the scope of a test was closed. Set and read under the lock of the run."""
_is_second: pytest.StashKey[bool] = pytest.StashKey()
RECORDED_ANEW: pytest.StashKey[dict[str, dict[str, None]]] = pytest.StashKey()
"""In the stash of a test whose conversation has drifted: for each cassette the keys of recordings to record again.

``second_attempts.plan`` sets it, and ``second_attempts.run_again`` deletes it.
"""
REASON: pytest.StashKey[str] = pytest.StashKey()
"""In the stash of such a test: why it runs a second time, in one sentence.

The key is not in the module that uses it: a run of pytester forgets the modules that it has imported, and a key that is
created again would be another key.
"""
FACTS: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""In the stash of a test: the facts of this attempt for its entry in the XML of JUnit."""
PREPARE_SCOPE: pytest.StashKey[Callable[[Scope], None]] = pytest.StashKey()
"""In the stash of a test that runs under faults: a function that prepares its scope before anything uses it."""
RERUN = "rerun"
"""The outcome of an attempt that another attempt follows, as in pytest-rerunfailures."""
node_of_fixture: ContextVar[Any] = ContextVar("aquila_node_of_fixture", default=None)
"""The test, or what encloses tests, for which a fixture is being set up."""
_marked: pytest.StashKey[tuple[str | None, dict[str, Any]]] = pytest.StashKey()
"""The cassette and the settings that the markers of a test gave its scope."""


class _RunningItem:
    """Which test of a run is running. Kept by the run and not by pytest's configuration, which not every caller has."""

    item: pytest.Item | None = None


@contextlib.contextmanager
def running_test(item: pytest.Item) -> Iterator[None]:
    """Make ``item`` the running test of its run, and renew the guard, which the test before may have removed."""
    activation.interception().renew_guard()
    stash = item.config.stash
    running = stash[RUN].state_of(_RunningItem)
    running.item = item
    stash[RUN].repetition.is_possible = not is_second_attempt(item)
    try:
        with stash[RUN].running_test(item.nodeid, lambda: _scope_until_end(item)):
            yield
    finally:
        running.item = None
        stash[RUN].repetition.is_possible = False


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
    return item.stash.get(_is_second, False)


def runs_again(item: pytest.Item) -> bool:
    """Whether a test will run a second time after this attempt."""
    return bool(item.stash.get(RECORDED_ANEW, None)) and not is_second_attempt(item)


def running_item(config: pytest.Config) -> pytest.Item | None:
    """Return the running test, or None between tests."""
    return config.stash[RUN].state_of(_RunningItem).item


def asking_item() -> pytest.Item:
    """Return the test for which a fixture of its own is being set up. It need not run by pytest's protocol.

    A plugin may call the function of the fixture by itself; then it is the running test. Raises ``ConfigError`` where
    no test runs.
    """
    node = node_of_fixture.get()
    if isinstance(node, pytest.Item):
        return node
    item = runtime.current_run().state_of(_RunningItem).item
    if item is None:
        raise errors.ConfigError(
            "the fixture aquila_cassette is the cassette of one test, and no test runs here: name it as a parameter of "
            "the test, or answer a block of code with `with aquila.use_cassette(...)`"
        )
    return item


def _scope_until_end(item: pytest.Item) -> Scope | None:
    """Return the scope of a test, or None after its teardown, because nothing would close a scope opened then."""
    with item.config.stash[RUN].lock:
        return opened_scope(item) if item.stash.get(_ended, False) else scope_of(item)


def begin_test(item: pytest.Item) -> None:
    """Allow a test to open its scope. A plugin may run the test again after its teardown."""
    if item.stash.get(_ended, False):
        junit_facts.forget_facts(item)
    item.stash[_ended] = False


def end_test(item: pytest.Item) -> Scope | None:
    """Allow no scope for a test any more, and return the scope that is open, or None.

    The refusals of the test are cleared, for a plugin that runs it again.
    """
    run = item.config.stash[RUN]
    if run.test is not None:
        run.test.refusals.clear()
    with run.lock:
        item.stash[_ended] = True
        return opened_scope(item)


def scope_of(item: pytest.Item, *, with_cassette: bool = False) -> Scope:
    """Return the scope of a test, and open it if needed. ``with_cassette`` gives it its own cassette if it has none."""
    with item.config.stash[RUN].lock:  # two threads of a test that need it at the same time get one scope
        scope = item.stash.get(_scope, None)
        if scope is None:
            test = node_ids.id_of(item)
            named, settings = marker_options.options_of(item)
            scope = scopes.Scope(
                kind="test",
                name=test,
                command=typed_command.complete(item.config, f"pytest {shlex.quote(id_to_type(item))} --aquila-record"),
                default_cassette=named,
                options=settings,
            )
            item.stash[_scope], item.stash[_marked] = scope, (named, settings)
            with_cassette = (
                with_cassette
                # Known from the fixture's name, before its setup: other fixtures, and their clients, may come first.
                or uses_cassette_fixture(item)
                or (not uses_script_fixture(item) and item.get_closest_marker(options.MARKER) is not None)
            )
            if with_cassette and named is None:
                scope.use_cassette(own_cassette_name(item, test), owned=True)
            if (prepare := item.stash.get(PREPARE_SCOPE, None)) is not None:
                prepare(scope)
            scopes.open_scope(scope)
        elif with_cassette:
            _follow_markers(item, scope)
            if scope.default_cassette is None:
                scope.use_cassette(own_cassette_name(item, node_ids.id_of(item)), owned=True)
        return scope


# Shorter parameters are never taken for secrets, which saves most tests the search.
_SHORTEST_SECRET = 8


def pytest_make_parametrize_id(val: object) -> str | None:
    """Return an id without the secret in a test's parameter, because ids are shown and name files; None for others."""
    text = val.decode("ascii", "backslashreplace") if isinstance(val, bytes) else val
    if not isinstance(text, str) or len(text) < _SHORTEST_SECRET or (clean := outgoing.redact_label(text)) == text:
        return None
    return clean.encode("unicode_escape").decode()


def own_cassette_name(item: pytest.Item, test: str) -> str:
    """Return the name of a test's own cassette. A secret parameter is named by its position, because keys change."""
    has_twin = node_ids.has_twin(item)
    if "[" not in test:
        return names.name_of_test(test, has_twin=has_twin)
    clean = outgoing.redact_label(test)
    if clean != test:
        places = getattr(getattr(item, "callspec", None), "indices", {}).values()
        clean += "#" + "-".join(map(str, places))
    return names.name_of_test(clean, has_twin=has_twin)


def _follow_markers(item: pytest.Item, scope: Scope) -> None:
    """Apply markers that a fixture has added to a test since its scope was opened."""
    named, settings = marker_options.options_of(item)
    if (named, settings) == item.stash[_marked]:
        return
    item.stash[_marked] = named, settings
    if named is not None:
        scope.use_cassette(named, owned=False)
    scope.override_settings(settings, source=item.nodeid)


def wants_cassette(item: pytest.Item) -> bool:
    """Whether a test has a cassette or settings, by a marker or by a fixture that it uses."""
    # Fixtures are checked first, because searching for a marker takes longer.
    return (
        uses_cassette_fixture(item)
        or uses_script_fixture(item)
        or item.get_closest_marker(options.MARKER) is not None
        or item.get_closest_marker(options.LIVE) is not None
    )


def uses_cassette_fixture(item: pytest.Item) -> bool:
    """Whether a test has its own cassette because of a fixture that it uses, directly or through another one."""
    names = getattr(item, "fixturenames", ())
    return "aquila_cassette" in names or ("aquila_faults" in names and "aquila_script" not in names)


def uses_script_fixture(item: pytest.Item) -> bool:
    """Whether a test uses ``aquila_script``, directly or through another fixture."""
    return "aquila_script" in getattr(item, "fixturenames", ())


def cache_setup_failure(fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: BaseException) -> None:
    """Make the setup of a shared fixture fail for each test that uses it, as its own exceptions do.

    An exception from a hook around pytest's own setup leaves the fixture neither set up nor failed, and in the next
    test that uses it an assertion of pytest fails.
    """
    known = fixture.cached_result
    if isinstance(error, (Exception, pytest.fail.Exception, pytest.skip.Exception)) and (known is None or not known[2]):
        fixture.cached_result = None, fixture.cache_key(request), (error, error.__traceback__)  # type: ignore[arg-type]


_typed_id: pytest.StashKey[str] = pytest.StashKey()
"""In the stash of a test: what ``id_to_type`` returns, because each scope of a test asks twice."""


def id_to_type(item: pytest.Item) -> str:
    """Return the id of a test as users type it in the folder where pytest was started, perhaps not the root folder."""
    known = item.stash.get(_typed_id, None)
    if known is not None:
        return known
    here, root = item.config.invocation_params.dir, run_life.root_of(item.config)
    file, colons, inside = node_ids.id_of(item).partition("::")
    with contextlib.suppress(ValueError):  # another drive
        file = file if here == root else os.path.relpath(root / file, here)
    item.stash[_typed_id] = typed = file + colons + inside
    return typed


_redactors: pytest.StashKey[dict[Redactor, None]] = pytest.StashKey()
"""In the stash of a test: the redactors for its reports. In that of the configuration: those of shared fixtures."""
_teardown_misses: pytest.StashKey[list[CassetteMiss]] = pytest.StashKey()


def redactors_of(item: pytest.Item) -> Collection[Redactor]:
    """Return the redactors of all that a test has used; none if nothing in it needed a scope."""
    redactors, shared = item.stash.setdefault(_redactors, {}), item.config.stash.setdefault(_redactors, {})
    redactors.update(shared)
    scope = opened_scope(item)
    if scope is not None:
        redactors.update(dict.fromkeys(_redactors_of_scope(scope)))
    return redactors


def remember_redactors(item: pytest.Item, scope: Scope) -> None:
    """Keep the redactors of a passing test whose scope ends, for the report of its teardown.

    If it has used some, no further one is made, because that takes long and most tests write nothing.
    """
    used = dict.fromkeys(session.redactor for session in scope.sessions.opened())
    item.stash.setdefault(_redactors, {}).update(used or dict.fromkeys(_redactors_of_scope(scope)))


def redact_reports_for(config: pytest.Config, scope: Scope) -> None:
    """Redact the secrets of a scope in the report of every test that fails from now on."""
    config.stash.setdefault(_redactors, {}).update(dict.fromkeys(_redactors_of_scope(scope)))


def _redactors_of_scope(scope: Scope) -> Iterator[Redactor]:
    settings = scope.settings
    yield from (session.redactor for session in scope.sessions.opened())
    # Blocks within the scope have their own sessions. This redactor knows the same secrets of the machine as theirs.
    yield known_redactors.redactor_for(session_factory.match_rules_of(settings), settings.keep_headers)


def remember_teardown_miss(config: pytest.Config, miss: CassetteMiss) -> None:
    """Keep a miss of a fixture's teardown until ``take_teardown_misses``."""
    config.stash.setdefault(_teardown_misses, []).append(miss)


def take_teardown_misses(config: pytest.Config) -> list[CassetteMiss]:
    """Return and clear the misses of fixtures that were torn down since the last call."""
    misses = config.stash.get(_teardown_misses, None)
    if not misses:
        return []
    config.stash[_teardown_misses] = []
    return misses


def opened_scope(item: pytest.Item) -> Scope | None:
    """Return the scope of a test if it is open, else None."""
    return item.stash.get(_scope, None)


def has_unanswered(item: pytest.Item) -> bool:
    """Whether a request of the running test was missed or refused."""
    scope, running = opened_scope(item), item.config.stash[RUN].test
    return bool((scope is not None and scope.misses) or (running is not None and running.refusals))


def close_scope(
    item: pytest.Item, scope: Scope, settings: Settings, *, passed: bool, adds_only: bool = False
) -> ScopeReport:
    """Close the scope of a test, storing what it recorded if it passed. Raises what storing raises.

    ``settings`` are those of the scope now. With ``adds_only`` recordings that the cassette lacks are stored even so;
    see ``Scope.close``.
    """
    try:
        if passed and scope.owns_cassette and scope.default_cassette is not None:
            # The session is opened even without a request: a test that makes no requests any more keeps no recordings.
            if settings.transport == "record":
                scope.sessions.session_for(scope.default_cassette, settings.record)
            elif settings.transport == "replay" and settings.unplayed != "ignore":
                scope.sessions.session_for(scope.default_cassette, "replay")
        return scope.close(passed=passed, adds_only=adds_only)
    finally:
        scopes.remove_scope(scope)
        del item.stash[_scope]  # a plugin that runs the test again gets a new scope

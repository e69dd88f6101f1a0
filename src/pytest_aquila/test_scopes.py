"""The scope of a test: opened when something in the test asks for one, closed with the test."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import options, root_folder

if TYPE_CHECKING:
    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.cassettes.storage import names
    from aquila.errors import CassetteMiss
    from aquila.recording import redactors as known_redactors
    from aquila.recording import scope as scopes
    from aquila.recording import session_factory
    from aquila.recording.reports import ScopeReport
    from aquila.recording.scope import Scope
    from pytest_aquila import drift_report, node_ids
else:
    lazy_modules(
        globals(),
        drift_report="pytest_aquila.drift_report",
        known_redactors="aquila.recording.redactors",
        names="aquila.cassettes.storage.names",
        node_ids="pytest_aquila.node_ids",
        scopes="aquila.recording.scope",
        session_factory="aquila.recording.session_factory",
    )

RUN = root_folder.RUN
_scope: pytest.StashKey[Scope] = pytest.StashKey()
_item: pytest.StashKey[pytest.Item] = pytest.StashKey()
_ended: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the scope of a test was closed. Set and read under the lock of the run."""
_marked: pytest.StashKey[tuple[str | None, dict[str, Any]]] = pytest.StashKey()
"""The cassette and the settings that the markers of a test gave its scope."""


@contextlib.contextmanager
def running_test(item: pytest.Item) -> Iterator[None]:
    """Make ``item`` the running test of its run."""
    stash = item.config.stash
    stash[_item] = item
    try:
        with stash[RUN].running_test(item.nodeid, lambda: _scope_until_end(item)):
            yield
    finally:
        del stash[_item]


def running_item(config: pytest.Config) -> pytest.Item | None:
    """The test that runs, or None between tests."""
    return config.stash.get(_item, None)


def _scope_until_end(item: pytest.Item) -> Scope | None:
    """The scope of a test, or None after its teardown: nobody would close what a thread opens then."""
    with item.config.stash[RUN].lock:
        return opened_scope(item) if item.stash.get(_ended, False) else scope_of(item)


def begin_test(item: pytest.Item) -> None:
    """Let a test open its scope. A plugin may run it again after its teardown."""
    item.stash[_ended] = False


def end_test(item: pytest.Item) -> Scope | None:
    """Open no scope for a test any more. Returns the one that is open.

    What was refused so far is forgotten, for a plugin that runs the test again.
    """
    run = item.config.stash[RUN]
    if run.test is not None:
        run.test.refusals.clear()
    with run.lock:
        item.stash[_ended] = True
        return opened_scope(item)


def scope_of(item: pytest.Item, *, with_cassette: bool = False) -> Scope:
    """The scope of a test, opened now if it is not. ``with_cassette`` gives it a cassette of its own if it has none."""
    test = node_ids.id_of(item)
    with item.config.stash[RUN].lock:  # two threads of a test that ask at once get the same
        scope = item.stash.get(_scope, None)
        if scope is None:
            named, settings = options.marker_options(item)
            scope = scopes.Scope(
                kind="test",
                name=test,
                command=f"pytest {shlex.quote(id_to_type(item))} --aquila-record",
                default_cassette=named,
                options=settings,
            )
            item.stash[_scope], item.stash[_marked] = scope, (named, settings)
            watch_drift(scope, item.config)
            with_cassette = (
                with_cassette
                or item.get_closest_marker(options.MARKER) is not None
                # Known before it is set up: other fixtures, and their clients, may come first.
                or uses_cassette_fixture(item)
            )
            if with_cassette and named is None:
                scope.use_cassette(names.name_of_test(test), owned=True)
            scopes.open_scope(scope)
        elif with_cassette:
            _follow_markers(item, scope)
            if scope.default_cassette is None:
                scope.use_cassette(names.name_of_test(test), owned=True)
        return scope


def _follow_markers(item: pytest.Item, scope: Scope) -> None:
    """Heed markers that a fixture has added to a test since its scope was opened."""
    named, settings = options.marker_options(item)
    if (named, settings) == item.stash[_marked]:
        return
    item.stash[_marked] = named, settings
    if named is not None:
        scope.use_cassette(named, owned=False)
    scope.override_settings(settings, source=item.nodeid)


def watch_drift(scope: Scope, config: pytest.Config) -> None:
    """Note what drifts in a scope, in a run that looks for drift."""
    if options.wants_drift(config):
        drift_report.watch_scope(scope)


def wants_cassette(item: pytest.Item) -> bool:
    """Whether a test says, by a marker or by the fixtures that it uses, that it has a cassette or settings."""
    return (
        item.get_closest_marker(options.MARKER) is not None
        or item.get_closest_marker(options.LIVE) is not None
        or uses_cassette_fixture(item)
    )


def uses_cassette_fixture(item: pytest.Item) -> bool:
    """Whether a test uses ``aquila_cassette``, itself or through another fixture."""
    return "aquila_cassette" in getattr(item, "fixturenames", ())


def cache_setup_failure(fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: BaseException) -> None:
    """Make the setup of a shared fixture fail for each test that uses it, as its own exceptions do.

    An exception that is raised around pytest's own setup leaves the fixture neither set up nor failed: pytest then
    fails an assertion in the next test that uses it.
    """
    known = fixture.cached_result
    if isinstance(error, (Exception, pytest.fail.Exception, pytest.skip.Exception)) and (known is None or not known[2]):
        fixture.cached_result = None, fixture.cache_key(request), (error, error.__traceback__)  # type: ignore[arg-type]


def id_to_type(item: pytest.Item) -> str:
    """The id of a test as it is typed where pytest was started, which need not be the root folder."""
    here, root = item.config.invocation_params.dir, root_folder.root_of(item.config)
    file, colons, inside = node_ids.id_of(item).partition("::")
    with contextlib.suppress(ValueError):  # another drive
        file = file if here == root else os.path.relpath(root / file, here)
    return file + colons + inside


_redactors: pytest.StashKey[dict[Redactor, None]] = pytest.StashKey()
"""Of a test: what its reports are redacted with. Of the configuration: the same for what tests share."""
_teardown_misses: pytest.StashKey[list[CassetteMiss]] = pytest.StashKey()


def remembered_redactors(item: pytest.Item) -> Collection[Redactor]:
    """What ``redactors_of`` gave last: there are none unless the test has failed."""
    return item.stash.get(_redactors, {})


def redactors_of(item: pytest.Item) -> Collection[Redactor]:
    """The redactors of all that a failed test has used. There are none if nothing in it asked for a scope."""
    redactors, shared = item.stash.setdefault(_redactors, {}), item.config.stash.setdefault(_redactors, {})
    redactors.update(shared)
    scope = opened_scope(item)
    if scope is not None:
        redactors.update(dict.fromkeys(_redactors_of_scope(scope)))
    return redactors


def redact_reports_for(config: pytest.Config, scope: Scope) -> None:
    """Keep the secrets of a scope out of the report of every test that fails from now on."""
    config.stash.setdefault(_redactors, {}).update(dict.fromkeys(_redactors_of_scope(scope)))


def _redactors_of_scope(scope: Scope) -> Iterator[Redactor]:
    settings = scope.settings
    yield from (session.redactor for session in scope.sessions.opened())
    # A block within the scope has sessions of its own; what they know of the machine, this one knows.
    yield known_redactors.redactor_for(session_factory.match_rules_of(settings), settings.keep_headers)


def remember_teardown_miss(config: pytest.Config, miss: CassetteMiss) -> None:
    """Remember a miss of a fixture that is being torn down, until ``take_teardown_misses``."""
    config.stash.setdefault(_teardown_misses, []).append(miss)


def take_teardown_misses(config: pytest.Config) -> list[CassetteMiss]:
    """The misses of fixtures that were torn down since the last call."""
    misses = config.stash.get(_teardown_misses, [])
    config.stash[_teardown_misses] = []
    return misses


def opened_scope(item: pytest.Item) -> Scope | None:
    """The scope of a test if anything has asked for it."""
    return item.stash.get(_scope, None)


def has_unanswered(item: pytest.Item) -> bool:
    """Whether the running test asked something in vain: a request was missed or refused."""
    scope, running = opened_scope(item), item.config.stash[RUN].test
    return bool((scope is not None and scope.misses) or (running is not None and running.refusals))


def close_scope(item: pytest.Item, *, passed: bool, adds_only: bool = False) -> ScopeReport | None:
    """Close the scope of a test, storing what it recorded if it passed. Raises what storing raises.

    With ``adds_only`` what the cassette does not have is stored anyway; see ``Scope.close``.
    """
    scope = item.stash.get(_scope, None)
    if scope is None:
        return None
    settings = scope.settings
    try:
        if passed and scope.owns_cassette and scope.default_cassette is not None:
            # Opened even if nothing asked for it: a test that makes no request any more has no recordings to keep.
            if settings.transport == "record":
                scope.sessions.session_for(scope.default_cassette, settings.record)
            elif settings.transport == "replay" and settings.unplayed != "ignore":
                scope.sessions.session_for(scope.default_cassette, "replay")
        return scope.close(passed=passed, adds_only=adds_only)
    finally:
        scopes.remove_scope(scope)
        del item.stash[_scope]  # a test that is run again starts anew

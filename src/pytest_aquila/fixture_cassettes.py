"""The cassettes of fixtures that several tests share, and of fixtures in tests that have no cassette.

Otherwise the order of the tests would decide in which test's cassette the requests of such a fixture are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila import errors
from aquila.cassettes.storage import names
from aquila.config import find_cassette_root
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.shell_words import join_words
from pytest_aquila import marker_options, node_ids, options, test_scopes

if TYPE_CHECKING:
    from aquila.errors import LiveCallRefused
    from aquila.recording import miss_outcomes
    from aquila.recording import scope as scopes
    from aquila.recording.runtime import Run
    from aquila.recording.scope import Scope
    from pytest_aquila import outcomes, report_redaction, scope_ends, suggested_commands
    from pytest_aquila.recording_runs import second_attempts
else:
    lazy_modules(
        globals(),
        "aquila.recording: miss_outcomes, scope as scopes",
        "pytest_aquila: outcomes, report_redaction, scope_ends, suggested_commands",
        "pytest_aquila.recording_runs: second_attempts",
    )


_MOST_TESTS = 10
"""The greatest number of tests that a command names; it names the files of more tests."""


def _cache_setup_failure(fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, error: BaseException) -> None:
    """Make the setup of a shared fixture fail for each test that uses it, as its own exceptions do.

    An exception from a hook around pytest's own setup leaves the fixture neither set up nor failed, and in the next
    test that uses it an assertion of pytest fails.
    """
    known = fixture.cached_result
    is_known = known is not None and known[2] is not None and known[2][0] is error
    if isinstance(error, (Exception, pytest.fail.Exception, pytest.skip.Exception)) and not is_known:
        fixture.cached_result = None, fixture.cache_key(request), (error, error.__traceback__)  # type: ignore[arg-type]


def set_up(
    fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Item
) -> Generator[None, object, object]:
    """Answer the requests of a fixture from its own cassette. The ``yield`` sets it up; a finalizer ends its teardown.

    ``item`` is the test that sets it up. Raises what the fixture raises, but a group of outcomes in its ordinary form.
    """
    __tracebackhide__ = True
    cassette = FixtureCassette(fixture, request, item)
    request.addfinalizer(cassette.end_teardown)  # finalizers run in reverse order, so this one runs last
    try:
        with cassette.answer_setup():
            result = yield
    except BaseException as error:
        failure = miss_outcomes.ordinary_form(error) if isinstance(error, BaseExceptionGroup) else error
        _cache_setup_failure(fixture, request, failure)
        if failure is error:
            raise
        failed = item.config.stash.get(test_scopes.FAILED_FIXTURES, {})
        if cassette in failed:
            failed[cassette] = failure, failed[cassette][1]
    else:
        request.addfinalizer(cassette.begin_teardown)
        return result
    raise failure  # pytest does not note that a fixture failed with a group of outcomes, and sets it up again


class FixtureCassette:
    """Answers the requests of one fixture during setup and teardown.

    Its scope opens with its first request, or at once if its child processes may need it.

    ``item`` is the test that sets it up. Between setup and teardown the scope is suspended; the teardown continues its
    counts.
    """

    def __init__(self, fixture: pytest.FixtureDef[Any], request: pytest.FixtureRequest, item: pytest.Item) -> None:
        self._fixture = fixture
        self._request = request
        self._item = item
        self._run: Run = item.config.stash[test_scopes.RUN]
        self._scope: Scope | None = None
        self._may_open = False  # set and read under the lock of the run
        self._mark = runtime.Asker(fixture.argname, is_test=False)
        # Holds the context of `_answer` from `begin_teardown` to `end_teardown`, and is empty otherwise.
        self._tearing_down = contextlib.ExitStack()

    @contextlib.contextmanager
    def answer_setup(self) -> Iterator[None]:
        """Answer the requests within the block.

        A miss that the fixture's code swallows fails the setup, and so does a cassette that cannot be read.
        """
        try:
            try:
                with self._remembering_variables(), self._answer():
                    yield
            except pytest.skip.Exception:
                self._fail_for_swallowed()  # it may have led to the skip
                raise
            self._fail_for_swallowed()
            scope = self._scope
            if scope is not None:
                scope_ends.check_plays(scope)
        except BaseException as error:
            self._close_after(error)
            raise
        # A scope that opens only at the teardown is in a run that records nothing, where nothing runs again.
        if scope is not None and self._fixture.scope != "function":
            scope.share()

    @contextlib.contextmanager
    def _remembering_variables(self) -> Iterator[None]:
        """Note the variables that the block sets, for all tests that use the fixture."""
        variables = runtime.set_variables()
        before = variables.count
        try:
            yield
        finally:
            if self._fixture.scope != "function":
                self._run.shared_variables.update(dict.fromkeys(variables.since(before)))

    def begin_teardown(self) -> None:
        """Answer the requests until ``end_teardown``."""
        if self._scope is None and not test_scopes.has_own_cassette(self._fixture, self._item):
            return  # it is a fixture that gave its test a cassette
        self._tearing_down.enter_context(self._answer())

    def end_teardown(self) -> None:
        """Store the recordings. After a failed setup there are none. Raises what storing raises."""
        self._tearing_down.close()
        self._item.config.stash.get(test_scopes.FAILED_FIXTURES, {}).pop(self, None)
        if self._scope is not None:
            if self._scope.has_listeners:
                self._run.scopes.announce_end(self._scope)  # what is being answered ends first: it may be a miss
            for miss in self._scope.misses.hear(is_last=True).untaken:
                test_scopes.remember_teardown_miss(self._item.config, miss)
            self._close(passed=not self._scope.misses.hear())

    def _close_after(self, error: BaseException) -> None:
        """Close the scope of a setup that ended with ``error``, unless the whole run ends with it."""
        if self._scope is None:
            return
        if scope_ends.ends_run(self._item, error):
            scope_ends.note_interruption(self._item, self._scope)
            # Kept until the end of the run, whose last lines say what the journals of unclosed scopes hold.
            self._item.stash.setdefault(test_scopes.INTERRUPTED, []).append(self._scope)
            self._scope = None
            return
        misses, unusable = self._scope.misses.hear(), self._unusable_in(self._scope)
        if misses or unusable:
            failed = self._item.config.stash.setdefault(test_scopes.FAILED_FIXTURES, {})
            failed[self] = error, (*misses, *unusable)  # perhaps a server did not start because of one
        second_attempts.plan_second_attempt(self._item, misses)  # a fixture that failed is set up again
        report_redaction.redact_reports_for(self._item.config, self._scope)  # of every test that uses the fixture
        as_meant = isinstance(error, (pytest.skip.Exception, pytest.xfail.Exception)) and not misses
        try:
            self._close(passed=False, adds_only=as_meant)
        except (errors.AquilaError, OSError) as failure:
            error.add_note(f"and its recording could not be kept: {failure}")

    def _fail_for_swallowed(self) -> None:
        if (scope := self._scope) is not None and (swallowed := [*scope.misses.hear(), *self._unusable_in(scope)]):
            raise outcomes.make_outcome(swallowed[0], with_traceback=False)

    def _unusable_in(self, scope: Scope) -> Sequence[LiveCallRefused]:
        """Return what a cassette that cannot be read has noted for the running test, unless that was forgotten."""
        noted, test = scope.sessions.unusable, self._run.test
        return [each for each in noted if each in test.refusals] if noted and test is not None else ()

    def _close(self, *, passed: bool, adds_only: bool = False) -> None:
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.run.scopes.remove(scope)
            report = scope.close(passed=passed, adds_only=adds_only)
            scope_ends.add_report(self._item, report, scope.settings)

    @contextlib.contextmanager
    def _answer(self) -> Iterator[None]:
        """Suspend the scopes of the test and of other fixtures, and answer instead of them.

        An open block of ``use_cassette`` goes on answering, because the code asks for that.
        """
        around = self._run.scopes.surrounding()
        test = self._run.test
        mark = test.mark if test is not None and self._fixture.scope == "function" else self._mark
        if any(scope.kind not in ("test", "fixture") for scope in around):
            with self._run.running_test(self._run.test_name, test.open_scope if test is not None else None, mark):
                yield
            return
        running = self._run.running_test(self._run.test_name, self._open_scope, mark)
        with running, self._opening(), contextlib.ExitStack() as aside:
            if around or self._scope is not None or self._may_be_used_by_children():
                # This scope opens before the others are suspended and is suspended after they resume. So some scope is
                # always open, and the dummy keys in the environment do not change in between.
                if self._scope is not None:
                    self._scope.run.scopes.resume(self._scope)
                else:
                    self._open_scope()  # a client that is made here needs the keys that the test's scope has put there
                for scope in around:
                    scope.run.scopes.suspend(scope)
                    aside.callback(scope.run.scopes.resume, scope)
            yield

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        """Allow the scope to open within the block, and suspend it after that."""
        self._may_open = True
        try:
            yield
        finally:
            with self._run.lock:  # a thread may be about to open the scope, and nothing would suspend or close it later
                self._may_open = False
                if self._scope is not None:
                    self._scope.run.scopes.suspend(self._scope)

    def _may_be_used_by_children(self) -> bool:
        """Whether child processes that the fixture starts may use its cassette: the run records, or the file exists.

        A child process cannot open the scope of its parent. It is not opened in every run, because an open scope hides
        variables such as ``AWS_ACCESS_KEY_ID`` from fixtures that start programs and send nothing to a model.
        """
        if self._fixture.scope == "function":
            return False
        try:
            given, settings = self._options(), self._run.layers.at_start()
            root = find_cassette_root(settings.root, str(given.get("cassette_dir", settings.cassette_dir)))
            files = names.candidate_paths(root, self._name_cassette())
        # The first request raises them. A fixture that sends none needs neither settings nor a cassette.
        except (errors.ConfigError, errors.CassetteNameError):
            return False
        transport: object = given.get("transport", settings.transport)
        if transport != "replay":
            return transport == "record"
        # Not by methods of `Path`, which raise if the folder cannot be read.
        return os.path.isdir(root) and any(map(os.path.exists, files))

    def _name_cassette(self) -> str:
        return node_ids.fixture_cassette(self._fixture, self._request, self._item)

    def _options(self) -> dict[str, Any]:
        """Return the options that markers set for the scope."""
        _, settings = marker_options.options_of(self._request.node)
        settings.pop("faults", None)  # faults of a marker are meant for the test only
        if self._item.get_closest_marker(options.LIVE) is not None:
            settings["transport"] = "live"
        return settings

    def _open_scope(self) -> Scope | None:
        """Return the scope of the fixture, and open it if needed.

        None if it is too late for that, or in a forked child: the test would never learn what misses in a scope there.
        """
        with self._run.lock:  # two threads with a first request at the same time get one scope
            if self._scope is None and self._may_open and self._run.is_here:
                item, node = self._item, self._request.node
                scope = scopes.Scope(
                    kind="fixture",
                    name=f"{self._fixture.argname} of {node_ids.id_of(node) or 'the run'}",
                    command=suggested_commands.record_command(item, node_ids.id_to_type(item)),
                    default_cassette=self._name_cassette(),
                    # Another test that sets the fixture up may send other requests, so nothing is removed as unused.
                    owns_cassette=False,
                    # Requests that are not to models go in only if its module or class has the marker, which does not
                    # depend on the test.
                    models_only=node.get_closest_marker(options.MARKER) is None,
                    options=self._options(),
                    command_for_all=self._record_all_command,
                )
                of_test = test_scopes.opened_scope(item)
                if of_test is not None and self._fixture.scope == "function":
                    scope.scripts.lend(of_test.scripts.lent)
                scopes.open_scope(scope)
                self._scope = scope
            return self._scope

    def _record_all_command(self) -> str:
        """Return the command that records the fixture again, and the tests that use it: their requests depend on it."""
        name = self._fixture.argname
        users = [
            item
            for item in self._item.session.items
            if self._fixture in second_attempts.fixtures_of(item).get(name, ())
        ]
        tests = list(dict.fromkeys(map(node_ids.id_to_type, users or [self._item])))
        if len(tests) > _MOST_TESTS:
            tests = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        return suggested_commands.complete_command(self._item.config, f"pytest {join_words(tests)} --aquila-record=all")

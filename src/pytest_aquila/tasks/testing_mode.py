"""Testing mode of a whole run: if the project names its Hueys under test, nothing reaches a real queue.

The project names them in the ini key ``aquila_huey``, or overrides the fixture of that name. Each Huey of the key has a
queue in memory from its first use (an import, or a fixture that tests share) to the end of the run, and within it each
test has its own queue. The fixture can be read only in a test, so before that nothing can be enqueued. A job for
another Huey is refused, like a request to the network.

This module is registered as a plugin if the mode is on.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila import errors, setting_lines
from aquila.huey import testing
from aquila.huey.testing import attribute_patches, real_queues
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from pytest_aquila import fixture_names, node_ids, run_life, test_scopes
from pytest_aquila.options import read_key
from pytest_aquila.tasks import named_hueys

if TYPE_CHECKING:
    from aquila.huey import instrumenting
    from aquila.huey.testing import queue_under_test
else:
    lazy_modules(globals(), "aquila.huey: instrumenting", "aquila.huey.testing: queue_under_test")


class SharedQueues:
    """The queues in memory of the Hueys in the ini key, for the whole run, each from its first use on.

    The config of the run owns this object, and closes it last.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._paths = named_hueys.paths_of_hueys(config)
        self._queues = contextlib.ExitStack()
        self._hueys: dict[str, Any] = {}  # The Hueys in testing mode, by their paths.
        self._has_ended = False

    def open_all(self) -> list[Any]:
        """Open the queues of all Hueys, which are imported if they are not yet. Return the Hueys, in their order."""
        for path in self._paths:
            if path not in self._hueys:
                self._open(path, named_hueys.load_huey(path))
        hueys = [self._hueys[path] for path in self._paths]
        # Fixtures and functions use the innermost queue, so that of the first Huey becomes it, whichever was used
        # first.
        if hueys:
            queue_under_test.make_innermost(hueys[0])
        return hueys

    def open_loaded(self) -> None:
        """Open the queues of the Hueys that are already imported."""
        for path in self._paths:
            if path not in self._hueys and (huey := named_hueys.find_loaded_huey(path)) is not None:
                self._open(path, huey)

    def advise(self) -> str:
        """Put the Hueys under test that the ini key names. Return advice for the message of a refused job."""
        if self._has_ended:
            return (
                "The tests are over, and their queues are closed. Something that a test has left running enqueues it."
            )
        self.open_loaded()
        for path in self._paths:
            if path in self._hueys:
                continue
            if sys.modules.get(path.partition(":")[0]) is not None:
                return (
                    f"The ini key aquila_huey names {path}, which is still being imported. If it is the same Huey,\n"
                    "name it where it is made, or enqueue the job after the import."
                )
            self._open(path, named_hueys.load_huey(path))
        file = runtime.current_run().layers.settings_file
        if self._paths:
            setting = setting_lines.setting_line("huey", " ".join([*self._paths, "module:attribute"]), file)
            return f"To put it under test, name it too in {setting_lines.place_of_settings(file)}: {setting}"
        return (
            "The fixture aquila_huey says which Hueys are under test, and only tests can ask it. In a test, let it\n"
            "return a list with this one, too: [app.huey, mail.huey]. To have it under test in the whole run,\n"
            f"name it (module:attribute), as {setting_lines.placed_setting('huey', 'myapp.tasks:huey', file)}."
        )

    def close(self) -> None:
        """Give all Hueys back their real queues."""
        self._has_ended = True
        self._queues.close()

    def _open(self, path: str, huey: Any) -> None:
        instrumenting.reject_other_than_huey(huey)
        self._hueys[path] = huey
        if queue_under_test.innermost_test_queue(huey) is None:
            self._queues.enter_context(_open_queue(huey))


_shared: pytest.StashKey[SharedQueues] = pytest.StashKey()


def begin_testing_mode(config: pytest.Config) -> None:
    """Begin testing mode, which lasts until the end of the run."""
    shared = config.stash[_shared] = SharedQueues(config)
    config.add_cleanup(shared.close)
    real_queues.guard_real_queues(config, shared.advise)
    config.add_cleanup(functools.partial(_end, config))


def _end(config: pytest.Config) -> None:
    """End testing mode as the run ends. It lasts as long as the guard of the network does; see ``run_life``."""
    if not runtime.is_outermost(runtime.current_run()):
        real_queues.withdraw_queue_patches(config)
    elif not run_life.ends_with_pytest():
        # A program has called pytest. Its jobs are let through, because it leaves the run; those of threads that the
        # run has left, and of what tests have registered with `atexit`, belong to the run and are refused.
        real_queues.restore_child_processes(config)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Tell workers nothing: each decides itself about jobs, from the same moment on as a run without workers."""
    real_queues.restore_child_processes(config)


def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """Open the queues of the Hueys that the modules collected so far have imported."""
    collector.config.stash[_shared].open_loaded()


@pytest.hookimpl  # Neither first nor last: after pytest's skips, so that a skipped test loads no Huey, before fixtures.
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the queues that tests share, unless they are open. They stay open for fixtures that end late."""
    item.config.stash[_shared].open_all()


@pytest.fixture(autouse=True)
def aquila_testing_mode(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give each Huey under test a queue in memory for this test, whether it uses a fixture for tasks or not."""
    __tracebackhide__ = True
    hueys = request.config.stash[_shared].open_all()
    if fixture_names.is_huey_overridden(request.node) and _can_ask_for_huey(request.node):
        given = named_hueys.hueys_of_fixture(request.getfixturevalue("aquila_huey"), request)
        hueys = [*given, *(huey for huey in hueys if not any(huey is each for each in given))]
    with contextlib.ExitStack() as queues:
        # Fixtures and functions use the innermost queue, so that of the first Huey is opened last.
        for huey in reversed(hueys):
            queues.enter_context(_open_queue(huey))
        request.node.stash[named_hueys.WITH_QUEUE] = hueys
        queues.callback(request.node.stash.__delitem__, named_hueys.WITH_QUEUE)
        with reporting_leftover(request, hueys):
            yield


@pytest.fixture(autouse=True)
def aquila_tasks_from_the_beginning(request: pytest.FixtureRequest, aquila_testing_mode: None) -> None:
    """Open the queue of a test before its other fixtures, also if it is outside of memory.

    Otherwise what these enqueue would be in another queue than the one that the test sees, or be executed at once in
    immediate mode. And programs that they start would be told of no queue into which they may put jobs.
    """
    __tracebackhide__ = True
    if "aquila_tasks" in request.fixturenames:
        request.getfixturevalue("aquila_tasks")


def _can_ask_for_huey(item: pytest.Item) -> bool:
    """Whether a test can use the fixture ``aquila_huey``. Not if the fixture has parameters and the test none."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    names = ["aquila_huey"]
    for name in names:  # The list grows in the loop, because fixtures that a fixture uses may have parameters too.
        found = item.session._fixturemanager.getfixturedefs(name, item)
        if found:
            if found[-1].params is not None and name not in given:
                return False
            names += [used for used in found[-1].argnames if used not in names]
    return True


@contextlib.contextmanager
def _open_queue(huey: Any) -> Iterator[None]:
    is_immediate = huey.immediate
    # A test queue turns immediate mode off. Only a test may ask for that, so the mode is kept here.
    replaced = attribute_patches.replace_attributes(huey, _immediate=is_immediate)
    with queue_under_test.use_test_queue(huey), replaced:
        yield


@contextlib.contextmanager
def reporting_leftover(request: pytest.FixtureRequest, hueys: Sequence[Any]) -> Iterator[None]:
    """Report at the end of the block the tasks in the queues of Hueys, if the test has passed.

    Another one may leave tasks behind because it failed, or was skipped, before it could execute them.
    """
    yield
    test = request.config.stash[test_scopes.RUN].test
    if test is not None and not test.mark.outcome:
        _report_leftover(read_key(request.config, "aquila_huey_leftover") or "ignore", request.node, hueys)


def _report_leftover(report: str, item: pytest.Item, hueys: Sequence[Any]) -> None:
    if report not in ("ignore", "warn", "fail"):
        raise errors.ConfigError(f"the ini key aquila_huey_leftover is ignore, warn or fail, not {report!r}")
    if report == "ignore" or not (left := [task for huey in hueys for task in testing.all_enqueued(huey=huey)]):
        return
    tasks = "\n".join(f"  {task!r}" for task in left)
    message = (
        f"{node_ids.id_of(item)} leaves tasks behind (drain_queue executes them, assert_enqueued checks them):\n{tasks}"
    )
    if report == "fail":
        pytest.fail(message, pytrace=False)
    warnings.warn(pytest.PytestWarning(message), stacklevel=2)

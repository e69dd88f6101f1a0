"""Fixtures for Huey tasks. Nothing of Huey is imported before one of them is used.

``short_names`` has the names without the prefix, for projects that have a Huey under test.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest

from aquila.huey import testing
from aquila.huey.testing import attribute_patches
from aquila.lazy_imports import lazy_modules
from pytest_aquila.options import read_key
from pytest_aquila.tasks import named_hueys, testing_mode

if TYPE_CHECKING:
    from aquila import testing as public
    from aquila.huey import AquilaHuey
    from aquila.huey.testing import periodic, queue_under_test
else:
    lazy_modules(globals(), "aquila.huey.testing: periodic, queue_under_test")

__all__ = [
    "aquila_all_enqueued",
    "aquila_assert_dead_letter",
    "aquila_assert_enqueued",
    "aquila_assert_unique",
    "aquila_build_task",
    "aquila_drain_queue",
    "aquila_huey",
    "aquila_huey_storage",
    "aquila_perform_job",
    "aquila_refute_dead_letter",
    "aquila_refute_enqueued",
    "aquila_run_consumer",
    "aquila_run_periodic",
    "aquila_tasks",
    "aquila_use_test_queue",
]


@pytest.fixture
def aquila_huey(pytestconfig: pytest.Config) -> Any:
    """The Huey under test: the first of the ini key ``aquila_huey``. Override this fixture to give another, or several.

    It may give a Huey, a path (``module:attribute``), or a list of these.
    """
    return named_hueys.load_huey(next(iter(named_hueys.paths_of_hueys(pytestconfig)), ""))


@pytest.fixture
def aquila_huey_storage(pytestconfig: pytest.Config) -> Any:
    """Where tasks go in a test: the ini key ``aquila_huey_storage``. Override it to give ``own`` or a storage."""
    return read_key(pytestconfig, "aquila_huey_storage") or "memory"


@pytest.fixture
def aquila_tasks(request: pytest.FixtureRequest, aquila_huey: Any, aquila_huey_storage: Any) -> Iterator[AquilaHuey]:
    """The first Huey under test, with the queue of this test, which the other fixtures here use too.

    The queue holds nothing but what fixtures of the test have enqueued before.
    """
    first = named_hueys.hueys_of_fixture(aquila_huey, request)[0]
    with _open_queue(request, first, aquila_huey_storage):
        yield first


@contextlib.contextmanager
def _open_queue(request: pytest.FixtureRequest, huey: Any, storage: Any) -> Iterator[None]:
    """Open a queue for a test, or use the one in memory that testing mode has opened: fixtures may have filled it."""
    if storage == "memory" and any(huey is each for each in request.node.stash.get(named_hueys.WITH_QUEUE, ())):
        queue_under_test.make_innermost(huey)
        with attribute_patches.replace_attributes(huey, _immediate=False):
            yield
    else:
        with testing.use_test_queue(huey, storage=storage), testing_mode.reporting_leftover(request, [huey]):
            yield


@pytest.fixture
def aquila_perform_job(aquila_tasks: AquilaHuey, request: pytest.FixtureRequest) -> public.PerformJob:
    """``aquila.huey.testing.perform_job``: execute one task as a worker would. A failing test shows its runs."""
    perform_job = testing.perform_job

    def perform_and_report(task: Any, /, *args: Any, **keywords: Any) -> public.TaskRun[Any]:
        __tracebackhide__ = True
        run: public.TaskRun[Any] = perform_job(task, *args, **keywords)
        request.node.add_report_section("call", "task run", repr(run))
        return run

    return cast("public.PerformJob", perform_and_report)


@pytest.fixture
def aquila_build_task(aquila_tasks: AquilaHuey) -> public.BuildTask:
    """``aquila.huey.testing.build_task``: make a task without enqueuing it."""
    return testing.build_task


@pytest.fixture
def aquila_all_enqueued(aquila_tasks: AquilaHuey) -> public.AllEnqueued:
    """``aquila.huey.testing.all_enqueued``: the tasks in the queue and the schedule that match."""
    return testing.all_enqueued


@pytest.fixture
def aquila_assert_enqueued(aquila_tasks: AquilaHuey) -> public.AssertEnqueued:
    """``aquila.huey.testing.assert_enqueued``: check that a matching task is enqueued."""
    return testing.assert_enqueued


@pytest.fixture
def aquila_assert_unique(aquila_tasks: AquilaHuey) -> public.AssertUnique:
    """``aquila.huey.testing.assert_unique``: check that a matching task is enqueued, and none twice."""
    return testing.assert_unique


@pytest.fixture
def aquila_refute_enqueued(aquila_tasks: AquilaHuey) -> public.RefuteEnqueued:
    """``aquila.huey.testing.refute_enqueued``: check that no matching task is enqueued."""
    return testing.refute_enqueued


@pytest.fixture
def aquila_assert_dead_letter(aquila_tasks: AquilaHuey) -> public.AssertDeadLetter:
    """``aquila.huey.testing.assert_dead_letter``: check that a task failed for good, or a message was unreadable."""
    return testing.assert_dead_letter


@pytest.fixture
def aquila_refute_dead_letter(aquila_tasks: AquilaHuey) -> public.RefuteDeadLetter:
    """``aquila.huey.testing.refute_dead_letter``: check that no dead letter matches."""
    return testing.refute_dead_letter


@pytest.fixture
def aquila_drain_queue(aquila_tasks: AquilaHuey, request: pytest.FixtureRequest) -> public.DrainQueue:
    """``aquila.huey.testing.drain_queue``: execute what is enqueued, in this process. A failing test shows the runs."""
    drain_queue = testing.drain_queue

    def drain_and_report(**options: Any) -> public.Drained:
        __tracebackhide__ = True
        drained: public.Drained = drain_queue(**_of_huey(aquila_tasks, options))
        for run in drained.runs:
            request.node.add_report_section("call", "task run", repr(run))
        return drained

    return cast("public.DrainQueue", drain_and_report)


@pytest.fixture
def aquila_run_periodic(aquila_tasks: AquilaHuey, request: pytest.FixtureRequest) -> Iterator[public.RunPeriodic]:
    """``aquila.huey.testing.run_periodic``: execute due periodic tasks. A failing test shows when others are due."""
    run_periodic, failures = testing.run_periodic, request.session.testsfailed
    without_runs = deque[Callable[[], str]](maxlen=3)  # A test may try each minute of a day.

    def run_of_huey(*args: Any, **options: Any) -> list[public.TaskRun[Any]]:
        __tracebackhide__ = True
        options = _of_huey(aquila_tasks, options)
        runs: list[public.TaskRun[Any]] = run_periodic(*args, **options)
        if not runs:
            without_runs.append(periodic.note_nothing_due(*args, **options))
        return runs

    yield cast("public.RunPeriodic", run_of_huey)
    if request.session.testsfailed > failures:  # Not before, because it takes a while.
        for describe_next_due in without_runs:
            request.node.add_report_section("teardown", "run_periodic", describe_next_due())


def _of_huey(huey: AquilaHuey, options: dict[str, Any]) -> dict[str, Any]:
    """Return ``options`` with the Huey under test, unless they name a queue or a Huey."""
    return options if "queue" in options else {"huey": huey, **options}


@pytest.fixture
def aquila_use_test_queue(aquila_tasks: AquilaHuey) -> public.UseTestQueue:
    """``aquila.huey.testing.use_test_queue`` of the Huey under test: ``with use_test_queue("inline"):``."""
    use_test_queue = testing.use_test_queue

    def use_queue_of(
        mode: Any = "manual", *, queue: str | None = None, **options: Any
    ) -> contextlib.AbstractContextManager[Any]:
        huey = aquila_tasks if queue is None else queue_under_test.huey_under_test(queue=queue)
        opened: contextlib.AbstractContextManager[Any] = use_test_queue(huey, mode, **options)
        return opened

    return cast("public.UseTestQueue", use_queue_of)


@pytest.fixture
def aquila_run_consumer(aquila_tasks: AquilaHuey, aquila_huey: Any, pytestconfig: pytest.Config) -> public.RunConsumer:
    """``aquila.huey.testing.run_consumer``: a real consumer for the length of a block."""
    run_consumer = testing.run_consumer

    def run_configured(
        *args: Any, subprocess: bool | str = False, **options: Any
    ) -> contextlib.AbstractContextManager[public.RunningConsumer]:
        options = _of_huey(aquila_tasks, options)
        if subprocess is True:
            huey = queue_under_test.huey_under_test(options.get("huey"), options.get("queue"))
            subprocess = named_hueys.path_of(huey, pytestconfig, aquila_huey) or True
        running: contextlib.AbstractContextManager[public.RunningConsumer] = run_consumer(
            *args, subprocess=subprocess, **options
        )
        return running

    return cast("public.RunConsumer", run_configured)

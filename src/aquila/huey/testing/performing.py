"""``build_task`` and ``perform_job``: one task, built and executed under the rules that a worker holds it to."""

from __future__ import annotations

import inspect
from types import TracebackType
from typing import Any, TypeAlias

from huey.api import PeriodicTask, Task, TaskWrapper, chord, group

from aquila.errors import ConfigError, TaskContractBroken
from aquila.huey.cassette_stamp import stamp_of_current_scope
from aquila.huey.testing.queue_under_test import ensure_test_queue, huey_under_test, innermost_test_queue
from aquila.huey.testing.task_run import TaskRun, run_task, task_name
from aquila.huey.testing.wire_comparison import find_difference

Expected: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]

# What `TaskWrapper.s` takes out of the keyword arguments: a parameter of such a name never gets its argument.
HUEY_OPTIONS = ("eta", "delay", "id", "retries", "retry_delay", "retry_backoff", "priority", "expires", "timeout")
_RAISED = ("error", "timeout")


def build_task(task: TaskWrapper, /, *args: Any, attempt: int | None = None, **kwargs: Any) -> Task:
    """Build a task without enqueuing it, as ``task.s(*args, **kwargs)`` does, but strictly.

    ``attempt`` makes it the n-th attempt of that task, from 1: with as many retries left and the delay grown as much
    as on its way there. Keyword arguments that Huey takes for itself (``eta``, ``delay``, ``id``, ``retries``,
    ``retry_delay``, ``retry_backoff``, ``priority``, ``expires``, ``timeout``) are options of the task, as in ``.s()``.

    Raises ``TaskContractBroken`` when the arguments do not fit the function, or one has a name that Huey takes;
    ``ConfigError`` when ``task`` is no task or never has such an attempt.
    """
    if not isinstance(task, TaskWrapper):
        raise ConfigError(f"build_task wants a function decorated with @huey.task(), not {task!r}")
    name = task_name(task.task_class)
    parameters = _parameter_names(task)
    for option in HUEY_OPTIONS:
        if option in kwargs and option in parameters:
            raise TaskContractBroken(
                f"{name} has a parameter {option!r}, and Huey takes the keyword argument {option}= for itself: the "
                "function would never get it. Rename the parameter, or pass it by position"
            )
    built = task.s(*args, **kwargs)
    if attempt is not None:
        if not 1 <= attempt <= built.retries + 1:
            raise ConfigError(
                f"{name} has {built.retries} retries, so attempt {attempt} never happens: "
                "give it more retries=, or a lower attempt="
            )
        for _ in range(attempt - 1):
            built.retries -= 1
            if built.retry_delay and built.retry_backoff:
                built.retry_delay *= built.retry_backoff
        built._aquila_attempt = attempt
    _check_signature(built)
    built._aquila_huey = task.huey  # So that it can be performed on its own.
    return built


def perform_job(
    task: TaskWrapper | Task,
    /,
    *args: Any,
    attempt: int | None = None,
    raises: Expected | None = None,
    **kwargs: Any,
) -> TaskRun:
    """Execute a task once, here and now, as a worker would, and return everything that came of it.

    ``task`` is a decorated function, with its arguments; or a task that is built already (``build_task``,
    ``task.s(...)``, an element of ``all_enqueued()`` or of ``TaskRun.enqueued``), without. ``attempt`` as in
    ``build_task``. Its retry, its pipeline and what it enqueues go into the queue and are not executed.

    The rules: the task is registered; the arguments fit the function and arrive from the wire equal and of the same
    type; the storage takes its priority; it ends in exactly one way, within its ``timeout`` (on the main thread); its
    result can be stored; no hook and no signal receiver raises; it leaves no context variable behind.

    An exception of the task is raised here, unless it is one of ``raises``: then the run is returned, with it in
    ``exception``. What a task raises to steer Huey (RetryTask, CancelExecution, a lock, a rate limit) is always
    returned. Raises ``TaskContractBroken``, an ``AssertionError``, for a broken rule, and when the task does not raise
    what ``raises`` says.
    """
    __tracebackhide__ = True
    huey = task.huey if isinstance(task, TaskWrapper) else huey_under_test(getattr(task, "_aquila_huey", None))
    if isinstance(task, TaskWrapper):
        _reject_own_parameters(task)
        built = build_task(task, *args, attempt=attempt, **kwargs)
    elif isinstance(task, group | chord):
        raise ConfigError(
            f"perform_job executes one task, and a {type(task).__name__} is several: enqueue it, then drain_queue() "
            "executes all, or perform_job(task) each of all_enqueued()"
        )
    elif not isinstance(task, Task):
        raise ConfigError(f"perform_job wants a function decorated with @huey.task() or a task of one, not {task!r}")
    elif args or kwargs or attempt is not None:
        raise ConfigError("perform_job takes a task as it is: give arguments and attempt= to build_task")
    else:
        built = task
    with ensure_test_queue(huey):
        arrived = send_over_wire(huey, built)
        run = run_task(huey, arrived, timestamp=execution_moment(huey, arrived))
    if raises is not None:
        if not isinstance(run.exception, raises):
            raise TaskContractBroken(f"{_name_expected(raises)} should have been raised: {run!r}") from run.exception
    else:
        raise_task_error(run)
    return run


def raise_task_error(run: TaskRun) -> None:
    """Raise the exception of a run, unless it ended without one, or with one that only steers Huey."""
    __tracebackhide__ = True
    if run.exception is not None and run.state in _RAISED:
        run.exception.add_note(f"raised by the task in {run.describe_with()}")
        raise run.exception.with_traceback(_strip_huey_frames(run.exception.__traceback__))


def send_over_wire(huey: Any, task: Task) -> Task:
    """Check a task before it is enqueued, and return it as a worker would get it. Raises ``TaskContractBroken``."""
    for part in list_nested_tasks(task):
        _check_registered(huey, part)
    _check_signature(task)  # What is nested gets results appended that are not known yet.
    _check_priority(huey, task)
    if task.expires:
        task.resolve_expires(huey.utc)
    if isinstance(task, PeriodicTask) and getattr(task, "_aquila_stamp", None) is None:
        task._aquila_stamp = stamp_of_current_scope()  # A scheduler would enqueue it for nobody; here it is the test's.
    name = task_name(task)
    try:
        data = huey.serialize_task(task)
    except Exception as error:
        raise TaskContractBroken(f"{name} cannot be enqueued: {error}") from error
    try:
        arrived: Task = huey.deserialize_task(data)
    except Exception as error:
        raise TaskContractBroken(f"{name} can be enqueued, but no worker can read it: {error}") from error
    for before, after in zip(list_nested_tasks(task), list_nested_tasks(arrived), strict=True):
        for field in ("args", "kwargs"):
            if found := find_difference(getattr(before, field), getattr(after, field), field):
                raise TaskContractBroken(f"the arguments of {task_name(before)} change on the wire: {found}")
    return arrived


def list_nested_tasks(task: Task) -> list[Task]:
    """A task and every task that lies inside it: what follows it, its error handlers, the callback of its chord."""
    found, todo = [], [task]
    while todo:
        part = todo.pop(0)
        found.append(part)
        callback = part.chord_config.callback if part.chord_config is not None else None
        todo.extend(nested for nested in (part.on_complete, part.on_error, callback) if nested is not None)
    return found


def execution_moment(huey: Any, task: Task) -> Any:
    """The moment at which to execute a task: now, or when it is due. A later one would find it expired."""
    now = huey._get_timestamp()
    return max(now, task.eta) if task.eta is not None else now


def _parameter_names(task: TaskWrapper) -> set[str]:
    return set(inspect.signature(task.func).parameters)


def _reject_own_parameters(task: TaskWrapper) -> None:
    for name in {"attempt", "raises"} & _parameter_names(task):
        raise ConfigError(
            f"{task_name(task.task_class)} has a parameter {name!r}, which perform_job takes for itself: "
            "write perform_job(task.s(...))"
        )


def _check_registered(huey: Any, task: Task) -> None:
    if huey._registry._registry.get(task_name(task)) is not type(task):
        raise TaskContractBroken(
            f"{task_name(task)} is not registered on the Huey {huey.name!r}: no worker of it would know the task"
        )


def _check_signature(task: Task) -> None:
    """A wrong call enqueues happily, and fails in the worker."""
    function = function_of(type(task))
    if function is None:
        return
    kwargs = dict(task.kwargs)
    if getattr(task, "context", False):
        if "task" in kwargs:
            raise TaskContractBroken(f"{task_name(task)} has context=True: Huey puts its own `task` over the one given")
        kwargs["task"] = task
    try:
        inspect.signature(function).bind(*task.args, **kwargs)
    except TypeError as error:
        raise TaskContractBroken(
            f"{task_name(task)}{inspect.signature(function)} cannot be called like that: {error}. "
            "It would be enqueued, and fail in the worker"
        ) from None


def function_of(task_class: type[Task]) -> Any:
    """The function that a task class was made from, or None for a class with an ``execute`` of its own."""
    execute = task_class.execute
    cells = dict(zip(execute.__code__.co_freevars, execute.__closure__ or (), strict=True))
    return cells["func"].cell_contents if "func" in cells else None


def _check_priority(huey: Any, task: Task) -> None:
    mode = innermost_test_queue(huey)
    storage = mode.production if mode else huey.storage
    name = storage.__name__ if isinstance(storage, type) else type(storage).__name__
    highest = getattr(storage, "MAX_PRIORITY", None)
    if task.priority and not storage.priority:
        raise TaskContractBroken(
            f"{task_name(task)} has priority {task.priority}, and {name} knows none: enqueuing it would raise "
            "NotImplementedError. Use a priority storage, PriorityRedisHuey for one"
        )
    if highest is not None and not 0 <= int(task.priority or 0) <= highest:
        raise TaskContractBroken(
            f"{task_name(task)} has priority {task.priority}, and {name} takes 0 to {highest}: enqueuing it would raise"
        )


def _name_expected(raises: Expected) -> str:
    kinds = raises if isinstance(raises, tuple) else (raises,)
    return " or ".join(kind.__name__ for kind in kinds)


def _strip_huey_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of Huey and of this package at the top of a traceback: it then begins in the task."""
    shown = traceback
    while shown is not None and shown.tb_frame.f_globals.get("__name__", "").startswith(("huey.", "aquila.huey.")):
        shown = shown.tb_next
    return shown or traceback

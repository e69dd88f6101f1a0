"""``build_task`` and ``perform_job`` build and execute one task, under the rules of a worker."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from huey.api import PeriodicTask, Task, TaskWrapper, chord, group

from aquila.errors import ConfigError, TaskContractBroken
from aquila.huey.tasks.running_task import task_name
from aquila.huey.tasks.task_functions import function_of, signature_of
from aquila.huey.tasks.task_wrapper import HUEY_OPTIONS
from aquila.huey.testing.call_arguments import CallArguments, parameter_names, separate_arguments
from aquila.huey.testing.django_commits import find_task_wrapper
from aquila.huey.testing.fixture_types import BuildTask, ExpectedErrors, PerformJob, declared_as
from aquila.huey.testing.queue_under_test import ensure_test_queue, huey_under_test
from aquila.huey.testing.task_execution import resolve_expiry, run_task
from aquila.huey.testing.task_run import TaskRun
from aquila.huey.testing.wire_comparison import find_argument_difference

_RAISED = ("error", "timeout")
_OPTIONS_OF_BUILD_TASK = (*HUEY_OPTIONS, "attempt")
_OPTIONS_OF_PERFORM_JOB = (*_OPTIONS_OF_BUILD_TASK, "raises")


@declared_as(BuildTask)  # type: ignore[type-abstract]
def build_task(task: TaskWrapper, /, *args: Any, **keywords: Any) -> Task:
    """Build a task without enqueuing it, as ``task.s(*args, **kwargs)`` does, but check its arguments.

    ``args`` and the keyword arguments are those of the task, except for these options:

    - ``attempt``: the number of the attempt, from 1. The task then has as many retries left as at that attempt, and the
      retry delay to which it has grown by then.
    - ``eta``, ``delay``, ``id``, ``retries``, ``retry_delay``, ``retry_backoff``, ``priority``, ``expires``,
      ``timeout``: the options of Huey's ``.s()``.
    - ``args=`` (a sequence) and ``kwargs=`` (a dictionary): all arguments of the task. Use them where a parameter has
      the name of an option. Every other keyword is then an option.

    Raises ``TaskContractBroken`` when the arguments do not fit the function, or when one has a name that Huey takes for
    itself. Raises ``ConfigError`` for a ``task`` that is not a decorated function or never has such an attempt, and for
    a keyword that may be a parameter or an option.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import build_task, perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task(retries=2)
        ... def divide(a, b):
        ...     return a / b
        >>> perform_job(build_task(divide, 6, 0, attempt=3), raises=ZeroDivisionError).retry is None    # the last
        True
    """
    task = find_task_wrapper(task)
    if not isinstance(task, TaskWrapper):
        raise ConfigError(f"build_task needs a function decorated with @huey.task(), not {task!r}")
    return _build(task, _read_call("build_task", task, args, keywords, _OPTIONS_OF_BUILD_TASK))


def _read_call(
    function: str, task: TaskWrapper, args: tuple[Any, ...], keywords: dict[str, Any], options: tuple[str, ...]
) -> CallArguments:
    """Separate the arguments of a task from the ``options`` of the function that was called."""
    if not keywords:
        return CallArguments(args, {}, {})
    _reject_parameters_of_huey(task, keywords)
    return separate_arguments(function, task, args, keywords, options)


def _build(task: TaskWrapper, call: CallArguments) -> Task:
    attempt = call.options.pop("attempt", None)
    built = task.s(**call.options)
    built.args, built.kwargs = call.args, call.kwargs
    if attempt is not None:
        _advance_to_attempt(built, attempt)
    check_signature(built)
    built._aquila_huey = task.huey  # `perform_job` may get the bare task, and finds its Huey by it.
    return built


def _advance_to_attempt(task: Task, attempt: int) -> None:
    if not isinstance(attempt, int) or attempt < 1:
        raise ConfigError(f"attempt= is the number of an attempt, from 1, not {attempt!r}")
    if attempt > task.retries + 1:
        raise ConfigError(
            f"{task_name(task)} has {task.retries} retries, so attempt {attempt} never happens: "
            "give it more retries=, or a lower attempt="
        )
    for _ in range(attempt - 1):
        task.retries -= 1
        if task.retry_delay and task.retry_backoff:
            task.retry_delay *= task.retry_backoff
    task._aquila_attempt = attempt


def _reject_parameters_of_huey(task: TaskWrapper, keywords: dict[str, Any]) -> None:
    """Raise ``TaskContractBroken`` for a call that Huey would misread. One with ``args=`` or ``kwargs=`` is clear."""
    taken = [name for name in HUEY_OPTIONS if name in keywords]
    if not taken or "args" in keywords or "kwargs" in keywords:
        return
    parameters = parameter_names(task)
    for name in taken:
        if name in parameters:
            raise TaskContractBroken(
                f"{task_name(task.task_class)} has a parameter {name!r}, and Huey takes the keyword argument {name}= "
                "for itself: the function would never get it. Rename the parameter, pass it by position, or enqueue "
                f"with schedule(kwargs={{{name!r}: ...}}, delay=0) and write kwargs={{{name!r}: ...}} here"
            )


@declared_as(PerformJob)  # type: ignore[type-abstract]
def perform_job(task: TaskWrapper | Task, /, *args: Any, **keywords: Any) -> TaskRun[Any]:
    """Execute a task once, here and now, as a worker would, and return how it ended.

    ``task`` is a decorated function, followed by its arguments. Or it is a built task without arguments: from
    ``build_task``, ``task.s(...)``, ``all_enqueued()`` or ``TaskRun.enqueued``. Its retry, its pipeline and the tasks
    that it enqueues go into the queue and are not executed. A function of djhuey's ``on_commit_task`` can be given,
    too. Functions that a task registers for its commit are called, also in a test case of Django.

    The options are those of ``build_task``, and ``raises``: the class of an expected exception, or several in a tuple.
    The run is then returned, with the exception in ``exception``.

    The rules: the task is registered; the arguments fit the function and arrive from the wire equal and of the same
    type; the storage takes its priority; it ends in exactly one way, within its ``timeout`` (on the main thread); its
    result can be stored; no hook and no signal receiver raises.

    An exception of the task is raised, unless it is one of ``raises``. The exceptions by which a task tells Huey what
    to do next (a retry, a cancellation, a lock, a rate limit) are never raised. Raises ``TaskContractBroken``, an
    ``AssertionError``, for a broken rule, and when the task does not raise one of ``raises``. Raises ``ConfigError`` as
    ``build_task`` does.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task(retries=2, retry_delay=10)
        ... def divide(a, b):
        ...     return a / b
        >>> perform_job(divide, 6, b=3).value
        2.0
        >>> perform_job(divide, 6, 0, raises=ZeroDivisionError).retry.delay
        10.0
    """
    __tracebackhide__ = True
    if not isinstance(task, TaskWrapper | Task):
        task = find_task_wrapper(task)
    if isinstance(task, TaskWrapper):
        call = _read_call("perform_job", task, args, keywords, _OPTIONS_OF_PERFORM_JOB)
        raises = call.options.pop("raises", None)
        huey, built = task.huey, _build(task, call)
    else:
        raises = keywords.pop("raises", None)
        _check_built(task, args or keywords)
        huey, built = huey_under_test(getattr(task, "_aquila_huey", None)), task
        check_signature(built)
    with ensure_test_queue(huey) as queue:
        run = run_task(huey, send_over_wire(huey, built, queue.production))
    if raises is not None:
        if not isinstance(run.exception, raises):
            raise TaskContractBroken(f"{_name_expected(raises)} should have been raised: {run!r}") from run.exception
    else:
        raise_task_error(run)
    return run


def _check_built(task: Any, arguments: Any) -> None:
    if isinstance(task, group | chord):
        raise ConfigError(
            f"perform_job executes one task, and a {type(task).__name__} is several: enqueue it, then drain_queue() "
            "executes all, or perform_job(task) each of all_enqueued()"
        )
    if not isinstance(task, Task):
        raise ConfigError(f"perform_job needs a function decorated with @huey.task() or a task of one, not {task!r}")
    if arguments:
        raise ConfigError("perform_job takes a built task as it is: give arguments and options to build_task")


def raise_task_error(run: TaskRun[Any]) -> None:
    """Raise the exception of a run, if there is one and it is a failure or a timeout."""
    __tracebackhide__ = True
    if run.exception is not None and run.state in _RAISED:
        run.exception.add_note(f"raised by the task in {run.describe_with()}")
        raise run.exception.with_traceback(_strip_huey_frames(run.exception.__traceback__))


def send_over_wire(huey: Any, task: Task, production: Any) -> Task:
    """Check a task as if it were enqueued, except for its arguments, and return it as a worker would get it.

    ``production`` is the storage that the Huey has outside of tests, or its class. Raises ``TaskContractBroken`` for a
    task that cannot be enqueued, or whose arguments change on the wire.
    """
    nested = list_nested_tasks(task)
    for part in nested:
        _check_registered(huey, part)
    _check_priority(task, production)
    if task.expires:
        resolve_expiry(huey, task)
    arrived = _make_round_trip(huey, task)
    for before, after in zip(nested, list_nested_tasks(arrived), strict=True):
        if found := find_argument_difference(before, after):
            raise TaskContractBroken(f"the arguments of {task_name(before)} change on the wire: {found}")
    return arrived


def _make_round_trip(huey: Any, task: Task) -> Task:
    # A task that was never on the wire executes in the scope of the caller. It needs no reference, and making one would
    # open the scope of the test. So a missing attribute becomes None for the moment of serializing, and is removed from
    # both tasks again. A periodic task, which a scheduler would enqueue for no test, belongs to the caller here, too.
    in_callers_scope = not hasattr(task, "_aquila_scope") or (
        isinstance(task, PeriodicTask) and task._aquila_scope is None
    )
    if in_callers_scope:
        task._aquila_scope = None
    try:
        data = huey.serialize_task(task)
    except Exception as error:
        raise TaskContractBroken(f"{task_name(task)} cannot be enqueued: {error}") from error
    finally:
        if in_callers_scope:
            del task._aquila_scope
    try:
        arrived: Task = huey.deserialize_task(data)
    except Exception as error:
        raise TaskContractBroken(f"{task_name(task)} can be enqueued, but no worker can read it: {error}") from error
    if in_callers_scope:
        del arrived._aquila_scope
    return arrived


def list_nested_tasks(task: Task) -> list[Task]:
    """Return a task and all tasks inside it: those that follow it, its error handlers and the callback of its chord."""
    found, todo = [], [task]
    while todo:
        part = todo.pop(0)
        found.append(part)
        callback = part.chord_config.callback if part.chord_config is not None else None
        todo.extend(nested for nested in (part.on_complete, part.on_error, callback) if nested is not None)
    return found


def _check_registered(huey: Any, task: Task) -> None:
    kind = type(task)
    # The dictionary is private in Huey 3.5. Its public methods raise, or only know the name and not the class.
    if huey._registry._registry.get(f"{kind.__module__}.{kind.__name__}") is not kind:
        raise TaskContractBroken(
            f"{task_name(task)} is not registered on the Huey {huey.name!r}: none of its workers would know the task"
        )


def check_signature(task: Task) -> None:
    """Raise ``TaskContractBroken`` if the arguments do not fit the function: Huey would enqueue the call.

    Nested tasks are not checked, because they get the results of others appended, which are not known yet.
    """
    function = function_of(type(task))
    if function is None:
        return
    kwargs = dict(task.kwargs)
    if getattr(task, "context", False):
        if "task" in kwargs:
            raise TaskContractBroken(f"{task_name(task)} has context=True: Huey replaces the given argument `task`")
        kwargs["task"] = task
    signature = signature_of(function)
    try:
        signature.bind(*task.args, **kwargs)
    except TypeError as error:
        raise TaskContractBroken(
            f"{task_name(task)}{signature} cannot be called like that: {error}. "
            "It would be enqueued, and fail in the worker"
        ) from None


def _check_priority(task: Task, storage: Any) -> None:
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


def _name_expected(raises: ExpectedErrors) -> str:
    kinds = raises if isinstance(raises, tuple) else (raises,)
    return " or ".join(kind.__name__ for kind in kinds)


def _strip_huey_frames(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback that begins in the task, without the frames of Huey and of this package before it."""
    shown = traceback
    while shown is not None and shown.tb_frame.f_globals.get("__name__", "").startswith(("huey.", "aquila.huey.")):
        shown = shown.tb_next
    return shown or traceback

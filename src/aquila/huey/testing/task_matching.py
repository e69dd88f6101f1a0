"""Compares tasks with an expected call, by parameter names and by subsets, and describes the mismatches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aquila.errors import ConfigError
from aquila.huey.limits.unique_jobs import key_of, unique_of
from aquila.huey.tasks.running_task import task_name
from aquila.huey.tasks.task_functions import function_of, parameters_of, signature_of
from aquila.huey.testing.fixture_types import ScheduledIn
from aquila.huey.testing.task_run import call_text, shortened_repr

_TOLERANCE = 1.0  # Seconds: what `scheduled_in=60` allows on either side.


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPattern:
    """What a task must be like. A field that is None is not compared.

    Raises ``ConfigError`` for a keyword argument that the task does not have.
    """

    wrapper: Any = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any]
    scheduled_in: ScheduledIn | None = None
    priority: float | None = None
    where: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        if self.wrapper is None or not self.kwargs:
            return
        parameters = signature_of(self.wrapper.func).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        for name in self.kwargs:
            if name not in parameters:
                raise ConfigError(
                    f"{task_name(self.wrapper.task_class)} has no parameter {name!r}, so no task can match; "
                    f"it has {', '.join(parameters) or 'none'}"
                )

    def find_mismatches(self, task: Any, now: Any) -> list[str]:
        """Return a text for each way in which a task does not match. ``now`` is the present in the time of its Huey."""
        if self.wrapper is not None and type(task) is not self.wrapper.task_class:
            return [f"is another task than {task_name(self.wrapper.task_class)}"]
        found = list(self._argument_mismatches(task))
        if self.scheduled_in is not None:
            found += self._schedule_mismatches(task, now)
        if self.priority is not None and task.priority != self.priority:
            found.append(f"priority: expected {self.priority}, is {task.priority}")
        if not found and self.where is not None and not self.where(task):
            found.append("where= does not hold for it")
        return found

    def _argument_mismatches(self, task: Any) -> Iterator[str]:
        given = named_arguments(task)
        if self.args:  # Those of a `*args` are compared one by one, too.
            given |= _name_positions(type(task), task.args)
        for name, expected in (*_name_positions(type(task), self.args).items(), *self.kwargs.items()):
            if name not in given:
                yield f"{name}: expected {shortened_repr(expected)}, is not given"
            else:
                yield from compare_values(expected, given[name], name)

    def _schedule_mismatches(self, task: Any, now: Any) -> Iterator[str]:
        span = self.scheduled_in
        wanted, tolerance = (_to_seconds(part) for part in (span if isinstance(span, tuple) else (span, _TOLERANCE)))
        ahead = seconds_ahead(task, now)
        if abs(ahead - wanted) > tolerance:
            yield f"scheduled in {ahead:.1f} s, expected in {wanted:g} ± {tolerance:g} s"

    def __str__(self) -> str:
        arguments = [shortened_repr(value) for value in self.args]
        arguments += [f"{name}={shortened_repr(value)}" for name, value in self.kwargs.items()]
        name = task_name(self.wrapper.task_class) if self.wrapper is not None else "any task"
        text = f"{name}({', '.join(arguments)})" if arguments or self.wrapper is not None else name
        if self.scheduled_in is not None:
            text += f" with scheduled_in={self.scheduled_in}"
        if self.priority is not None:
            text += f" with priority={self.priority}"
        return text + (" where= holds" if self.where is not None else "")


def identity_of(task: Any) -> tuple[Any, Any]:
    """Return a value by which identical tasks are equal: the function, and the arguments with their defaults.

    If the task is unique by some of its arguments, only those count.
    """
    unique = unique_of(task)
    return type(task), _all_arguments(task) if unique is None else key_of(task, unique)


def _all_arguments(task: Any) -> Any:
    function = function_of(type(task))
    try:
        bound = signature_of(function).bind(*task.args, **task.kwargs)
    except TypeError:  # No function, or a call that does not fit it.
        return task.args, task.kwargs
    bound.apply_defaults()
    return bound.arguments


def named_arguments(task: Any) -> dict[str, Any]:
    """Return the arguments of a task by the names of its parameters, however they were passed."""
    function = function_of(type(task))
    if function is None:
        return dict(task.kwargs)
    try:
        bound = signature_of(function).bind_partial(*task.args, **task.kwargs)
    except TypeError:  # The call does not fit the function. It is compared by its keywords.
        return dict(task.kwargs)
    given = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            given.update(given.pop(parameter.name, {}))
    return given


def _name_positions(task_class: Any, args: Sequence[Any]) -> dict[str, Any]:
    """Return arguments by the names of their parameters. One without a name of its own is ``argument 3``."""
    names = parameters_of(task_class) if args else ()
    return {names[at] if at < len(names) else f"argument {at + 1}": value for at, value in enumerate(args)}


def compare_values(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """Yield a text for each place where ``actual`` differs from ``expected``. Dictionaries may hold more than expected.

    ``path`` names the value in the texts. Raises ``ConfigError`` for values of one type whose ``==`` raises.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key not in actual:
                yield f"{path}[{key!r}]: expected {shortened_repr(value)}, is missing"
            else:
                yield from compare_values(value, actual[key], f"{path}[{key!r}]")
    elif isinstance(expected, list | tuple) and type(expected) is type(actual) and len(expected) == len(actual):
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from compare_values(one, other, f"{path}[{index}]")
    elif not are_equal(expected, actual, path, "Leave it out, and compare it in where="):
        yield f"{path}: expected {shortened_repr(expected)}, is {shortened_repr(actual)}"


def are_equal(expected: Any, actual: Any, name: str, advice: str) -> bool:
    """Whether two values are equal. Raises ``ConfigError`` with ``advice`` for two of one type whose ``==`` raises."""
    try:
        return bool(expected == actual)  # in this order, because ANY and the like define only ==
    except Exception as error:
        if type(expected) is not type(actual):
            return False
        raise ConfigError(f"{name} cannot be compared, {type(error).__name__}: {error}. {advice}") from error


def seconds_ahead(task: Any, now: Any) -> float:
    """Return in how many seconds a task is due; 0 if it is due already."""
    return max(0.0, float((task.eta - now).total_seconds())) if task.eta is not None else 0.0


def _to_seconds(span: Any) -> float:
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def describe_not_found(pattern: TaskPattern, tasks: Sequence[Any], now: Any) -> str:
    """Return the message for a task that is not enqueued. It lists ``tasks`` and says how the nearest one differs."""
    if not tasks:
        return f"{pattern} is not enqueued: the queue and the schedule are empty"
    lines = [f"{pattern} is not enqueued. Enqueued is:", *list_tasks(tasks, now)]
    index, nearest = min(
        enumerate(pattern.find_mismatches(task, now) for task in tasks),
        # The same task with other arguments is nearer than another task.
        key=lambda item: (type(tasks[item[0]]) is not getattr(pattern.wrapper, "task_class", None), len(item[1])),
    )
    lines.append(f"The nearest is {index + 1}:")
    return "\n".join([*lines, *(f"  - {text}" for text in nearest)])


def list_tasks(tasks: Sequence[Any], now: Any) -> list[str]:
    """Return tasks as numbered lines, with the time until they are due."""
    lines = []
    for number, task in enumerate(tasks, start=1):
        ahead = seconds_ahead(task, now)
        lines.append(f"  {number}. {call_text(task)}" + (f" in {ahead:.0f} s" if ahead else ""))
    return lines

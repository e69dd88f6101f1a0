"""Separates the keyword arguments of a call: some belong to the task, others are options of the function itself.

A call such as ``assert_enqueued(send, to="me", timeout=1)`` mixes both. A name that could be either is refused. With
``args=`` and ``kwargs=`` the arguments of the task are given apart, as in Huey's ``schedule``, and all other keywords
are options.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huey.api import TaskWrapper

from aquila.errors import ConfigError
from aquila.huey.tasks.running_task import task_name
from aquila.huey.tasks.task_functions import signature_of
from aquila.huey.testing.django_commits import find_task_wrapper
from aquila.huey.testing.queue_under_test import huey_under_test

_EXPLICIT = ("args", "kwargs")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The arguments of the task (``args``, ``kwargs``), and the options of the function (``options``)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]


def separate_arguments(
    function: str, task: TaskWrapper | None, args: Sequence[Any], keywords: Mapping[str, Any], options: Collection[str]
) -> CallArguments:
    """Separate the arguments of a task from the options of the function that was called.

    - ``function``: the name of that function, for messages.
    - ``task``: the decorated function, or None where no task was given.
    - ``args``, ``keywords``: the arguments of the call. ``options``: the names that are options.

    Raises ``ConfigError`` for a keyword that could be either, and for arguments both in ``args=`` or ``kwargs=`` and
    beside them.
    """
    given = {name: value for name, value in keywords.items() if name in options}
    explicit = {name: value for name, value in keywords.items() if name in _EXPLICIT}
    others = {name: value for name, value in keywords.items() if name not in given and name not in explicit}
    if given or explicit:
        _reject_ambiguous(function, task, given, explicit)
    if not explicit:
        return CallArguments(tuple(args), others, given)
    if args or others:
        named = f": {', '.join(map(repr, others))}" if others else ""
        raise ConfigError(
            f"{function} got args= or kwargs=, and arguments of the task beside them{named}. Put all of them into "
            f"args= and kwargs=; the options that may stand beside them are {', '.join(sorted(options))}"
        )
    return CallArguments(tuple(explicit.get("args", ())), dict(explicit.get("kwargs", {})), given)


def read_search(
    function: str, task: Any, args: Sequence[Any], keywords: Mapping[str, Any], options: Collection[str]
) -> tuple[Any, CallArguments, Any]:
    """Return what a call of an assertion looks for: a decorated function or None, its arguments, and the Huey.

    The parameters are those of ``separate_arguments``; ``huey`` and ``queue`` are among the options. Raises
    ``ConfigError`` as that does, for a ``task`` that is not a decorated function, and if no Huey is under test.
    """
    task = find_task_wrapper(task)
    if task is not None and not isinstance(task, TaskWrapper):
        raise ConfigError(f"{function} needs a function decorated with @huey.task(), not {task!r}")
    call = separate_arguments(function, task, args, keywords, options)
    huey = call.options.get("huey")
    if huey is None and task is not None:
        huey = task.huey
    return task, call, huey_under_test(huey, call.options.get("queue"))


def _reject_ambiguous(
    function: str, task: TaskWrapper | None, given: Mapping[str, Any], explicit: Mapping[str, Any]
) -> None:
    """Raise ``ConfigError`` where a parameter of the task has the name of a keyword of the function."""
    parameters = parameter_names(task) if task is not None else []
    # With args= or kwargs= every other keyword is an option. Only these two themselves may be parameters.
    ambiguous = [name for name in (explicit or given) if name in parameters]
    if ambiguous:
        raise ConfigError(_explain_ambiguous(function, task, ambiguous[0]))


def _explain_ambiguous(function: str, task: Any, name: str) -> str:
    called = task_name(task.task_class)
    text = f"{called} has a parameter {name!r}, and {function} has an option of that name. "
    if name in _EXPLICIT:
        return text + "Give the parameter by position, or rename it"
    return text + (
        f"For the parameter write {function}({task.task_class.__name__}, kwargs={{{name!r}: ...}}); "
        f"for the option write kwargs={{}} beside it, with the arguments of the task in it"
    )


def parameter_names(task: TaskWrapper) -> list[str]:
    """Return the names of the parameters of a decorated function, without ``*args`` and ``**kwargs``."""
    parameters = signature_of(task.func).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind not in _VARIADIC]

"""Which keyword arguments of a call are arguments of the task, and which are options of the function that is called.

A call such as ``assert_enqueued(send, to="me", timeout=1)`` mixes both. A name that could be either is refused. With
``args=`` and ``kwargs=`` the arguments of the task stand apart, as in Huey's ``schedule``, and the other keywords are
options.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huey.api import TaskWrapper

from aquila.errors import ConfigError
from aquila.huey.testing.task_run import task_name

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class CallArguments:
    """The arguments of the task (``args``, ``kwargs``) and the options that were given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]


def separate_arguments(
    function: str, task: TaskWrapper | None, args: Sequence[Any], keywords: Mapping[str, Any], options: Collection[str]
) -> CallArguments:
    """Separate the arguments of a task from the ``options`` of the function that was called.

    Raises ``ConfigError`` for a keyword that could be either, and for one that is neither.
    """
    own = {name: value for name, value in keywords.items() if name in options}
    others = {name: value for name, value in keywords.items() if name not in options and name not in ("args", "kwargs")}
    explicit = [name for name in ("args", "kwargs") if name in keywords]
    if not own and not explicit:
        return CallArguments(tuple(args), others, {})
    parameters = parameter_names(task) if task is not None else ()
    ambiguous = [name for name in explicit if name in parameters]
    if not ambiguous and explicit:
        if args or others:
            raise ConfigError(
                f"{function} got args= or kwargs=, and arguments of the task beside them"
                f"{': ' + ', '.join(map(repr, others)) if others else ''}. Put all of them into args= and kwargs=; "
                f"the options that may stand beside them are {', '.join(sorted(options))}"
            )
        return CallArguments(tuple(keywords.get("args", ())), dict(keywords.get("kwargs", {})), own)
    ambiguous += [name for name in own if name in parameters]
    if not ambiguous:
        return CallArguments(tuple(args), others, own)
    raise ConfigError(_explain_ambiguous(function, task, ambiguous[0]))


def _explain_ambiguous(function: str, task: Any, name: str) -> str:
    called = task_name(task.task_class)
    text = f"{called} has a parameter {name!r}, and {function} has an option of that name. "
    if name in ("args", "kwargs"):
        return text + f"Give the parameter by position, or rename it; {function} cannot tell them apart"
    return text + (
        f"For the parameter write {function}({task.task_class.__name__}, kwargs={{{name!r}: ...}}); "
        f"for the option write kwargs={{}} beside it, with the arguments of the task in it"
    )


def parameter_names(task: TaskWrapper) -> list[str]:
    """Return the names of the parameters of a decorated function, without ``*args`` and ``**kwargs``."""
    parameters = inspect.signature(task.func).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind not in _VARIADIC]


def takes_any_keyword(task: TaskWrapper) -> bool:
    """Whether a decorated function takes keyword arguments of any name."""
    parameters = inspect.signature(task.func).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)

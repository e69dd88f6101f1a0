"""The setting ``unique=`` of a task: by which arguments its jobs are unique."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from aquila.engine.calls.timeouts import check_seconds
from aquila.errors import ConfigError
from aquila.signatures import read_signature
from aquila.spelling import suggest_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Unique:
    """Makes the jobs of a task unique by their arguments.

    - ``by``: the names of the parameters that count; None for all of them.
    - ``within``: for how many seconds, at most, a queued job keeps identical jobs out of the queue. A day by default.

    Raises ``ConfigError`` where ``by`` are not names, or ``within`` is no number of seconds.
    """

    by: tuple[str, ...] | None = None
    within: float = 86_400.0

    def __post_init__(self) -> None:
        by: Any = self.by
        if by is not None:
            by = tuple(by) if isinstance(by, Iterable) and not isinstance(by, str) else (by,)
            if not all(isinstance(name, str) for name in by):
                raise ConfigError(f"Unique(by=...) names parameters of the task, not {self.by!r}")
            object.__setattr__(self, "by", by)  # The one change to a frozen record: a single name becomes a tuple.
        check_seconds(self.within, "Unique(within=...)")


Uniqueness: TypeAlias = "bool | str | Sequence[str] | Unique | None"
"""What ``unique=`` takes: True for all arguments, the name of a parameter, several names, or a ``Unique``."""


def check_unique(given: Any, function: Callable[..., Any], *, context: bool) -> dict[str, Any]:
    """Return the attributes of a task's class for ``unique=``; none where the jobs of the task are not unique.

    ``given`` is what the decorator was called with, ``function`` the decorated function, and ``context`` whether Huey
    passes it the task. Raises ``ConfigError`` for a value of another type, and for names of no parameter.
    """
    if given is None or given is False:
        return {}
    if given is True:
        unique = Unique()
    elif isinstance(given, Unique):
        unique = given
    elif isinstance(given, (str, Sequence)):
        unique = Unique(by=given)  # type: ignore[arg-type]
    else:
        raise ConfigError(f"unique= is True, names of parameters, or a Unique, not {given!r}")
    signature = read_signature(function)
    parameters = [each for name, each in signature.parameters.items() if not (context and name == "task")]
    known = [each.name for each in parameters]
    for name in unique.by or ():
        if name not in known:
            raise ConfigError(
                f"unique={given!r}: {function.__name__} has no parameter {name!r}{suggest_name(name, known)}"
            )
    return {"_aquila_unique": unique, "_aquila_unique_parameters": signature.replace(parameters=parameters)}


_PLAIN: tuple[Any, ...] = (bytes, int, float, str)
_MOMENTS = (datetime.datetime, datetime.date, datetime.time)
_OTHERS: tuple[Any, ...] = (datetime.timedelta, decimal.Decimal, uuid.UUID)


def canonical_value(value: Any) -> Any:
    """Return a form of a value that JSON can hold, and that is equal only for equal values. A list equals a tuple here.

    Raises ``TypeError`` for a value of a type that has no such form.
    """
    # The name of its type goes with each value: the number 1 and the text "1" must not make the same claim.
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return ["enum", type(value).__qualname__, value.name]
    if isinstance(value, dict):
        return [
            "dict",
            sorted(([canonical_value(key), canonical_value(each)] for key, each in value.items()), key=repr),
        ]
    if isinstance(value, (list, tuple)):
        return ["list", *map(canonical_value, value)]
    if isinstance(value, (set, frozenset)):
        return ["set", *sorted(map(canonical_value, value), key=repr)]
    if isinstance(value, _MOMENTS):
        return [next(kind.__name__ for kind in _MOMENTS if isinstance(value, kind)), value.isoformat()]
    for kind in (*_PLAIN, *_OTHERS):
        if isinstance(value, kind):
            return [kind.__name__, repr(kind(value)) if kind in _PLAIN else str(value)]
    raise TypeError(f"a {type(value).__name__} cannot be compared")

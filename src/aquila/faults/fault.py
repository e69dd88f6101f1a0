"""What a fault is: its kind, its parameters, and how many times a request meets it."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import is_conversation
from aquila.errors import ConfigError
from aquila.spelling import suggest_name

Group: TypeAlias = Literal["failure", "stream", "content"]
"""``failure``: instead of an answer. ``stream``: in its bytes, events and times. ``content``: in its content."""

Within: TypeAlias = Literal["handshake", "messages"]
"""The parts of a conversation over a WebSocket that a fault can change."""

Value: TypeAlias = int | float | str | None

LONGEST = 10**9
"""The greatest number of seconds in a fault. There is a limit, because ``datetime`` cannot express every time."""

PACED = ("slow", "stall(seconds")
"""Faults whose text begins like this keep their times, even where replays do not wait."""


class ImpossibleFault(ConfigError):
    """The answer lacks what a fault changes: there is no event 50, no tool call to break, no stream to cut."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault.

    ``change`` turns an interaction into the faulted response; its keyword parameters are those of the fault.

    ``within`` is the part of a conversation over a WebSocket that it changes, or None if the fault does not exist
    there. ``change_conversation`` is ``change`` for such a conversation.
    """

    change: Callable[..., RecordedResponse]
    group: Group
    within: Within | None
    change_conversation: Callable[..., RecordedResponse]

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the fault, by name: those of its function behind the interaction."""
        return dict(list(inspect.signature(self.change).parameters.items())[1:])

    @property
    def types(self) -> Mapping[str, tuple[type, ...]]:
        """The types that each parameter may have."""
        hints = get_type_hints(self.change)
        return {name: _types_of(hints[name]) for name in self.parameters}

    @property
    def name(self) -> str:
        """The name of the fault in text: the name of its function."""
        return self.change.__name__

    @property
    def first(self) -> str | None:
        """The parameter that may be given without its name; None if there is none."""
        return next(iter(self.parameters), None)

    @property
    def summary(self) -> str:
        """What a client sees, in one sentence."""
        return (inspect.getdoc(self.change) or "").partition("\n")[0]


def _types_of(hint: Any) -> tuple[type, ...]:
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _types_of(part))
    if get_origin(hint) is Literal:
        return (str,)
    return (float, int) if hint is float else (hint,)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its ``parameters``. A request meets it ``times`` times, and always if ``times`` is None.

    Examples:
        >>> from aquila.testing import Fault, FaultPlan
        >>> def describe(fault: Fault) -> str:
        ...     return f"{fault.name}, {fault.times} times"
        >>> plan = FaultPlan.from_text("cut_stream(after=3), rate_limit(times=2)", mark="plan")
        >>> [describe(fault) for fault in plan.faults]
        ['cut_stream, 1 times', 'rate_limit, 2 times']
    """

    kind: FaultKind
    parameters: tuple[tuple[str, Value], ...] = ()
    times: int | None = 1

    @property
    def name(self) -> str:
        """The name of its kind."""
        return self.kind.name

    def change(self, interaction: Interaction) -> RecordedResponse:
        """Return the response that replaces a good one.

        Raises ``ImpossibleFault`` if the fault cannot be applied to it.
        """
        is_socket = is_conversation(interaction.request)
        change = self.kind.change_conversation if is_socket else self.kind.change
        try:
            return change(interaction, **dict(self.parameters))
        except ImpossibleFault as error:
            raise ImpossibleFault(f"{self}: {error}") from None

    def __str__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.parameters]
        if self.times != 1:
            given.append(f"times={self.times}")
        return f"{self.name}({', '.join(given)})" if given else self.name


_IN_WORDS: Mapping[type, str] = {float: "a number", int: "a whole number", str: "a text", types.NoneType: "None"}


def make_fault(kind: FaultKind, given: Mapping[str, Any]) -> Fault:
    """Return a fault of ``kind`` with the ``given`` parameters, by name. Raises ``ConfigError`` for a wrong one."""
    values, parameters, types_of = dict(given), kind.parameters, kind.types
    times = values.pop("times", 1)
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise ConfigError(f"fault {kind.name}: times={times!r} must be a number from 1, or None for all requests")
    for name, value in values.items():
        if name not in parameters:
            known = (*parameters, "times")
            raise ConfigError(f"fault {kind.name}: unknown parameter {name!r}{suggest_name(name, known)}")
        if isinstance(value, bool) or not isinstance(value, types_of[name]):
            kinds = [each for each in types_of[name] if each is not int or float not in types_of[name]]
            words = " or ".join(_IN_WORDS[each] for each in kinds)
            raise ConfigError(f"fault {kind.name}: {name}={value!r} must be {words}")
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in values:
            raise ConfigError(f"fault {kind.name} needs {name}=")
    ordered = tuple((name, values[name]) for name in parameters if name in values)
    return Fault(kind, ordered, times)

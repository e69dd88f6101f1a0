"""The conditions that a request must meet to get the answers after ``when``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from aquila.errors import ConfigError
from aquila.wildcards import fits_pattern
from aquila.wire_forms.sent import SentRequest

Wanted: TypeAlias = str | re.Pattern[str]
"""A text that must be contained, in upper or lower case, or a pattern that must be found."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one ``when``; all that are given must hold.

    The fields are the parameters of ``Script.when``.
    """

    text: Wanted | None = None
    last: Wanted | None = None
    system: Wanted | None = None
    model: str | None = None
    tool: str | None = None
    where: Callable[[SentRequest], object] | None = None

    def __post_init__(self) -> None:
        if all(given is None for given in (self.text, self.last, self.system, self.model, self.tool, self.where)):
            raise ConfigError('when() says nothing about the request: give it a text, as in when("summarise")')
        for name in ("text", "last", "system"):
            wanted = getattr(self, name)
            if not isinstance(wanted, (str, re.Pattern, type(None))):
                raise ConfigError(f"when({name}={wanted!r}): must be a text or a compiled pattern")
        for name in ("model", "tool"):
            if not isinstance(wanted := getattr(self, name), (str, type(None))):
                raise ConfigError(f"when({name}={wanted!r}): must be a name, which may have *")
        if self.where is not None and not callable(self.where):
            raise ConfigError(f"when(where={self.where!r}): must be a function of the request")

    def find_difference(self, sent: SentRequest) -> str | None:
        """Return in a few words why a request does not match, or None if it does."""
        if self.model is not None and not fits_pattern(sent.model, self.model):
            return f"the model is {sent.model or 'not named'}"
        if self.tool is not None and not any(fits_pattern(tool.name, self.tool) for tool in sent.tools):
            return f"no tool {self.tool} is offered"
        if self.text is not None and not _holds(sent.text, self.text):
            return "no message holds the text"
        if self.last is not None and not _holds(sent.messages[-1].text if sent.messages else "", self.last):
            return "the last message does not hold the text"
        if self.system is not None:
            instructions = "\n".join(each.text for each in sent.messages if each.role in ("system", "developer"))
            if not _holds(instructions, self.system):
                return "the instructions do not hold the text"
        if self.where is not None and not self.where(sent):
            return "where= returns false"
        return None

    def __str__(self) -> str:
        given = [] if self.text is None else [_show(self.text)]
        for name in ("last", "system", "model", "tool"):
            value = getattr(self, name)
            if value is not None:
                given.append(f"{name}={_show(value)}")
        if self.where is not None:
            given.append(f"where={getattr(self.where, '__name__', 'a function')}")
        return f"when({', '.join(given)})"


def _holds(text: str, wanted: Wanted) -> bool:
    if isinstance(wanted, str):
        return wanted.casefold() in text.casefold()
    return wanted.search(text) is not None


def _show(value: Wanted) -> str:
    return f'"{value}"' if isinstance(value, str) else f"/{value.pattern}/"

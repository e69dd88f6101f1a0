"""Faults as text: ``cut_stream(after=3)``, several of them joined by commas."""

from __future__ import annotations

import ast
import functools
from typing import Any

from aquila.errors import ConfigError
from aquila.faults.fault import Fault, make_fault
from aquila.faults.table import FAULTS
from aquila.spelling import suggest_name


@functools.lru_cache(maxsize=64)  # each test reads its text twice, and most tests have one of a few
def read_faults(text: str) -> tuple[Fault, ...]:
    """Return the faults in a text, in their order. Raises ``ConfigError`` for text that is not a list of faults."""
    if not text.strip():
        raise _mistake(text, "names none")
    try:
        # Parsed as a Python tuple, never evaluated. A comment may end the text, so the closing bracket is on a new
        # line.
        tree = ast.parse(f"({text.strip()}\n,)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _mistake(text, "is no list of faults") from None
    parts = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    return tuple(_read_fault(part, text) for part in parts)


def _read_fault(part: ast.expr, text: str) -> Fault:
    call = part if isinstance(part, ast.Call) else ast.Call(part, [], [])
    if not isinstance(call.func, ast.Name):
        raise _mistake(text, "is no list of faults")
    name = call.func.id
    kind = FAULTS.get(name)
    if kind is None:
        raise ConfigError(f"unknown fault {name!r}{suggest_name(name, tuple(FAULTS))}")
    given: dict[str, Any] = {}
    if call.args:
        if kind.first is None:
            raise ConfigError(f"fault {name} has no parameter besides times=")
        if len(call.args) > 1:
            raise ConfigError(f"fault {name}: give its parameters by name")
        given[kind.first] = _read_value(call.args[0], text)
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _mistake(text, "is no list of faults")
        if keyword.arg in given:
            raise _mistake(text, "gives a parameter twice")
        given[keyword.arg] = _read_value(keyword.value, text)
    return make_fault(kind, given)


def _read_value(value: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _mistake(text, "has a parameter that is no number and no text") from None


def _mistake(text: str, what: str) -> ConfigError:
    shown = text if len(text) <= 60 else f"{text[:59]}…"
    return ConfigError(f"faults {shown!r} {what}; write them as in 'cut_stream(after=3), rate_limit(times=2)'")

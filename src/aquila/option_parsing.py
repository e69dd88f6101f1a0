"""How the text of each option is read, by the kind that its row in ``aquila.config`` names.

What ``pytest --help`` says of a command line option is in ``pytest_aquila.options``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aquila.config import OPTION_ROWS


def _parse_text(value: str) -> str:
    if "\0" in value:  # no path and no header field can have one
        raise ValueError("must be text without NUL characters")
    return value


def _parse_words(value: str) -> tuple[str, ...]:
    return tuple(word for part in value.split("\n") for word in part.replace(",", " ").split())


def _parse_lines(value: str) -> tuple[str, ...]:
    # JSON paths may contain spaces and commas inside brackets, so only line breaks separate them.
    return tuple(line.strip() for line in value.splitlines() if line.strip())


def _parse_faults(value: str) -> str:
    return ", ".join(_parse_lines(value))


def _parse_normalize(value: str) -> tuple[str, ...]:
    # A pattern (`/…/`) may contain spaces and commas, so a line that begins with a slash is one pattern.
    lines = [line.strip() for line in value.splitlines()]
    return tuple(entry for line in lines for entry in ((line,) if line[:1] == "/" else _parse_words(line)))


def _parse_hosts(value: str) -> tuple[str, ...]:
    words = _parse_words(value)
    for word in words:
        if "/" in word:  # a URL fits no host, so the setting would do nothing
            raise ValueError(f"must be hosts, such as models.example, *.internal or localhost:8080, not {word!r}")
    return words


def _parse_requests(value: str) -> tuple[str, ...]:
    lines = _parse_lines(value)
    for line in lines:
        # An address needs a path, or `*`: without it, it fits no request. `-` removes a row of the table.
        if not re.fullmatch(r"-?\s*([A-Z]+|\*) (?!\S*://)\S*[/*]\S*", line):
            raise ValueError(
                f"must be methods and addresses, a line each, such as POST api.example.com/v1/*, not {line!r}"
            )
    return lines


def _parse_variables(value: str) -> tuple[str, ...]:
    words = _parse_words(value)
    for word in words:
        if not re.fullmatch(r"-?[^\W\d]\w*(=.*)?", word):
            raise ValueError(f"must be NAME, NAME=value or -NAME for each variable, not {word!r}")
    return words


def _as_number(value: str) -> float:
    """Return the number in a text, or NaN, which no option accepts: Python's own message would not help users."""
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _parse_seconds(value: str) -> float:
    seconds = _as_number(value)
    if not 0 < seconds < float("inf"):
        raise ValueError("must be a number of seconds above 0")
    return seconds


def _parse_timing(value: str) -> float:
    named = {"instant": 0.0, "recorded": 1.0}
    factor = named[value] if value in named else _as_number(value)
    if not 0 <= factor < float("inf"):
        raise ValueError("must be 'instant', 'recorded' or a factor of 0 or more")
    return factor


def _parse_days(value: str) -> float:
    units = {"d": 1.0, "w": 7.0, "h": 1 / 24}
    number, unit = (value[:-1], value[-1]) if value[-1:] in units else (value, "d")
    days = _as_number(number) * units[unit]
    if not 0 < days < float("inf"):
        raise ValueError("must be an age such as 90d, 12w or 36h")
    return days


def _parse_ports(value: str) -> tuple[int, ...]:
    words = _parse_words(value)
    if not all(word.isdecimal() and 0 < int(word) < 65536 for word in words):
        raise ValueError("must be ports of this machine, numbers from 1 to 65535")
    return tuple(dict.fromkeys(map(int, words)))


Budget: TypeAlias = tuple[int | None, int | None]
"""The greatest numbers of requests and of tokens; None for no limit."""

_AMOUNT = r"\s*(\d+)\s*([kM]?)\s*(requests?|tokens?)\s*"


def read_budget(value: str) -> Budget:
    """Return the numbers in the text of a budget, such as ``200 requests, 50k tokens``.

    Raises ``ValueError`` for any other text, and for a budget that names requests or tokens twice.
    """
    amounts: dict[str, int] = {}
    for part in value.replace("\n", ",").split(","):
        match = re.fullmatch(_AMOUNT, part)
        kind = match[3].rstrip("s") if match else ""
        if match is None or kind in amounts:
            raise ValueError("must be numbers of requests, of tokens, or of both: 200 requests, 50k tokens")
        amounts[kind] = int(match[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[match[2]]
    return amounts.get("request"), amounts.get("token")


def _parse_budget(value: str) -> str:
    read_budget(value)
    return value.replace("\n", ", ")


def _choice_of(*choices: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "text": _parse_text,
    "secret": _parse_text,
    "words": _parse_words,
    "hosts": _parse_hosts,
    "requests": _parse_requests,
    "variables": _parse_variables,
    "lines": _parse_lines,
    "patterns": _parse_normalize,
    "faults": _parse_faults,
    "seconds": _parse_seconds,
    "pace": _parse_timing,
    "age": _parse_days,
    "ports": _parse_ports,
    "budget": _parse_budget,
}
"""How text is read, by the kind of an option's values. Each parser raises ``ValueError`` for other text."""


class Option:
    """One setting, made of a row of ``OPTION_ROWS``.

    ``default`` is its value if nothing sets it, ``help`` its explanation in one line, ``parse`` a function from
    text to the value that raises ``ValueError``, ``env`` its environment variable or None. ``ini`` says whether the
    ini file can set it, ``secret`` whether messages must not show its value.
    """

    __slots__ = ("default", "env", "help", "ini", "parse", "secret")

    def __init__(self, default: Any, env: str | None, ini: bool, kind: str, help: str) -> None:
        self.default = default
        self.help = help
        self.parse = _choice_of(*kind.split("|")) if "|" in kind else _PARSERS[kind]
        self.env = env
        self.ini = ini
        self.secret = kind == "secret"


OPTIONS: Mapping[str, Option] = {name: Option(*row) for name, *row in OPTION_ROWS}
"""Every setting, by name."""

"""Paths into JSON, such as ``messages[*].name``. The setting ``ignore`` lists the paths that are not compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from aquila.errors import ConfigError

Step: TypeAlias = str | int | None
"""A key, a position (negative counts from the end), or None for every key or position."""

_STEP = re.compile(
    r"""
      \[ (?: (?P<index>-?\d{1,9}) | (?P<each>\*) | '(?P<single>[^']*)' | "(?P<double>[^"]*)" ) \]
    | (?P<dot>\.?) (?: (?P<any>\*) | (?P<key>[^.\[\]*'"\s<>]+) )
    """,
    re.VERBOSE,
)


_INDEX = re.compile(r"\[-?\d+\]")


def with_any_index(path: str) -> str:
    """Return a path with ``[*]`` for each position, so that all elements of a list have the same path."""
    return _INDEX.sub("[*]", path)


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A parsed path. ``text`` is what the user wrote."""

    text: str
    steps: tuple[Step, ...]

    def remove_from(self, value: Any) -> None:
        """Remove what the path names from a JSON value, in place. A path that leads nowhere changes nothing.

        A key is deleted. An element of a list becomes null, so that the others keep their positions.
        """
        _remove_at(value, self.steps)


def _remove_at(value: Any, steps: tuple[Step, ...]) -> None:
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict) and not isinstance(step, int):
        if step is None:
            if not rest:
                value.clear()  # the loop below then finds no child
            for child in value.values():
                _remove_at(child, rest)
        elif step in value:
            if rest:
                _remove_at(value[step], rest)
            else:
                del value[step]
    elif isinstance(value, list) and not isinstance(step, str):
        positions = range(len(value)) if step is None else [step] if -len(value) <= step < len(value) else []
        for position in positions:
            if rest:
                _remove_at(value[position], rest)
            else:
                value[position] = None


# Every scope builds its rules from the same few settings. A `JsonPath` is frozen, so all of them can share it.
@lru_cache(maxsize=256)
def parse_json_path(text: str) -> JsonPath:
    """Parse a path: ``user``, ``$.user``, ``messages[*].name``, ``tools[0].function``, ``['a.b'][-1]``.

    Raises :class:`~aquila.errors.ConfigError`, whose text shows the part of the path that cannot be read.
    """
    path = text.strip()
    position = 1 if path.startswith("$") else 0
    steps: list[Step] = []
    while position < len(path):
        match = _STEP.match(path, position)
        # The first name stands alone; later ones, and any after `$`, need their dot.
        if match is None or (match["dot"] is not None and bool(match["dot"]) != (position > 0)):
            raise ConfigError(
                f"ignore: cannot read the JSON path {text!r} from {path[position:]!r} on. "
                "Write for example 'user', 'messages[*].name' or \"tools[0]['x.y']\", or '<empty>'."
            )
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["each"] or match["any"]:
            steps.append(None)
        else:
            steps.append(next(key for key in (match["single"], match["double"], match["key"]) if key is not None))
        position = match.end()
    if not steps:
        raise ConfigError(
            f"ignore: the JSON path {text!r} names the whole body. "
            "To match without bodies, leave 'body' out of match_on."
        )
    return JsonPath(text, tuple(steps))

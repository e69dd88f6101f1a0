"""Compiles the patterns of the setting ``normalize``, and refuses patterns whose search may take exponential time.

Python's ``re`` backtracks: it tries every way in which a pattern can match. Where a repetition holds another one, or
alternatives, the ways multiply with each round. An atomic group or a possessive quantifier (``(?>...)``, ``a++``)
matches in one way only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aquila.errors import ConfigError

_ENDLESS = 1000
"""How many ways a repetition without a bound is counted as."""
_MOST_WAYS = _ENDLESS**3  # of a whole pattern: three repetitions without a bound, one after the other
_MOST_REPEATED_WAYS = 10_000  # of a repetition with a bound
_LONGEST = 1000  # characters of a pattern

_QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})([?+]?)")
_GROUP = re.compile(
    r"\((?:\?(?:(?P<nothing>#[^)]*\)|[aiLmsux-]+\))|(?P<reference>P=\w+\))|(?P<atomic>>|=|!|<=|<!)"
    r"|\(\w+\)|P<\w+>|(?P<flags>[aiLmsux-]*):))?"
)
_NOT_READ = re.compile(r"[ \t\n\r\f\v]+|#[^\n]*")
"""What the flag ``x`` makes ``re`` skip, also between a group and its quantifier: white space and comments."""


def compile_pattern(text: str, entry: str) -> re.Pattern[str]:
    """Compile a pattern. ``text`` is the regular expression, ``entry`` what the user wrote, with the slashes.

    Raises ``ConfigError`` for a pattern that cannot be read, matches the empty text, or may take too long. The message
    says where the pattern is wrong and what to type.
    """
    if len(text) > _LONGEST:
        raise ConfigError(
            f"aquila_normalize: the pattern {entry[:40]}… has {len(text):,} characters; {_LONGEST:,} are the most. "
            "Write two patterns, a line each"
        )
    try:
        compiled = re.compile(text)
    except (re.error, Warning, OverflowError, RecursionError) as error:  # a FutureWarning raises where they are errors
        at = getattr(error, "pos", None)
        where = f" from {text[at:]} on" if at is not None and at < len(text) else ""
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(
            f"aquila_normalize: cannot read the pattern {entry}{where}: {reason}. Write a regular expression of "
            r"Python between slashes, such as /run-\d+/, and a backslash before special characters: \( \[ \."
        ) from None
    if compiled.search("") is not None:
        raise ConfigError(
            f"aquila_normalize: the pattern {entry} matches the empty text, so it would match everywhere. "
            "Let it match at least one character, for example with + in place of *"
        )
    at = _find_slow_part(text, is_verbose=bool(compiled.flags & re.VERBOSE))
    if at is not None:
        raise ConfigError(
            f"aquila_normalize: the pattern {entry} may take for ever on a long text, from {text[at:]} on: the "
            r"repeated part can match in many ways. Let it match in one way: \d++ or (?>a|b) for \d+ or (?:a|b); "
            r"or give its repetitions a bound, such as \d{1,9}"
        )
    return compiled


@dataclass(slots=True)
class _Group:
    """A group that is not closed yet: where it begins, and in how many ways the part that was read can match."""

    start: int
    is_atomic: bool
    is_verbose: bool
    """Whether the flag ``x`` holds in it."""
    ways: int = 1
    of_other_choices: int = 0
    last_atom: int = 1
    """The number of ways in which the part that a quantifier would repeat can match."""
    last_start: int = 0
    before_last: int = 1

    def add_atom(self, ways: int, start: int) -> None:
        self.before_last, self.last_atom, self.last_start = self.ways, ways, start
        self.ways = min(self.ways * ways, _MOST_WAYS + 1)

    def all_ways(self) -> int:
        return 1 if self.is_atomic else self.ways + self.of_other_choices


def _find_slow_part(pattern: str, *, is_verbose: bool) -> int | None:
    """Return where a part begins that may match in too many ways, or None if there is none.

    ``is_verbose`` says that the flag ``x`` holds for the whole pattern.
    """
    groups = [_Group(0, is_atomic=False, is_verbose=is_verbose)]
    at = 0
    while at < len(pattern):
        group, start, char = groups[-1], at, pattern[at]
        if group.is_verbose and (skipped := _NOT_READ.match(pattern, at)):
            at = skipped.end()
            continue
        quantifier = _QUANTIFIER.match(pattern, at)
        if quantifier is not None and at and _is_quantifier(quantifier):
            at = quantifier.end()
            ways = _repeated_ways(group.last_atom, quantifier)
            if ways is None:
                return group.last_start
            group.ways = min(group.before_last * ways, _MOST_WAYS + 1)
        elif char == "(":
            opened = _GROUP.match(pattern, at)
            at = opened.end() if opened else at + 1
            if opened is not None and opened["reference"]:
                group.add_atom(1, start)
            elif opened is None or not opened["nothing"]:
                on, _, off = ((opened and opened["flags"]) or "").partition("-")
                verbose = "x" in on or (group.is_verbose and "x" not in off)
                groups.append(_Group(start, bool(opened and opened["atomic"]), verbose))
        elif char == ")" and len(groups) > 1:
            at += 1
            closed = groups.pop()
            groups[-1].add_atom(closed.all_ways(), closed.start)
        elif char == "|":
            at += 1
            group.of_other_choices += group.ways
            group.ways = group.before_last = 1
        else:
            at = _end_of_atom(pattern, at)
            group.add_atom(1, start)
    return 0 if groups[0].all_ways() > _MOST_WAYS else None


def _is_quantifier(found: re.Match[str]) -> bool:
    return bool(found[1] or found[2] or found[3])  # `{,}` is one, too


def _repeated_ways(ways: int, quantifier: re.Match[str]) -> int | None:
    """Return in how many ways a repetition can match, if the repeated part can match in ``ways``. None if too many."""
    sign, low, comma, high, mode = quantifier.groups()
    if sign:
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    else:
        least = int(low or 0)
        most = int(high) if high else None if comma else least
    if most is None and ways > 1:
        return None
    # 2**14 is beyond the limit, so a higher power, which may have millions of digits, is not computed.
    if most is not None and ways > 1 and (most > 13 or ways**most > _MOST_REPEATED_WAYS):
        return None
    if mode == "+":
        return 1
    return _ENDLESS if most is None else min((most - least + 1) * ways**most, _MOST_WAYS + 1)


def _end_of_atom(pattern: str, at: int) -> int:
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] != "[":
        return at + 1
    at += 1 + pattern.startswith("^", at + 1)
    at += pattern.startswith("]", at)
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1

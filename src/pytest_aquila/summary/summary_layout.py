"""The layout of news as few lines: no word, path or command is broken, and news without room is counted."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple

if TYPE_CHECKING:
    from aquila.cli import tables
    from pytest_aquila.summary.run_news import News
else:
    lazy_modules(globals(), "aquila.cli: tables")

MOST_LINES = 8
"""The greatest number of terminal lines of the summary, including its last line."""

_INDENT = "  "
_GAP = "  "
_CUT = "…"
MOST_NAMES = 5
"""The greatest number of names that are shown for one kind of news."""
_MOST_OF_AN_ERROR = 4
"""The number of terminal lines that an error gets before less important news get their first line."""

Colour = Literal["red", "yellow", ""]


class Line(NamedTuple):
    """A line of the summary, and its colour."""

    text: str
    colour: Colour = ""


def lay_out(rows: Sequence[News], width: int, room: int) -> list[Line]:
    """Return the lines of some news, the most important first, in at most ``room`` lines of a terminal.

    ``width`` is that of the terminal in characters. Each kind first gets its smallest number of lines; then the
    remaining lines go to the most important ones. Kinds without room are counted in a last line.
    """
    least: list[tuple[News, list[str]]] = []
    left_out: list[News] = []
    free = room
    for at, row in enumerate(rows):
        form = _least_form(row, width)
        taken = _rows_of(form, width)
        if taken > free - bool(left_out or at + 1 < len(rows)):  # one line is kept for the count of the rest
            left_out.append(row)  # a later one may be shorter and fit
        else:
            least.append((row, form))
            free -= taken
    free -= bool(left_out)
    lines: list[Line] = []
    for row, form in least:
        taken = _rows_of(form, width)
        better = _form_within(row, width, taken + free) or form
        free -= _rows_of(better, width) - taken
        lines += [Line(text, row.colour) for text in better]
    if left_out:
        colour: Colour = next((row.colour for row in left_out if row.colour), "")
        lines.append(Line(f"aquila: {'and ' if least else ''}{len(left_out):,} more: pytest -v", colour))
    return lines


def lay_out_all(row: News, width: int) -> Iterator[Line]:
    """Yield all lines of one kind of news, with each name on its own line."""
    named = [line for detail in row.details for line in detail.splitlines()] or row.names
    text = f"aquila: {row.title or row.text}"
    lines = wrap_prose([f"{text}:" if named else text], width)
    for name in named:
        is_prose = bool(row.details) and not name.startswith(_INDENT)
        lines += _wrap_words(name.split(), width, _INDENT, 2 * _INDENT) if is_prose else [_INDENT + name]
    if row.lead:
        lines += wrap_prose([row.lead], width, begin=_INDENT)
    if row.command:
        lines.append(_INDENT + row.command)
    for text in lines:
        yield Line(text, row.colour)


def wrap_prose(parts: Iterable[str], width: int, *, begin: str = "") -> list[str]:
    """Return prose as lines of at most ``width`` characters. A longer word gets its own line."""
    return _wrap_words([word for part in parts for word in part.split()], width, begin, _INDENT)


def lay_out_parts(head: str, parts: Sequence[str], width: int) -> list[str]:
    """Return a name and its details in one line if they fit, else in two."""
    line = _GAP.join([f"{_INDENT}{head}", *parts])
    return [line] if _width_of(line) <= width else [f"{_INDENT}{head}", f"{2 * _INDENT}{_GAP.join(parts)}"]


def _wrap_words(words: Sequence[str], width: int, begin: str, later: str) -> list[str]:
    lines: list[str] = []
    line, has_word = begin, False
    for word in words:
        longer = f"{line} {word}" if has_word else line + word
        if has_word and _width_of(longer) > width:
            lines.append(line)
            line = later + word
        else:
            line = longer
        has_word = True
    return [*lines, line] if has_word else lines


def _rows_of(lines: Iterable[str], width: int) -> int:
    """Return how many terminal lines some lines take, because the terminal wraps long ones."""
    return sum(max(1, -(-_width_of(line) // width)) for line in lines)


def _least_form(row: News, width: int) -> list[str]:
    """Return the shortest form of news that still says what happened and what to type.

    An error keeps its whole text, because the reason often comes after a long path.
    """
    room = 1
    if row.colour == "red":
        room = min(_rows_of(wrap_prose([f"aquila: {row.text}"], width), width), _MOST_OF_AN_ERROR)
    if not row.command:
        return _fit_text(row, width, room)
    one = f"aquila: {row.text}: {row.command}"
    if _width_of(one) <= width:
        return [one]
    return [*_fit_text(row, width, room), f"{_INDENT}{row.command}"]


def _form_within(row: News, width: int, room: int) -> list[str] | None:
    """Return the longest form that fits into ``room`` lines, or None. The command may be on its own line."""
    whole = " ".join(next(_forms_of(row)))
    if row.command and _width_of(one := f"{whole}{'' if row.lead else ':'} {row.command}") <= width:
        return [one]
    command = [f"{_INDENT}{row.command}"] if row.command else []
    room -= _rows_of(command, width)
    return [*_fit_text(row, width, room), *command] if room > 0 else None


def _fit_text(row: News, width: int, room: int) -> list[str]:
    """Return the text of news in ``room`` lines, with as many names as fit, and cut if even the text does not fit."""
    for words in _forms_of(row):
        lines = _wrap_words(words, width, "", _INDENT)
        if _rows_of(lines, width) <= room:
            return lines
    text = f"aquila: {row.text}".split()
    cut = [*range(1, len(text))]
    fitting = bisect.bisect_right(cut, room, key=lambda count: _rows_of(_cut_after(text, count, width), width))
    return _cut_after(text, cut[max(fitting, 1) - 1], width)


def _cut_after(words: Sequence[str], count: int, width: int) -> list[str]:
    return _wrap_words([*words[:count], _CUT], width, "", _INDENT)


def _forms_of(row: News) -> Iterator[list[str]]:
    """Yield the words of news in ever shorter forms: with fewer names, then without its lead."""
    text, lead = f"aquila: {row.text}".split(), row.lead.split()
    for count in range(min(len(row.names), row.most_names), 0, -1):
        yield [*_followed_by(text, row.joint), *_followed_by(_list_names(row.names, count), "." if lead else ""), *lead]
    if lead:
        yield [*_followed_by(text, "."), *lead]
    yield text


def _list_names(names: Sequence[str], count: int) -> list[str]:
    """Return the first names and the number of the others as words. A name with spaces stays one word."""
    more = ["and", f"{len(names) - count:,}", "more"] if len(names) > count else []
    return [*(f"{name}," for name in names[: count - 1]), names[count - 1], *more]


def _followed_by(words: Sequence[str], mark: str) -> list[str]:
    return [*words[:-1], words[-1] + mark]


def _width_of(text: str) -> int:
    return len(text) if text.isascii() else tables.display_width(text)

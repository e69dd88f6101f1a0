"""Lays out tables for people: as wide as the terminal, without cutting names and dates."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

_GAP = "  "
_NARROWEST = 40
"""The smallest width of a table, in characters. A narrower terminal wraps its lines."""
_SHORTEST_NAME = 16
"""The smallest width of the first column, in characters. A longer name gets a line of its own."""


class Column(NamedTuple):
    """A column of a table.

    ``cut`` says where its cells are cut if the table is too wide: nowhere, at the end, or in the middle. ``at_least``
    is the width, in characters, below which they are not cut. A column with ``only_if_room`` is left out if the others
    would be cut to less than twice that. A column with only empty cells is left out, too.
    """

    title: str
    cut: Literal["nowhere", "end", "middle"] = "nowhere"
    at_least: int = 10
    only_if_room: bool = False


def lay_out_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], numeric: Sequence[bool], width: int
) -> list[str]:
    """Return the lines of a table of at most ``width`` characters, the first of them the titles.

    ``numeric`` says which columns are aligned to the right. The first column is never cut: a cell that is too long
    stands on a line of its own, so that it can be copied.
    """
    table = [[column.title for column in columns], *rows]
    needed = [max(map(display_width, cells)) for cells in zip(*table, strict=True)]
    room = max(width, _NARROWEST) + len(_GAP)
    filled = [at for at in range(len(columns)) if at == 0 or any(row[at] for row in rows)]
    shown = _choose_columns(columns, filled, needed, room)
    columns, numeric = [columns[at] for at in shown], [numeric[at] for at in shown]
    widths = _fit_widths(columns, [needed[at] for at in shown], room - len(_GAP) * len(shown))
    lines = []
    for whole_row in table:
        row = [whole_row[at] for at in shown]
        cells = [
            cell if column.cut == "nowhere" else cut_text(cell, room, column.cut)
            for cell, room, column in zip(row, widths, columns, strict=True)
        ]
        if display_width(cells[0]) > widths[0]:
            lines.append(cells[0])
            cells[0] = ""
        lines.append(_join_cells(cells, widths, numeric))
    return lines


def _join_cells(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = []
    for cell, width, is_number in zip(cells, widths, numeric, strict=True):
        blanks = " " * (width - display_width(cell))
        padded.append(blanks + cell if is_number else cell + blanks)
    return _GAP.join(padded).rstrip()


def _choose_columns(columns: Sequence[Column], filled: Sequence[int], needed: Sequence[int], room: int) -> list[int]:
    """Return the indices of the columns that are shown. ``room`` is the width with a gap after each column."""
    shown = list(filled)
    wanted = [
        width if column.cut == "nowhere" else min(width, 2 * column.at_least)
        for width, column in zip(needed, columns, strict=True)
    ]
    for at in reversed(filled):
        if sum(wanted[place] + len(_GAP) for place in shown) > room and columns[at].only_if_room:
            shown = [place for place in shown if place != at]
    return shown


def _fit_widths(columns: Sequence[Column], needed: Sequence[int], room: int) -> list[int]:
    """Return the widths of the columns. The widest that can be cut are cut first, then the first column."""
    widths = list(needed)
    while sum(widths) > room:
        can_be_cut = [
            at for at, column in enumerate(columns) if column.cut != "nowhere" and widths[at] > column.at_least
        ]
        if not can_be_cut:
            break
        widths[max(can_be_cut, key=lambda at: widths[at])] -= 1
    excess = max(0, sum(widths) - room)
    if excess and widths[0] > _SHORTEST_NAME:
        widths[0] = max(_SHORTEST_NAME, widths[0] - excess)
    return widths


def display_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else 1


def cut_text(text: str, width: int, at: Literal["end", "middle"] = "end") -> str:
    """Cut a text to ``width`` columns of a terminal. ``…`` marks what is left out, at the end or in the middle."""
    if display_width(text) <= width:
        return text
    behind = (width - 1) // 2 if at == "middle" else 0
    end = _begin_of(text[::-1], behind)[::-1]
    return _begin_of(text, width - 1 - display_width(end)) + "…" + end


def _begin_of(text: str, width: int) -> str:
    """Return the longest beginning of a text that takes at most ``width`` columns."""
    taken = 0
    for count, character in enumerate(text):
        taken += _width_of_character(character)
        if taken > width:
            return text[:count]
    return text

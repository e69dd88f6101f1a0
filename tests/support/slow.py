"""Marks the rows of a ``parametrize`` table, so that the fast tests run only a part of the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(tried: Collection[Any], rows: Iterable[Any], *, of_several_names: bool = False) -> list[Any]:
    """Return ``rows`` for ``pytest.mark.parametrize``. All rows that are not in ``tried`` are slow.

    ``of_several_names``: each row is a tuple with the values of several parameters.
    """
    return _mark_rows(tried, rows, [], [pytest.mark.slow], of_several_names=of_several_names)


def nightly_but(tried: Collection[Any], rows: Iterable[Any], *, of_several_names: bool = False) -> list[Any]:
    """Return ``rows`` for ``pytest.mark.parametrize``. All rows are slow, and those not in ``tried`` are nightly too.

    ``of_several_names``: each row is a tuple with the values of several parameters.
    """
    nightly = [pytest.mark.slow, pytest.mark.nightly]
    return _mark_rows(tried, rows, [pytest.mark.slow], nightly, of_several_names=of_several_names)


def _mark_rows(
    tried: Collection[Any],
    rows: Iterable[Any],
    marks: list[pytest.MarkDecorator],
    marks_of_others: list[pytest.MarkDecorator],
    *,
    of_several_names: bool,
) -> list[Any]:
    rows = list(rows)
    unknown = [row for row in tried if row not in rows]
    if unknown:
        raise ValueError(f"not in the table: {unknown}")
    return [
        pytest.param(*(row if of_several_names else [row]), marks=marks if row in tried else marks_of_others)
        for row in rows
    ]


def slow_but_each(nth: int, rows: Iterable[Any]) -> list[Any]:
    """Return ``rows`` for one parameter, of which only each ``nth`` is fast: for long tables of one behaviour."""
    return [pytest.param(row, marks=[pytest.mark.slow] if at % nth else []) for at, row in enumerate(rows)]


def product_of(rows: Iterable[Any], columns: Iterable[Any], *, fast: int = 3) -> list[Any]:
    """Return each of ``rows`` with each of ``columns``, as values of two parameters.

    All pairs but each third, or each one at the interval ``fast``, are slow. The fast pairs are spread over the table.
    """
    columns = list(columns)
    return [
        pytest.param(row, column, marks=[pytest.mark.slow] if (at + place) % fast else [])
        for at, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]

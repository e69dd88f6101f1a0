"""Tables of which the fast tests try a part."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(tried: Collection[Any], rows: Iterable[Any], *, of_several_names: bool = False) -> list[Any]:
    """``rows`` for ``pytest.mark.parametrize``, of which all that are not ``tried`` are slow.

    ``of_several_names``: each row is a tuple with the values of several parameters.
    """
    rows = list(rows)
    unknown = [row for row in tried if row not in rows]
    if unknown:
        raise ValueError(f"not in the table: {unknown}")
    return [
        row if row in tried else pytest.param(*(row if of_several_names else [row]), marks=pytest.mark.slow)
        for row in rows
    ]


def nightly_but(tried: Collection[Any], rows: Iterable[Any], *, of_several_names: bool = False) -> list[Any]:
    """``rows`` for ``pytest.mark.parametrize``, all slow. Those that are not ``tried`` are left to the nights.

    ``of_several_names``: each row is a tuple with the values of several parameters.
    """
    rows = list(rows)
    unknown = [row for row in tried if row not in rows]
    if unknown:
        raise ValueError(f"not in the table: {unknown}")
    return [
        pytest.param(
            *(row if of_several_names else [row]),
            marks=[pytest.mark.slow] if row in tried else [pytest.mark.slow, pytest.mark.nightly],
        )
        for row in rows
    ]


def product_of(rows: Iterable[Any], columns: Iterable[Any], *, tried_one_in: int = 3) -> list[Any]:
    """Each of ``rows`` with each of ``columns``, as values of two parameters.

    The fast tests try one pair in ``tried_one_in``, which are spread over the table: each row and each column is tried.
    """
    columns = list(columns)
    return [
        pytest.param(row, column, marks=[pytest.mark.slow] if (at + place) % tried_one_in else [])
        for at, row in enumerate(rows)
        for place, column in enumerate(columns)
    ]

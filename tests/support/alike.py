"""Checks that a program gets the same from a server while Aquila records, in a replay, and live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import aquila

T = TypeVar("T")


def replayed_alike(use: Callable[[], T]) -> T:
    """Call ``use`` recorded and replayed, and return what it returned; both must return the same."""
    with aquila.use_cassette("x", transport="record"):
        recorded = use()
    with aquila.use_cassette("x") as cassette:
        assert use() == recorded
        assert cassette.all_played
        assert not cassette.misses
    return recorded


def alike(use: Callable[[], T]) -> T:
    """Call ``use`` live too, and return what it returned; each must return the same."""
    with aquila.use_cassette("x", transport="live"):
        live = use()
    assert replayed_alike(use) == live
    return live

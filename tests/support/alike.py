"""Checks that a program gets the same from a server live, while Aquila records, and in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import aquila

T = TypeVar("T")


def alike(use: Callable[[], T]) -> T:
    """Call ``use`` live, recorded and replayed, and return what it returned live; each must return the same."""
    with aquila.use_cassette("x", transport="live"):
        live = use()
    with aquila.use_cassette("x", transport="record"):
        assert use() == live
    with aquila.use_cassette("x") as cassette:
        assert use() == live
        assert cassette.all_played
        assert not cassette.misses
    return live

"""Tests that missed in their last run and for which nothing is recorded yet, as pytest's cache remembers them.

Pytest itself forgets a test there as one that failed when it passes: what has passed since is not listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aquila.cassettes.storage.regular_files import read_regular

CACHE_KEY = "aquila/unrecorded"
"""Under this key of pytest's cache they are kept."""
_FAILED = "cache/lastfailed"
_LARGEST = 16 * 1024 * 1024
MOST_KEPT = 1000
"""Tests that are remembered, the latest."""


class UnrecordedTest(NamedTuple):
    """A test, by its id, that asked what no recording answers.

    ``cassettes`` are pairs of a cassette folder, relative to the root folder if it is in there, and a name. ``change``
    says in a line how the request differs from the nearest recording; it is empty if none is near.
    """

    test: str
    cassettes: tuple[tuple[str, str], ...]
    change: str


def as_plain_data(tests: Iterable[UnrecordedTest], known: object) -> dict[str, Any]:
    """Return what is to be cached: these tests, and those that were ``known`` there."""
    before: Mapping[str, Any] = known if isinstance(known, dict) else {}
    new = {each.test: {"cassettes": [list(pair) for pair in each.cassettes], "change": each.change} for each in tests}
    rows = {**{test: row for test, row in before.items() if test not in new}, **new}
    return dict(list(rows.items())[-MOST_KEPT:])


def read_unrecorded(cache: Path) -> list[UnrecordedTest]:
    """Return the tests that are cached in the folder of pytest's cache, and have not passed since."""
    failed, found = _read(cache, _FAILED), []
    for test, row in _read(cache, CACHE_KEY).items():
        if test in failed and "::" in test:
            with suppress(TypeError, ValueError, KeyError):
                pairs = tuple((str(folder), str(name)) for folder, name in row["cassettes"])
                found.append(UnrecordedTest(test, pairs, str(row["change"])))
    return found


def _read(cache: Path, key: str) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads(read_regular(cache / "v" / key, most=_LARGEST))
        return value if isinstance(value, dict) else {}
    return {}

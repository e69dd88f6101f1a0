"""The tests that missed in their last run because nothing is recorded for them. They are kept in pytest's cache.

In the same cache, pytest keeps the tests that failed last, and removes one that passes. A test that is no longer there
is not listed here either.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aquila.cassettes.storage.regular_files import read_regular

CACHE_KEY = "aquila/unrecorded"
"""The key in pytest's cache."""
_FAILED = "cache/lastfailed"  # a key of pytest's own; read from its file, because commands run without pytest
_LARGEST = 16 * 1024 * 1024  # bytes of a file of the cache that are read
MOST_KEPT = 1000
"""How many tests are remembered at most, the latest ones."""


class UnrecordedTest(NamedTuple):
    """A test, by its id, that made a request that no recording answers.

    ``cassettes`` are pairs of a cassette folder, relative to the root folder if it is in there, and a name. ``change``
    says in one line how the request differs from the nearest recording; it is "" if none is near. ``noted`` is when it
    was put into the cache, in seconds since 1970.
    """

    test: str
    cassettes: tuple[tuple[str, str], ...]
    change: str
    noted: float = 0.0


def as_plain_data(tests: Iterable[UnrecordedTest], known: object) -> dict[str, Any]:
    """Return the new content of the cache: ``tests``, and those of its ``known`` content."""
    before: Mapping[str, Any] = known if isinstance(known, dict) else {}
    noted = time.time()
    new = {
        each.test: {"cassettes": [list(pair) for pair in each.cassettes], "change": each.change, "noted": noted}
        for each in tests
    }
    rows = {**{test: row for test, row in before.items() if test not in new}, **new}
    return dict(list(rows.items())[-MOST_KEPT:])


def read_unrecorded(cache: Path) -> list[UnrecordedTest]:
    """Return the cached tests that have not passed since. ``cache`` is the folder of pytest's cache."""
    failed, found = _read(cache, _FAILED), []
    for test, row in _read(cache, CACHE_KEY).items():
        if test in failed and "::" in test:
            with suppress(TypeError, ValueError, KeyError):
                pairs = tuple((str(folder), str(name)) for folder, name in row["cassettes"])
                found.append(UnrecordedTest(test, pairs, str(row["change"]), float(row["noted"])))
    return found


def _read(cache: Path, key: str) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        value = json.loads(read_regular(cache / "v" / key, most=_LARGEST))
        return value if isinstance(value, dict) else {}
    return {}

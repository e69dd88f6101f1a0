"""A record of the tests that miss, so that a review can name those without a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from aquila.recording.reporting.unrecorded_tests import CACHE_KEY, UnrecordedTest, as_plain_data
from aquila.recording.secrets import outgoing
from aquila.shell_words import path_from
from pytest_aquila import run_life

MissedCassette = tuple[str, str, str, str]
"""The id of a test as users type it, the change, a cassette folder, and the name of a cassette."""

_LONGEST_CHANGE = 200


def remember_missing_tests(config: pytest.Config, rows: Sequence[MissedCassette]) -> None:
    """Put the tests of ``rows`` into pytest's cache, unless its plugin for failed tests is disabled."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None and config.pluginmanager.has_plugin("lfplugin"):
        cache.set(CACHE_KEY, as_plain_data(_as_tests(config, rows), cache.get(CACHE_KEY, {})))


def _as_tests(config: pytest.Config, rows: Sequence[MissedCassette]) -> Iterable[UnrecordedTest]:
    here, root = config.invocation_params.dir, run_life.root_of(config)
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for typed, change, folder, name in rows:
        file, colons, inside = typed.partition("::")
        test = f"{path_from(root, here / file)}{colons}{inside}"
        place = Path(folder)
        shown = place.relative_to(root).as_posix() if place.is_relative_to(root) else folder
        found.setdefault(test, (change, []))[1].append((shown, name))
    for test, (change, cassettes) in found.items():
        line = " ".join(outgoing.redact_outgoing(change).split())
        yield UnrecordedTest(test, tuple(cassettes), line[:_LONGEST_CHANGE])

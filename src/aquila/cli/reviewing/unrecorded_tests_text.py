"""Describes tests that missed and have no new recordings, for ``aquila cassettes review``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aquila.cassettes.storage.names import cassette_path
from aquila.cli import project
from aquila.errors import AquilaError
from aquila.plurals import count_of
from aquila.pytest_settings import find_cache
from aquila.recording.reporting.gone_tests import Sources
from aquila.recording.reporting.unrecorded_tests import UnrecordedTest, read_unrecorded
from aquila.recording.storing.pending_files import find_pending_files
from aquila.shell_words import join_words, path_from

_MOST_NAMED = 10


def find_unrecorded(here: project.Project, names: Collection[str]) -> list[UnrecordedTest]:
    """Return the tests that missed in their last run, are still there, and for which nothing was recorded since.

    ``names`` are names or patterns of cassettes: only tests that use such a cassette are returned. Empty means all.
    """
    sources = Sources(here.root)
    return [each for each in read_unrecorded(find_cache(here.root)) if _is_listed(here, each, names, sources)]


def _is_listed(here: project.Project, test: UnrecordedTest, names: Collection[str], sources: Sources) -> bool:
    module, _, inside = test.test.partition("::")
    if sources.is_gone(module, inside):
        return False  # pytest forgets it only in a run of all tests
    paths = []
    for folder, name in test.cassettes:
        root = here.root / folder
        with suppress(AquilaError, OSError):
            if find_pending_files(root, name):
                return False  # the review asks about its recordings
            paths.append(path := cassette_path(root, name))
            if path.stat().st_mtime > test.noted:
                return False  # what waited was accepted; only a run of the test can say whether something is missing
    return not names or any(here.is_named(path, name) for path in paths for name in names)


def describe_unrecorded(here: project.Project, tests: Sequence[UnrecordedTest]) -> Iterator[str]:
    """Yield lines that name the tests, and the command that records them. Without tests there is no line."""
    if not tests:
        return
    yield f"{count_of(len(tests), 'test')} without an answer, and nothing is recorded yet:"
    for each in tests[:_MOST_NAMED]:
        yield f"  {_as_typed(here, each)}" + (f"  {each.change}" if each.change else "")
    if len(tests) > _MOST_NAMED:
        yield f"  and {len(tests) - _MOST_NAMED:,} more"
    yield f"run {command_for(here, tests)}"


def command_for(here: project.Project, tests: Sequence[UnrecordedTest]) -> str:
    """Return the command that records the tests for a review."""
    if len(tests) > _MOST_NAMED:
        return "pytest --lf --aquila-record=pending"
    return f"pytest --aquila-record=pending {join_words([_as_typed(here, each) for each in tests])}"


def as_json(here: project.Project, test: UnrecordedTest) -> dict[str, Any]:
    """Return a test as a row among the questions, without number and id, because it cannot be decided."""
    return {
        "cassette": test.cassettes[0][1] if test.cassettes else None,
        "number": None,
        "id": None,
        "kind": "unrecorded",
        "tests": [test.test],
        "change": test.change,
        "command": command_for(here, [test]),
    }


def _as_typed(here: project.Project, test: UnrecordedTest) -> str:
    file, colons, inside = test.test.partition("::")
    with suppress(OSError):
        file = path_from(Path.cwd(), here.root / file)
    # The cache may come from a stranger. When the user types the command, a name must not be read as an option of
    # pytest, or as a file of options (@).
    return f"{'./' if file.startswith(('-', '@')) else ''}{file}{colons}{inside}"

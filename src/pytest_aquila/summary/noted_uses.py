"""The uses of cassettes by tests that a recording run finds, and stores for later runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.cassettes.storage.cassette_files import pending_path
from aquila.cassettes.storage.names import candidate_paths, name_on_this_system
from aquila.cassettes.storage.recorded_uses import update_uses
from aquila.errors import CassetteWriteError
from aquila.recording.secrets import outgoing
from pytest_aquila import node_ids

if TYPE_CHECKING:
    import pytest

    from aquila.recording.reporting.reports import ScopeReport


class NotedUse(NamedTuple):
    """A cassette that a test has used; empty for a test that used none but its own.

    ``is_whole`` says that the test ran to its end, so that it uses no others.
    """

    folder: str
    cassette: str
    test: str
    is_whole: bool


def uses_in(item: pytest.Item, report: ScopeReport, *, is_whole: bool) -> Iterator[NotedUse]:
    """Yield the cassettes that a scope of a test has used, except those that are named after the test or a fixture."""
    test = node_ids.id_of(item)
    own = node_ids.own_cassette_name(item, test)
    shown = outgoing.redact_label(test)
    for folder, given in report.cassettes:
        name = given.removesuffix(".yaml").replace("\\", "/")
        if name != own and "@" not in name.rpartition("/")[2]:
            yield NotedUse(folder, name, shown, is_whole)
        elif is_whole:
            yield NotedUse(folder, "", shown, is_whole)


def store_uses(noted: Iterable[NotedUse]) -> list[str]:
    """Store the uses in each cassette folder. Return a sentence for each folder in which that failed."""
    used: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    whole: dict[str, set[str]] = defaultdict(set)
    for use in noted:
        used[use.folder][use.test].update({use.cassette} if use.cassette and _is_there(use) else ())
        if use.is_whole:
            whole[use.folder].add(use.test)
    failures = []
    for folder, rows in used.items():
        try:
            update_uses(Path(folder), rows, whole=whole[folder])
        except CassetteWriteError as error:
            failures.append(str(error))
    return failures


def _is_there(use: NotedUse) -> bool:
    """Whether a cassette has a file, which may be pending. A test that sent no request may have recorded none."""
    files = candidate_paths(Path(use.folder), name_on_this_system(use.cassette))
    return any(path.exists() or pending_path(path).exists() for path in files)

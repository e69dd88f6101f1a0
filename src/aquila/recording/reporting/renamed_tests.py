"""Finds the recording of a missed request in the cassette of a test that is gone: it may have been renamed or moved.

It searches only cassettes whose test is gone as far as the sources tell, and only for the exact key of the request. A
run reads a bounded number of files for this, each once.
"""

from __future__ import annotations

import heapq
import itertools
import os
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import is_name_of_fixture, module_of_folder, name_of_file
from aquila.cassettes.storage.recorded_uses import read_uses
from aquila.errors import AquilaError
from aquila.fork_locks import renewed_in_child
from aquila.recording import runtime
from aquila.recording.reporting.gone_tests import Sources
from aquila.recording.storing.pending_files import shown_path
from aquila.typed_words import join_words, path_from, quote_word

if TYPE_CHECKING:
    from aquila.cassettes.matching.match_rules import MatchRules
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.cassettes.model import RecordedRequest
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session

MOST_LISTED = 20_000
MOST_READ = 500
MOST_BYTES = 32 * 1024 * 1024
"""How many files a run lists and reads at most, and how many bytes of them."""
MOST_NEAR = 50
"""How many files with a similar name are looked at for one miss."""
MOST_NAMED = 10
"""How many renames the summary names; each miss names its own."""


class Orphan(NamedTuple):
    """A cassette whose test is gone: its file, and its name."""

    path: Path
    name: str


class OrphansOfFolder:
    """The orphans of one cassette folder, found by the folder and by the last part of their names."""

    def __init__(self, orphans: Iterable[Orphan]) -> None:
        self.by_folder: dict[str, list[Orphan]] = defaultdict(list)
        self.by_last: dict[str, list[Orphan]] = defaultdict(list)
        self.unread = list(orphans)
        """Those that were not read yet. They are read one by one until one has the request."""
        for one in self.unread:
            folder, _, last = one.name.rpartition("/")
            self.by_folder[folder].append(one)
            self.by_last[last].append(one)

    def near(self, cassette: str) -> list[Orphan]:
        """Return those with a similar name, the most similar first."""
        folder, _, last = cassette.rpartition("/")
        found = dict.fromkeys([*self.by_last.get(last, ()), *self.by_folder.get(folder, ())])
        return heapq.nsmallest(MOST_NEAR, found, key=lambda one: _distance(one.name, cassette))


class RenamedTests:
    """The orphans of a run, by cassette folder, and the keys of their recordings."""

    def __init__(self) -> None:
        # Held while files are read, so that each is read once: any thread may miss. The run owns this object, and
        # nothing is removed before it ends, because cassettes of gone tests do not change meanwhile.
        self._lock = renewed_in_child(threading.Lock())
        self._orphans: dict[Path, OrphansOfFolder] = {}
        self._known: set[tuple[Path, MatchRules]] = set()  # files whose keys are in `_by_key`, or that cannot be read
        self._by_key: dict[tuple[MatchRules, str], list[Orphan]] = defaultdict(list)
        self._count, self._bytes = 0, 0  # of the files that were read, see MOST_READ and MOST_BYTES
        self._commands: set[str] = set()  # those that the summary names

    def find(self, root: Path, project: Path, cassette: str, session: Session, key: str) -> list[Orphan]:
        """Return the orphans in ``root`` that have a recording with ``key``, the one with the most similar name first.

        ``project`` is the folder of the project. ``cassette`` and ``session`` are those that missed.
        """
        with self._lock:
            if root not in self._orphans:
                self._orphans[root] = OrphansOfFolder(_find_orphans(root, project))
            orphans = self._orphans[root]
            for one in orphans.near(cassette):
                self._read(one, session)
            while orphans.unread and (session.rules, key) not in self._by_key and self._may_read():
                self._read(orphans.unread.pop(), session)
            found = [one for one in self._by_key.get((session.rules, key), ()) if one.path.is_relative_to(root)]
            return sorted(found, key=lambda one: _distance(one.name, cassette))

    def note_for(self, command: str) -> tuple[str, str]:
        """Return the sentence and the command with which the summary tells of a rename."""
        with self._lock:
            if len(self._commands) < MOST_NAMED:
                self._commands.add(command)
        if command in self._commands:
            return "tests miss what is recorded for tests that are gone. Were they renamed?", command
        return "more tests miss what is recorded for tests that are gone: each miss says what to type", ""

    def _may_read(self, size: int = 0) -> bool:
        return self._count < MOST_READ and self._bytes + size <= MOST_BYTES

    def _read(self, one: Orphan, session: Session) -> None:
        """Note the keys of the recordings in a file, unless it was read already or too many files were."""
        if (one.path, session.rules) in self._known:
            return
        self._known.add((one.path, session.rules))
        with suppress(OSError, AquilaError):
            size = one.path.stat().st_size
            if self._may_read(size):
                self._count, self._bytes = self._count + 1, self._bytes + size
                copies = runtime.current_run().layers.copies_folder()
                stored = cassette_files.load_cassette(one.path, copies_folder=copies)
                for key in {session.key_of(each.request) for each in stored.interactions}:
                    self._by_key[session.rules, key].append(one)


def _distance(name: str, mine: str) -> tuple[bool, bool, bool, str]:
    folder, _, last = name.rpartition("/")
    my_folder, _, my_last = mine.rpartition("/")
    return last != my_last, folder != my_folder, last.partition("-")[1:] != my_last.partition("-")[1:], name


def _find_orphans(root: Path, project: Path) -> Iterator[Orphan]:
    """Yield the cassettes whose tests are gone."""
    sources = Sources(project)
    users: dict[str, list[str]] = {}
    for cassette, test in read_uses(root):
        users.setdefault(cassette, []).append(test)
    for path in itertools.islice(cassette_files.find_cassette_files(root), MOST_LISTED):
        name = name_of_file(root, path)
        folder, _, last = name.rpartition("/")
        tests = users.get(name)
        if tests is not None:
            is_gone = all(sources.is_gone(*test.partition("::")[::2]) for test in tests)
        else:
            module = module_of_folder(folder)
            is_gone = (
                module is not None
                and _looks_like_a_module(folder, module, project)
                and (sources.is_fixture_gone if is_name_of_fixture(last) else sources.is_gone)(f"{module}.py", last)
            )
        if is_gone:
            yield Orphan(path, name)


def _looks_like_a_module(folder: str, module: str, project: Path) -> bool:
    """Whether a folder of cassettes belongs to a test module, by its name or because the module exists."""
    last = folder.rpartition("/")[2]
    return last.startswith("test_") or last.endswith("_test") or (project / f"{module}.py").is_file()


def mention_rename(
    explained: Explanation, scope: Scope, session: Session, path: Path, request: RecordedRequest
) -> Explanation:
    """Add to the explanation of a miss in which cassette of a gone test the same request is recorded, if in any.

    ``path`` is the file of the session's cassette. If it exists, nothing is added: no other file could take its place.
    """
    if path.exists():
        return explained
    root = scope.settings.cassette_root()
    project = scope.run.layers.root.absolute()
    mine = name_of_file(root, path)
    with suppress(OSError):
        found = scope.run.state_of(RenamedTests).find(root, project, mine, session, session.key_of(request))
        if found:
            elsewhere = root != scope.run.layers.resolve().cassette_root()
            command = _command_for(found[0].name, mine, project) + (
                f" --dir {quote_word(str(shown_path(root)))}" if elsewhere else ""
            )
            scope.run.notes[scope.run.state_of(RenamedTests).note_for(command)] = None
            added = session.redactor.redact_text("\n".join(["", "", *_describe(found), "", f"  {command}"]))
            return replace(explained, text=explained.text + added)
    return explained


def _describe(found: Sequence[Orphan]) -> Iterator[str]:
    more = f" (and in {len(found) - 1} more)" if len(found) > 1 else ""
    yield f"The same request is recorded in {shown_path(found[0].path)}{more}."
    yield "No test of that name is left. Was it renamed? To move its recordings:"


def _command_for(old: str, new: str, project: Path) -> str:
    """Return the command that moves the recordings of a module, a class, a test with parameters, or one cassette."""
    old_folder, _, old_last = old.rpartition("/")
    new_folder, _, new_last = new.rpartition("/")
    old_module, new_module = module_of_folder(old_folder), module_of_folder(new_folder)
    words = [old, new]
    is_named_after_tests = (
        old_module is not None
        and new_module is not None
        and _looks_like_a_module(old_folder, old_module, project)
        and (project / f"{new_module}.py").is_file()
    )
    if is_named_after_tests and "+" not in old_last + new_last:
        paths = [_path_to_type(project / f"{module}.py") for module in (old_module, new_module)]
        parts = [re.fullmatch(r"([^-@]*?)(\.?@.*|-.*|)", last) for last in (old_last, new_last)]
        tests = [part[1].replace(".", "::") for part in parts if part is not None]
        rests = {part[2] for part in parts if part is not None}  # parameters, or a fixture of the class
        if old_last == new_last and not (project / f"{old_module}.py").exists():
            words = paths
        elif all(tests) and len(rests) == 1:
            words = [f"{path}::{test}" for path, test in zip(paths, tests, strict=True)]
    return f"aquila cassettes mv {join_words(words)}"


def _path_to_type(path: Path) -> str:
    with suppress(OSError):
        return path_from(os.getcwd(), path)
    return path.as_posix()

"""Finds a missed request in other cassettes of the same folder, by its key.

A run reads a bounded number of files for each kind of search, each file once. ``renamed_tests`` searches the cassettes
of tests that are gone, ``other_tests`` those of the same test module.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_at_origin, without_origin
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import name_of_file
from aquila.errors import AquilaError
from aquila.fork_locks import renewed_in_child
from aquila.recording import runtime
from aquila.recording.storing.pending_files import shown_path

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.cassettes.model import RecordedRequest
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest

MOST_LISTED = 20_000
MOST_READ = 500
"""How many files a search lists and reads at most in a run."""
MOST_NEAR = 50
"""How many files with a similar name are looked at for one miss."""

_CONTENT = MatchRules()


class StoredCassette(NamedTuple):
    """A cassette: its file, and its name."""

    path: Path
    name: str


class SearchedFolder:
    """The searched cassettes of one cassette folder, by the folder and by the last part of their names."""

    def __init__(self, cassettes: Iterable[StoredCassette]) -> None:
        self.by_folder: dict[str, list[StoredCassette]] = defaultdict(list)
        self.by_last: dict[str, list[StoredCassette]] = defaultdict(list)
        self.unread = list(cassettes)
        """Those that were not read yet. They are read one by one until one has the request."""
        for one in self.unread:
            folder, _, last = one.name.rpartition("/")
            self.by_folder[folder].append(one)
            self.by_last[last].append(one)

    def near(self, cassette: str) -> list[StoredCassette]:
        """Return other cassettes with a similar name, the most similar first."""
        folder, _, last = cassette.rpartition("/")
        similar = dict.fromkeys([*self.by_last.get(last, ()), *self.by_folder.get(folder, ())])
        found = [one for one in similar if one.name != cassette]
        return heapq.nsmallest(MOST_NEAR, found, key=lambda one: _distance(one.name, cassette))


class _SearchKeys(NamedTuple):
    """The rules by which a session finds its requests in other cassettes, and the key of a request under them."""

    rules: MatchRules
    key_of: Callable[[RecordedRequest], str]

    @classmethod
    def of(cls, session: Session) -> _SearchKeys:
        if session.filters is None or session.filters.is_same is None:
            return cls(session.rules, session.key_of)
        # A program compares requests in pairs, and a search would compare each with all others. Equal contents are the
        # same to every program.
        return cls(_CONTENT, lambda request: key_at_origin(session.redactor.redact_request(request), _CONTENT))


class CassetteSearch:
    """The cassettes that a run searches, by cassette folder, and the keys of their recordings.

    - ``only_near``: only those with a similar name are searched, ``MOST_NEAR`` for each miss.
    - ``most_bytes``: how many bytes of files a run reads at most.
    """

    only_near = False
    most_bytes = 32 * 1024 * 1024

    def __init__(self) -> None:
        # Held while files are read, so that each is read once: any thread may miss. The run owns this object, and
        # nothing is removed before it ends, because what a replay searches does not change meanwhile.
        self._lock = renewed_in_child(threading.Lock())
        self._folders: dict[Path, SearchedFolder] = {}
        self._known: set[tuple[Path, MatchRules]] = set()  # files in `_by_content`, or that cannot be read
        # The cassettes with a recording of a content, each with the keys of these recordings, which have their origin.
        self._by_content: dict[tuple[MatchRules, str], dict[StoredCassette, set[str]]] = defaultdict(dict)
        self._count, self._bytes = 0, 0  # of the files that were read, see MOST_READ and `most_bytes`

    def choose_searched(self, stored: Iterable[StoredCassette], root: Path, project: Path) -> Iterable[StoredCassette]:
        """Return those of the cassettes in ``root`` that are searched: all. ``project`` is the project's folder."""
        return stored

    def find(
        self, root: Path, project: Path, cassette: str, session: Session, missed: MissedRequest
    ) -> list[StoredCassette]:
        """Return the cassettes in ``root`` that would answer a missed request, the most similar name first.

        ``project`` is the folder of the project. ``cassette`` and ``session`` are those that missed.
        """
        keys = _SearchKeys.of(session)
        key = keys.key_of(missed.request)
        with self._lock:
            if root not in self._folders:
                paths = itertools.islice(cassette_files.find_cassette_files(root), MOST_LISTED)
                stored = (StoredCassette(path, name_of_file(root, path)) for path in paths)
                self._folders[root] = SearchedFolder(self.choose_searched(stored, root, project))
            folder = self._folders[root]
            for one in folder.near(cassette):
                self._read(one, keys)
            while not (found := self._find_read(keys.rules, key, missed)) and self._may_go_on(folder):
                self._read(folder.unread.pop(), keys)
        found = [one for one in found if one.path.is_relative_to(root)]
        return sorted(found, key=lambda one: _distance(one.name, cassette))

    def _find_read(self, rules: MatchRules, key: str, missed: MissedRequest) -> list[StoredCassette]:
        """Return the cassettes that would answer a request, of those that were read."""
        stored = self._by_content.get((rules, without_origin(key)), {})
        own = [one for one, keys in stored.items() if key in keys]
        return own or (list(stored) if stored and missed.takes_other_origins() else [])

    def _may_go_on(self, folder: SearchedFolder) -> bool:
        return not self.only_near and bool(folder.unread) and self._may_read()

    def _may_read(self, size: int = 0) -> bool:
        return self._count < MOST_READ and self._bytes + size <= self.most_bytes

    def _read(self, one: StoredCassette, keys: _SearchKeys) -> None:
        """Note the keys of the recordings in a file, unless it was read already or too many files were."""
        if (one.path, keys.rules) in self._known:
            return
        self._known.add((one.path, keys.rules))
        with suppress(OSError, AquilaError):
            size = one.path.stat().st_size
            if self._may_read(size):
                self._count, self._bytes = self._count + 1, self._bytes + size
                copies = runtime.current_run().layers.copies_folder()
                stored = cassette_files.load_cassette(one.path, copies_folder=copies)
                for key in {keys.key_of(each.request) for each in stored.interactions}:
                    self._by_content[keys.rules, without_origin(key)].setdefault(one, set()).add(key)


def _distance(name: str, mine: str) -> tuple[bool, bool, bool, str]:
    folder, _, last = name.rpartition("/")
    my_folder, _, my_last = mine.rpartition("/")
    return last != my_last, folder != my_folder, _parameters_of(last) != _parameters_of(my_last), name


def _parameters_of(last: str) -> str:
    """Return the parameters in the last part of a cassette's name, without the hash of the whole name of the test."""
    return (last.rpartition("+")[0] or last).partition("-")[2]


def name_place(
    explained: Explanation, session: Session, found: Sequence[StoredCassette], advice: Iterable[str]
) -> Explanation:
    """Add to the explanation of a miss where its request is recorded, and lines of advice."""
    more = f" (and in {len(found) - 1} more)" if len(found) > 1 else ""
    place = f"The same request is recorded in {shown_path(found[0].path)}{more}."
    added = session.redactor.redact_text("\n".join(["", "", place, *advice]))
    return replace(explained, text=explained.text + added)

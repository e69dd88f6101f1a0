"""Which recordings a run has played, and for which requests. Only a run that verifies has this log."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage.cassette_files import load_cassette_or_empty
from aquila.cassettes.storage.names import cassette_path
from aquila.fork_locks import renewed_in_child
from aquila.process_marks import process_mark

if TYPE_CHECKING:
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.filters import Filters, ResponseFilter
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import ReplayDecision


_PLAYS = "plays-"
"""The beginning of the names of the files in which children write down what they play."""

_BYTES = "base64"


@dataclass(frozen=True, slots=True)
class PlayedRecording:
    """A recording that was played: the ``number``-th (from 0) of the cassette ``path``.

    ``tests`` played it, ``upstream`` is the setting that was in force there. ``request`` is the first one that it
    answered, as it was sent; None if another process sent it. ``is_filtered`` says that a function changes what is
    stored of answers, and ``change_response`` is that function, in its own process.
    """

    path: Path
    number: int
    tests: tuple[str, ...]
    upstream: str
    request: RecordedRequest | None
    is_filtered: bool = False
    change_response: ResponseFilter | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> tuple[Path, int]:
        """What identifies the recording."""
        return self.path, self.number


class PlayLog:
    """The recordings that were played so far, each once. Any thread may add some.

    A child process writes its plays to files: in ``folder``, or, after a fork, in the folder for messages of the run.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._process = os.getpid()
        self._played: dict[tuple[Path, int], PlayedRecording] = {}
        # The first request of each recording that an open session has played, by the ids of both objects: filters may
        # have changed the numbers of recordings. The session keeps both alive; `add_scope` removes the entries.
        self._requests: dict[tuple[int, int], RecordedRequest] = {}
        # Any thread may play; also keeps the lines of a child's file apart.
        self._lock = renewed_in_child(threading.Lock())

    def note_request(self, scope: Scope, session: Session, decision: ReplayDecision, request: RecordedRequest) -> None:
        """Remember the first request that a recording answers, as it was sent."""
        is_here = self._folder is None and self._process == os.getpid()
        if is_here and scope.is_owner:
            with self._lock:
                self._requests.setdefault((id(session), id(decision.interaction)), request)
        elif scope.filters is None:
            recordings = enumerate(session.cassette.interactions)
            number = next(number for number, each in recordings if each is decision.interaction)
            kept = None if isinstance(request, StoredRequest) else request
            path = _path_of(scope, session)
            played = PlayedRecording(path, number, (scope.name,), scope.settings.upstream, kept)
            if is_here:  # the scope of a task that another test process has enqueued
                self._add(played)
            elif (folder := self._folder or scope.child_messages.folder) is not None:
                self._write(folder, played)

    def _write(self, folder: str, played: PlayedRecording) -> None:
        row = json.dumps(_as_row(played), default=_encode_bytes)
        path = Path(folder, f"{_PLAYS}{process_mark()}")
        with self._lock, suppress(OSError), path.open("a", encoding="utf-8") as file:  # the parent's run may have ended
            file.write(row + "\n")

    def take_from_children(self, folder: str | None) -> None:
        """Add the plays of child processes. ``folder`` is the folder for their messages."""
        if folder is None:
            return
        for file in sorted(Path(folder).glob(f"{_PLAYS}*")):
            for line in file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # the child was killed when it wrote this
                    self.add_plain_data([json.loads(line, object_hook=_decode_bytes)])

    def add_scope(self, scope: Scope) -> None:
        """Add the plays of a scope. If filters are in force, raises what reading its cassettes raises."""
        settings, filters = scope.settings, scope.filters
        named = scope.name if scope.kind in ("test", "fixture") else ""
        test = named or scope.run.test_name or scope.describe()
        for session in scope.sessions.opened():
            if session.mode != "replay" or not session.plays.count:
                continue
            path = _path_of(scope, session)
            recordings = session.cassette.interactions
            numbers = range(len(recordings)) if filters is None else _numbers_in_file(path, filters)
            for number, recording in enumerate(recordings):
                request = self._requests.pop((id(session), id(recording)), None)
                if not session.plays.was_played(number) or number >= len(numbers):  # what follows is in other files
                    continue
                kept = None if isinstance(request, StoredRequest) else request  # its file goes with the test
                change = None if filters is None else filters.change_response
                self._add(
                    PlayedRecording(path, numbers[number], (test,), settings.upstream, kept, change is not None, change)
                )

    def _add(self, played: PlayedRecording) -> None:
        with self._lock:
            known = self._played.get(played.place)
            if known is not None:
                tests = tuple(dict.fromkeys((*known.tests, *played.tests)))
                played = replace(known, tests=tests, request=known.request or played.request)
            self._played[played.place] = played

    def recordings(self) -> Sequence[PlayedRecording]:
        """The recordings, in the order in which they were played first."""
        with self._lock:
            return tuple(self._played.values())

    def as_plain_data(self) -> list[list[Any]]:
        """Return it for the controller of pytest-xdist, which runs on the same machine."""
        return list(map(_as_row, self.recordings()))

    def add_plain_data(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add what ``as_plain_data`` returned in a worker."""
        for path, number, tests, upstream, sent, is_filtered in rows:
            request = None
            if sent is not None:
                method, url, headers, body = sent
                request = RecordedRequest(method, url, tuple((name, value) for name, value in headers), body)
            self._add(PlayedRecording(Path(path), number, tuple(tests), upstream, request, is_filtered))


def _path_of(scope: Scope, session: Session) -> Path:
    return cassette_path(scope.settings.cassette_root(), session.name).absolute()


def _as_row(played: PlayedRecording) -> list[Any]:
    sent = None
    if (request := played.request) is not None:
        sent = [request.method, request.url, list(map(list, request.headers)), request.body]
    return [str(played.path), played.number, list(played.tests), played.upstream, sent, played.is_filtered]


def _encode_bytes(value: bytes) -> dict[str, str]:
    return {_BYTES: base64.b64encode(value).decode()}


def _decode_bytes(value: dict[str, str]) -> bytes:
    return base64.b64decode(value[_BYTES])  # there are no other objects


def _numbers_in_file(path: Path, filters: Filters) -> list[int]:
    """Return the numbers (from 0) in a file of the recordings that filters keep. Without a file there are none."""
    return [number for number, each in enumerate(load_cassette_or_empty(path).interactions) if filters.keeps(each)]

"""Which recordings a run has played, and for which requests. Only a run that verifies has this log."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage.cassette_files import load_cassette_or_empty
from aquila.cassettes.storage.names import cassette_path
from aquila.fork_locks import renewed_in_child

if TYPE_CHECKING:
    from aquila.recording.reporting.child_messages import ChildMessages
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.filters import Filters, ResponseFilter
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import ReplayDecision


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
    """The recordings that were played so far, each once. Any thread may add some. A child process tells its parent."""

    def __init__(self) -> None:
        self._played: dict[tuple[Path, int], PlayedRecording] = {}
        # The first request of each recording that an open session has played, by the ids of both objects: filters may
        # have changed the numbers of recordings. The session keeps both alive; `add_scope` removes the entries.
        self._requests: dict[tuple[int, int], RecordedRequest] = {}
        # Any thread may play.
        self._lock = renewed_in_child(threading.Lock())

    def note_request(self, scope: Scope, session: Session, decision: ReplayDecision, request: RecordedRequest) -> None:
        """Remember the first request that a recording answers, as it was sent."""
        run = scope.run
        is_here = run.runs_tests and run.is_here
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
            else:
                scope.child_messages.tell_recording(_as_row(played))

    def take_from_children(self, told: ChildMessages) -> None:
        """Add the plays of child processes."""
        self.add_plain_data(told.take_recordings())

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
                headers = tuple((name, value) for name, value in headers)
                request = RecordedRequest(method, url, headers, base64.b64decode(body))
            self._add(PlayedRecording(Path(path), number, tuple(tests), upstream, request, is_filtered))


def _path_of(scope: Scope, session: Session) -> Path:
    return cassette_path(scope.settings.cassette_root(), session.name).absolute()


def _as_row(played: PlayedRecording) -> list[Any]:
    sent = None
    if (request := played.request) is not None:
        body = base64.b64encode(request.body).decode()
        sent = [request.method, request.url, list(map(list, request.headers)), body]
    return [str(played.path), played.number, list(played.tests), played.upstream, sent, played.is_filtered]


def _numbers_in_file(path: Path, filters: Filters) -> list[int]:
    """Return the numbers (from 0) in a file of the recordings that filters keep. Without a file there are none."""
    return [number for number, each in enumerate(load_cassette_or_empty(path).interactions) if filters.keeps(each)]

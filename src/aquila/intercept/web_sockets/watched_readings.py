"""Notes how the answers of a conversation are read, for a run that judges what programs do with faults."""

from __future__ import annotations

from dataclasses import dataclass

from aquila.cassettes.model import RecordedRequest
from aquila.recording.reporting.wire_watch import Attempt, Reading, WireWatch
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.transports.watched_answers import make_attempt


@dataclass(frozen=True, slots=True)
class _Open:
    """An attempt whose answer counts as read once ``until`` messages were read; None for an answer that is cut."""

    attempt: Attempt
    until: int | None


class Readings:
    """Notes the attempts of one conversation in ``watch``; None notes nothing. Not thread-safe."""

    def __init__(self, watch: WireWatch | None) -> None:
        self._watch = watch
        self.is_watched = watch is not None
        """Whether there is a ``watch``. If not, callers need not count messages, which may read them from disk."""
        self._open: list[_Open] = []  # attempts of this conversation; `WireWatch.end` ignores those that have ended

    def begin(self, decision: ReplayDecision, request: RecordedRequest, until: int | None) -> None:
        """Note a request and its answer, which counts as read once ``until`` messages were read; None is never."""
        if self._watch is None:
            return
        key = f"{request.method} {request.url} {hash(request.body)}"
        attempt = make_attempt(decision, key, dict(request.headers))
        self._open.append(_Open(self._watch.begin(decision, attempt), until))

    def expect(self, until: int) -> None:
        """Change after how many messages the open attempts count as read, because another recording answers."""
        self._open = [each if each.until is None else _Open(each.attempt, until) for each in self._open]

    def note_read(self, count: int) -> None:
        """Note that the program has read ``count`` messages in all."""
        for each in self._open:
            if each.until is not None and count >= each.until and self._watch is not None:
                self._watch.end(each.attempt, "read")

    def end(self, reading: Reading) -> None:
        """Note how the reading of the open attempts has ended."""
        for each in self._open:
            if self._watch is not None:
                self._watch.end(each.attempt, reading)

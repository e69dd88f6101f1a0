"""A session: one use of a cassette, with its play counts. Deciding is pure; nothing here does I/O.

The n-th request with a key gets the n-th recording of that key. Order between different keys never matters, so
threads and tasks may replay at once.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.matching.request_key import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.merging import (
    Changes,
    NewRecording,
    RecordingPlayed,
    Slot,
    drop_retried_failures,
    is_failure,
)
from aquila.errors import CassetteMiss, PlayedOut, SessionClosed
from aquila.recording.client_calls import ClientCall, OpenCalls
from aquila.recording.other_origins import OtherOrigins, move_to_origin
from aquila.recording.recording_keys import RecordingKeys

if TYPE_CHECKING:
    from aquila.cassettes.matching.miss_message import Explanation


class ReplayDecision(NamedTuple):
    """Answer with this recording. ``last`` says that no other answer to the same call follows it."""

    interaction: Interaction
    played: RecordingPlayed
    last: bool


class RecordDecision(NamedTuple):
    """Ask upstream and record the answer as the ``position``-th (from 0) of its key. ``request`` is redacted.

    ``call`` names the call of a client that asks.
    """

    request: RecordedRequest
    key: str
    position: int
    order: int
    call: str = ""


class RefuseDecision(NamedTuple):
    """No recording answers the request: raise ``error``. ``key`` is that of the request."""

    error: CassetteMiss
    key: str


Decision: TypeAlias = ReplayDecision | RecordDecision | RefuseDecision


class MissedRequest(NamedTuple):
    """A request that no recording answers.

    ``request`` is redacted. Its key has ``recording_count`` recordings, and ``earlier_count`` requests came before.
    ``compares_origin`` says that only recordings of its own scheme, host and port could have answered it.
    """

    request: RecordedRequest
    recording_count: int
    earlier_count: int
    compares_origin: bool


class RequestCounts(Protocol):
    """Counts the requests of several processes together, under labels that the caller makes up."""

    def count_request(self, label: str) -> int:
        """Count a request and return how many came before it."""

    def count_of(self, label: str) -> int:
        """Return how many requests were counted."""


class Session:
    """One use of a cassette.

    ``mode`` is ``replay``, ``missing`` (replay what is there, record the rest) or ``all`` (record everything).
    ``identify_request`` gives a redacted request its key under ``rules``, with its origin. ``takes_other_origins`` says
    whether recordings of another origin may answer a request that has none of its own. ``explain_miss`` says why one
    misses.
    ``compute_keys_later`` says that the recordings get theirs when one is needed; see ``RecordingKeys``.
    """

    def __init__(
        self,
        name: str,
        cassette: Cassette,
        *,
        mode: str,
        rules: MatchRules,
        identify_request: Callable[[RecordedRequest], str],
        redactor: Redactor,
        explain_miss: Callable[[MissedRequest], Explanation],
        takes_other_origins: Callable[[RecordedRequest], bool] = lambda request: True,
        repeat_last: bool = False,
        compute_keys_later: bool = False,
    ) -> None:
        self.name = name
        self.cassette = cassette
        self.mode = mode
        self.rules = rules
        self._identify_request = identify_request
        self._takes_other_origins = takes_other_origins
        self.redactor = redactor
        self.closed = False
        self._explain_miss = explain_miss
        self._repeat_last = repeat_last
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._observe_request: Callable[[RecordedRequest], None] | None = None
        self._keys = RecordingKeys(cassette, redactor=redactor, compute_key=self.key_of, later=compute_keys_later)
        self._other_origins = OtherOrigins(self._keys.numbers_by_key())
        self._request_counts: dict[str, int] = defaultdict(int)
        self._shared_counts: RequestCounts | None = None
        self._play_counts: list[int] = [0] * len(cassette.interactions)
        self._play_order: list[tuple[int, int]] = []
        self._new_recordings: list[NewRecording] = []
        # The calls that have got no answer yet, or a failure: these may ask again. Guarded by the lock.
        self._open_calls = OpenCalls()

    def decide(self, request: RecordedRequest) -> Decision:
        """Say what to do with a request: replay a recording, record, or refuse. Thread-safe, without I/O."""
        sent = request
        if self._observe_request is not None:
            self._observe_request(sent)
        identity = self._keys.identify(sent)
        key = None
        if self.mode != "replay" or self._keys.find(identity) is None:
            request = self.redactor.redact_request(sent)
            key = self._identify_request(request)
            self._compute_keys()
        with self._lock:
            # Not before: another thread may compute the keys meanwhile.
            key = key or self._keys.find(identity) or ""
            if self.closed:
                raise SessionClosed(
                    f"{sent.method} {self.redactor.redact_request(sent).url}: the use of cassette {self.name!r} has "
                    "ended; a thread or task outlived its test. Wait for it before the test returns."
                )
            numbers: Sequence[int] = self._keys.numbers_of(key)
            borrowed = self._find_borrowed(key, request) if not numbers and self.mode != "all" else ()
            if borrowed:
                key, call = self._choose_borrowed_key(borrowed, sent)
                numbers = self._keys.numbers_of(key)
            else:
                call = self._open_calls.find_call(key, sent) if self._open_calls else None
            if call is not None and self._has_given_up(call, numbers):
                return self._play_recording(key, call.position, numbers, sent, call)
            asked = self._count_request(key)
            if self.mode != "all":
                if asked < len(numbers):
                    return self._play_recording(key, asked, numbers, sent, call)
                if numbers and self._repeat_last:
                    return self._play_recording(key, len(numbers) - 1, numbers, sent, call)
            if self.mode != "replay":
                call = call or self._open_calls.add_call(key, sent)
                if borrowed:
                    request = self._move_to_origin_of(numbers[-1], request)
                return RecordDecision(request, key, asked, next(self._order), call.name)
        request = self.redactor.redact_request(sent)
        miss = PlayedOut if numbers else CassetteMiss
        compares_origin = not borrowed and (bool(numbers) or not self._takes_other_origins(request))
        others = len(borrowed) - len(numbers) if borrowed else 0
        explained = self._explain_miss(
            MissedRequest(request, len(numbers) + others, asked + others, compares_origin=compares_origin)
        )
        return RefuseDecision(
            miss(explained.text, difference=explained.difference, group=explained.group),
            self._identify_request(request),
        )

    def _play_recording(
        self, key: str, position: int, numbers: Sequence[int], sent: RecordedRequest, call: ClientCall | None
    ) -> ReplayDecision:
        number, order = numbers[position], next(self._order)
        self._play_counts[number] += 1
        self._play_order.append((order, number))
        interaction, last = self.cassette.interactions[number], position + 1 == len(numbers)
        if is_failure(interaction.response):
            call = call or self._open_calls.add_call(key, sent)
            call.position = position
            last = last or interaction.response.attempts > 0
        elif call is not None:
            self._open_calls.forget_call(key, call.name)
        return ReplayDecision(interaction, RecordingPlayed(key, position, order), last=last)

    def _find_borrowed(self, key: str, request: RecordedRequest) -> Sequence[Slot]:
        """The recordings of other origins that answer a request whose own has none."""
        slots = self._other_origins.find_slots(key)
        return slots if slots and self._takes_other_origins(request) else ()

    def _choose_borrowed_key(self, slots: Sequence[Slot], sent: RecordedRequest) -> tuple[str, ClientCall | None]:
        """The key that a request counts for which other origins answer, and the call that sends it again, if one does.

        It is the key of the first recording that has not been played; where all have been, of the last one.
        """
        for key in dict.fromkeys(key for key, _ in slots) if self._open_calls else ():
            call = self._open_calls.find_call(key, sent)
            if call is not None:
                return key, call
        return next((key for key, position in slots if position >= self._count_of(key)), slots[-1][0]), None

    def _move_to_origin_of(self, number: int, request: RecordedRequest) -> RecordedRequest:
        """The request as it is recorded behind a recording of another origin that has answered so far.

        With its own origin it would be the first of that, and answer the first request of the next run.
        """
        url = move_to_origin(request.url, self.cassette.interactions[number].request.url)
        return request.with_parts(url, request.headers)

    def _has_given_up(self, call: ClientCall, numbers: Sequence[int]) -> bool:
        """Whether a call that asks again had given up by then when it was recorded. It gets its last answer again.

        Recordings of other tools do not say where a call ended, so there it goes by what is left.
        """
        if not 0 <= call.position < len(numbers):
            return False
        if self.cassette.interactions[numbers[call.position]].response.attempts:
            return True
        return self.mode == "replay" and call.position + 1 == len(numbers)

    def _count_request(self, key: str) -> int:
        if self._shared_counts is not None:
            return self._shared_counts.count_request(self._count_label(key))
        asked = self._request_counts[key]
        self._request_counts[key] = asked + 1
        return asked

    def _count_of(self, key: str) -> int:
        if self._shared_counts is not None:
            return self._shared_counts.count_of(self._count_label(key))
        return self._request_counts.get(key, 0)

    def _count_label(self, key: str) -> str:
        return f"{self.mode}:{self.name}:{key}"

    def _compute_keys(self) -> None:
        """Give the recordings their own keys, and count on under these."""
        with self._lock:
            if self._keys.are_provisional:
                renamed = self._keys.compute()
                counts, self._request_counts = self._request_counts, defaultdict(int)
                for provisional, asked in counts.items():
                    self._request_counts[renamed[provisional]] += asked
                self._open_calls.rename_keys(renamed)
                self._other_origins = OtherOrigins(self._keys.numbers_by_key())

    def share_counts(self, counts: RequestCounts) -> None:
        """Count requests together with other processes from now on, and add those that were counted so far."""
        self._compute_keys()
        with self._lock:
            for key, asked in self._request_counts.items():
                for _ in range(asked):
                    counts.count_request(self._count_label(key))
            self._request_counts.clear()
            self._shared_counts = counts

    def adopt_shared_plays(self) -> None:
        """Mark as played what other processes have played, going by the shared counts."""
        if self._shared_counts is None or self.mode != "replay":
            return
        for key, numbers in self._keys.numbers_by_key().items():
            asked = self._count_of(key)
            with self._lock:
                for number in numbers[:asked]:
                    if not self._play_counts[number]:
                        self._play_counts[number] += 1
                        self._play_order.append((next(self._order), number))

    def watch_requests(self, observe: Callable[[RecordedRequest], None]) -> None:
        """Let ``observe`` see every request before it is decided about."""
        self._observe_request = observe

    def add_recording(self, recorded: NewRecording) -> None:
        """Take in a finished recording. Raises ``SessionClosed`` if the session has ended."""
        with self._lock:
            if self.closed:
                raise SessionClosed(f"cassette {self.name!r}: a recording finished after its session had ended")
            self._new_recordings.append(recorded)
            if not is_failure(recorded.interaction.response):
                self._open_calls.forget_call(recorded.key, recorded.call)

    def close(self) -> None:
        """End the session: later requests are refused."""
        with self._lock:
            self.closed = True
            self._open_calls.clear()

    @property
    def new_recordings(self) -> Sequence[NewRecording]:
        """What this session has recorded so far."""
        with self._lock:
            return tuple(self._new_recordings)

    @property
    def played_interactions(self) -> Sequence[Interaction]:
        """The recordings that were played, one entry per play, in order."""
        with self._lock:
            return tuple(self.cassette.interactions[number] for _, number in self._play_order)

    @property
    def unplayed_recordings(self) -> Sequence[tuple[int, Interaction]]:
        """The recordings that were never played, with their numbers in the cassette (from 1)."""
        with self._lock:
            counts = tuple(self._play_counts)
        return tuple((n + 1, self.cassette.interactions[n]) for n, count in enumerate(counts) if not count)

    @property
    def all_played(self) -> bool:
        """Whether every recording of the cassette was played at least once."""
        return not self.unplayed_recordings

    @property
    def play_count(self) -> int:
        """How many requests were answered from the cassette."""
        with self._lock:
            return len(self._play_order)

    def compute_changes(
        self, *, record_errors: str, drop_unused: bool, elsewhere: Sequence[NewRecording | RecordingPlayed] = ()
    ) -> Changes:
        """Return how storing this session changes its file; see ``aquila.cassettes.storage.merging``.

        ``record_errors`` is ``last`` or ``all``; with ``drop_unused`` the recordings that this session found and
        neither played nor recorded again are dropped; ``elsewhere`` is what other processes did in this session.
        """
        self._compute_keys()
        with self._lock:
            others = [row for row in elsewhere if isinstance(row, NewRecording)]
            rows = [*self._new_recordings, *others]
            recorded = drop_retried_failures(rows, record_errors=record_errors, whole=self.mode == "all")
            slots = {
                number: (key, at) for key, row in self._keys.numbers_by_key().items() for at, number in enumerate(row)
            }
            used = [RecordingPlayed(*slots[number], order) for order, number in self._play_order]
        used += [row for row in elsewhere if isinstance(row, RecordingPlayed)]
        changes = Changes(tuple(recorded), tuple(used), replace=self.mode == "all")
        return replace(changes, drop=frozenset(slots.values()) - changes.touched_slots()) if drop_unused else changes

    def key_of(self, request: RecordedRequest) -> str:
        """The key of a request under this session's rules.

        A body in a file is not redacted again: it was when it was written, and searching it would take long.
        """
        if isinstance(request, StoredRequest):
            return self._identify_request(request)
        return self._identify_request(self.redactor.redact_request(request))

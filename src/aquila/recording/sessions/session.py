"""A session: one use of a cassette, with its play counts. It decides what answers a request. Nothing here does I/O.

The n-th request with a key gets the n-th recording of that key. Order between different keys never matters, so
threads and tasks may replay at once.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.redaction.found_secrets import SecretNumbers
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.recording_slots import RecordingPlayed, Slot, is_failure
from aquila.errors import ConversationDrifted, SessionClosed
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording.sessions.client_calls import ClientCall, OpenCalls
from aquila.recording.sessions.played_recordings import PlayedRecordings
from aquila.recording.sessions.recording_keys import CountedRequests, RecordingKeys
from aquila.recording.sessions.session_decisions import (
    EVERYTHING,
    Decision,
    MissedRequest,
    PassOnDecision,
    RecordDecision,
    RefuseDecision,
    ReplayDecision,
)

if TYPE_CHECKING:
    from aquila.cassettes.matching import linked_recordings
    from aquila.cassettes.matching.linked_recordings import GivenIds
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.cassettes.storage import merging
    from aquila.cassettes.storage.merging import Changes, NewRecording
    from aquila.recording.secrets import late_secrets
    from aquila.recording.sessions import after_failures, known_keys, other_origins
    from aquila.recording.sessions import put_aside as put_asides
    from aquila.recording.sessions.filters import Filters
    from aquila.recording.sessions.other_origins import OtherOrigins
    from aquila.recording.sessions.recording_keys import RequestCounts
    from aquila.recording.storing import recording_age
    from aquila.scripting.shared_script import AnswersRequests
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.matching: linked_recordings",
        "aquila.cassettes.storage: merging",
        "aquila.recording.secrets: late_secrets",
        "aquila.recording.sessions: after_failures, known_keys, other_origins, put_aside as put_asides",
        "aquila.recording.storing: recording_age",
    )


_IN_ANOTHER_FILE = -1  # the position of a played recording of another file, which has no slot in the cassette
_UNRECORDED = "unrecorded"
"""The key of stored requests that filters leave out."""


def _explain_nothing(missed: MissedRequest) -> Explanation:
    """Take the place of ``explain_miss`` in a session that has ended. Raises ``SessionClosed``."""
    raise SessionClosed(f"{missed.request.method} {missed.request.url}: the session has ended")


class Session:
    """One use of a cassette.

    ``mode`` is ``replay``, ``missing`` (replay what is there, record the rest), ``all`` (record everything), or
    ``pending`` (record everything, to be kept beside the cassette).

    ``cassette`` is as it is stored. ``identify_request`` returns the key of a redacted request under ``rules``, with
    its origin. ``takes_other_origins`` says whether recordings of another origin may answer a request that has none of
    its own. ``explain_miss`` says why a request misses. ``repeat`` says what follows the last recording of a request:
    ``error``, ``last`` (again), or ``first`` (which answers every time). With ``compute_keys_later``, the keys of the
    recordings are computed when one is needed.

    Three parameters are for the mode ``missing``. ``find_drift`` returns why a request must not be sent: it continues a
    conversation that was replayed. ``put_aside`` are keys whose recordings are to be made anew; the session goes on as
    if there were none. The same holds for the recordings of a request if one of them ``is_outdated``.
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
        repeat: str = "error",
        compute_keys_later: bool = False,
        find_drift: Callable[[Session, MissedRequest], ConversationDrifted | None] | None = None,
        put_aside: frozenset[str] = frozenset(),
        is_outdated: Callable[[Interaction], bool] | None = None,
        filters: Filters | None = None,
    ) -> None:
        self.name = name
        self.mode = mode
        self.script: AnswersRequests | None = None  # what answers in the place of the cassette
        self.records_everything = mode in EVERYTHING
        self.rules = rules
        self._identify_request = identify_request
        self._takes_other_origins = takes_other_origins
        self.redactor = redactor
        self._secret_count = redactor.count_learned()
        self.closed = False
        self._put_aside = put_asides.PutAside(put_aside, rules, redactor) if put_aside else None
        self.filters = filters
        self.needs_whole_answers = filters is not None and filters.need_whole_answers
        """Whether what is stored of an answer depends on all of it."""
        if filters is not None:
            cassette = filters.filter_recordings(cassette)
        if self._put_aside is not None:
            cassette = self._put_aside.take_from(cassette, self.key_of)
        self._outdated_slots: frozenset[Slot] = frozenset()
        if is_outdated is not None:
            cassette, self._outdated_slots = recording_age.leave_out_outdated(cassette, self.key_of, is_outdated)
        drifted = self._put_aside.replaced_keys() if self._put_aside is not None else frozenset()
        self.renewed = drifted.union(key for key, _ in self._outdated_slots)
        """The keys whose recordings are made anew: one of them is old, or their conversation has drifted."""
        self._own_count = len(cassette.interactions)
        """How many recordings are those of the cassette. The others come from files that nothing is stored in."""
        if filters is not None and filters.load_further is not None:
            further = filters.filter_recordings(filters.load_further())
            cassette = Cassette((*cassette.interactions, *further.interactions))
        self.cassette = cassette
        self._failures = frozenset(n for n, one in enumerate(cassette.interactions) if is_failure(one.response))
        self._given_ids: GivenIds | None = None
        self._find_drift = find_drift
        self._explain_miss = explain_miss
        self._repeat = repeat
        # Of keys, counts, plays, calls and new recordings; a callback runs only under `deciding`, which a thread holds
        # that meets a fault. Re-entrant: the garbage collector may end an answer, and so add a recording, meanwhile.
        self._lock = self.deciding = renewed_in_child(threading.RLock())
        self._order = itertools.count()  # numbers the requests of this session, played or recorded
        self.find_stand_in: Callable[[MissedRequest], int | None] | None = None
        """Returns the number (from 0) of the recording to replay where none answers, in a run that looks for drift."""
        self.observers: list[Callable[[RecordedRequest, Interaction], None]] = []
        """Are called with each request that a recording answers, and with that recording."""
        plain = rules if filters is None else None
        self._keys = RecordingKeys(
            cassette, redactor, self.key_of, later=compute_keys_later, rules=plain, records=mode != "replay"
        )
        # Made when a request has no recording of its own origin, and anew when the keys have changed.
        self._other_origins: OtherOrigins | None = None
        self._may_borrow = bool(cassette.interactions) and not self.records_everything
        self._counts = CountedRequests(f"{mode}:{name}:")
        self.plays = PlayedRecordings(cassette.interactions, self._lock)
        self._new_recordings: list[NewRecording] = []
        # Calls without an answer so far, or with a failure: they may send their request again. `close` clears them.
        self._open_calls = OpenCalls()
        retried = self._failures and {n for n in self._failures if cassette.interactions[n].response.retried}
        chained = retried and repeat != "first"
        self._chains = after_failures.Chains(self._keys, self._counts, self._open_calls, retried) if chained else None

    @property
    def may_retry(self) -> bool:
        """Whether a program may send a request again, after an answer that is a failure."""
        return self.mode != "replay" or bool(self._failures)

    def decide(self, request: RecordedRequest) -> Decision:
        """Say what to do with a request: replay a recording, record, refuse, or pass it on. Thread-safe.

        Without I/O, but for what ``find_drift`` asks other processes before a request is recorded.
        """
        if self.filters is not None:
            filtered = self.filter_request(request)
            if filtered is None:
                return PassOnDecision()
            request = filtered
        decision = self._decide(request)
        if isinstance(decision, ReplayDecision):
            for observe in self.observers:
                observe(request, decision.interaction)
        return decision

    def _decide(self, sent: RecordedRequest) -> ReplayDecision | RecordDecision | RefuseDecision:
        request = sent
        secrets = SecretNumbers() if self.mode != "replay" else None
        identity = self._keys.identify(sent) if secrets is None else None
        key, recorded = None, None
        if identity is None or self._keys.find(identity) is None:
            request = self.redactor.redact_request(sent, secrets)
            key = self._identify_request(request)
            if self._keys.computed_with != self.redactor.later_count:
                self._compute_keys()
        with self._lock:
            # Looked up again under the lock: another thread may have replaced provisional keys since `find` above.
            key = key or (self._keys.find(identity) if identity is not None else None) or ""
            if self.closed:
                raise SessionClosed(
                    f"{sent.method} {self.redactor.redact_request(sent).url}: the use of cassette {self.name!r} has "
                    "ended; a thread or task outlived its test. Wait for it before the test returns."
                )
            numbers: Sequence[int] = self._keys.numbers_of(key)
            if not numbers and self._may_borrow:
                key = self._keys.find_beside_secrets(sent, request, self.key_of) or key
                numbers = self._keys.numbers_of(key)
            borrowed = self._find_borrowed(key, request) if not numbers and self._may_borrow else ()
            if borrowed:
                key, call = other_origins.choose_key(borrowed, sent, self._open_calls, self._counts)
                numbers = self._keys.numbers_of(key)
            else:
                call = self._open_calls.find_call(key, sent) if self._open_calls.by_key else None
            if call is not None and after_failures.has_given_up(call, numbers, self.cassette, self.mode):
                return self._play_recording(key, call.position, numbers, sent, call)
            asked = self._counts.count_request(key)
            if not self.records_everything:
                position = 0 if self._repeat == "first" else asked
                position = self._chains.choose_position(key, asked, call) if self._chains else position
                if position < len(numbers):
                    return self._play_recording(key, position, numbers, sent, call)
                if numbers and self._repeat == "last":
                    return self._play_recording(key, len(numbers) - 1, numbers, sent, call)
            if secrets is not None:
                call = call or self._open_calls.add_call(key, sent)
                if borrowed:
                    # Stored under its own origin, it would be the first recording there, and the next run would replay
                    # it for the first request.
                    url = other_origins.move_to_origin(request.url, self.cassette.interactions[numbers[-1]].request.url)
                    request = request.with_parts(url, request.headers)
                further = self._further_count(numbers) if numbers and not self.records_everything else 0
                recorded = RecordDecision(request, secrets, key, asked - further, next(self._order), call.name)
            # Taken under the lock: `close` drops them.
            explain_miss, find_drift, find_stand_in = self._explain_miss, self._find_drift, self.find_stand_in
        others = len(borrowed) - len(numbers) if borrowed else 0
        missed = MissedRequest(
            sent,
            len(numbers) + others,
            asked + others,
            lambda: bool(borrowed) or (not numbers and self._takes_other_origins(request)),
        )
        if recorded is not None:
            drifted = None if find_drift is None else find_drift(self, missed)
            return recorded if drifted is None else RefuseDecision(lambda: drifted, key)
        if find_stand_in is not None:
            nearest = find_stand_in(missed)
            if numbers or nearest is not None:
                return self._play_stand_in(numbers[-1] if numbers else nearest, asked, sent)
        request = self.redactor.redact_request(sent)
        return RefuseDecision(functools.partial(missed.make_error, explain_miss), self._identify_request(request))

    def _play_recording(
        self, key: str, position: int, numbers: Sequence[int], sent: RecordedRequest, call: ClientCall | None
    ) -> ReplayDecision:
        number, order = numbers[position], next(self._order)
        self.plays.counts[number] += 1
        self.plays.order.append((order, number))
        interaction, last = self.cassette.interactions[number], position + 1 == len(numbers)
        if number in self._failures:
            call = call or self._open_calls.add_call(key, sent)
            call.position, call.has_failed = position, True
            last = last or interaction.response.attempts > 0
        elif call is not None:
            self._open_calls.forget_call(key, call.name)
        if number >= self._own_count:
            position = _IN_ANOTHER_FILE
        return ReplayDecision(interaction, RecordingPlayed(key, position, order), last=last)

    def _play_stand_in(self, like: int | None, asked: int, sent: RecordedRequest) -> ReplayDecision:
        """Play a recording of a request that ``sent`` only resembles: of the key of ``like``, the n-th for the n-th."""
        with self._lock:
            key, numbers = next(row for row in self._keys.numbers_by_key().items() if like in row[1])
            position = 0 if self._repeat == "first" else min(asked, len(numbers) - 1)
            return self._play_recording(key, position, numbers, sent, None)

    def filter_request(self, request: RecordedRequest) -> RecordedRequest | None:
        """Return a request as it is compared and stored; None if a filter leaves it out.

        Its credentials are found before that: the rest of the request, or its answer, may repeat what a filter removes.
        """
        if self.filters is None:
            return request
        credentials = self.redactor.learn_credentials(request)
        filtered = self.filters.filter_request(request)
        if filtered is not None and self.mode == "replay":
            self._compute_keys()
            if self.numbers_of(self.key_of(filtered)):  # as is usual; vcrpy also stores what would be redacted here
                return filtered
        return None if filtered is None else self.redactor.redact_filtered(filtered, credentials)

    def _further_count(self, numbers: Sequence[int]) -> int:
        """Return how many of these recordings come from other files."""
        return sum(number >= self._own_count for number in numbers)

    def _find_borrowed(self, key: str, request: RecordedRequest) -> Sequence[Slot]:
        """Return the recordings of other origins that answer a request whose own origin has none."""
        if self._other_origins is None:
            self._other_origins = other_origins.OtherOrigins(self._keys.numbers_by_key())
        slots = self._other_origins.find_slots(key)
        return slots if slots and self._takes_other_origins(request) else ()

    def _compute_keys(self) -> None:
        """Compute the keys of the recordings with the secrets known now, and move counts and calls to these keys."""
        secret_count = self.redactor.count_later()
        with self._lock:
            if self._keys.computed_with != secret_count:
                renamed = self._keys.compute(self.key_of)
                self._counts.rename_keys(renamed)
                self._open_calls.rename_keys(renamed)
                self._other_origins = None

    def share_counts(self, counts: RequestCounts) -> None:
        """Count requests together with other processes from now on, and add those that were counted so far."""
        self._compute_keys()
        with self._lock:
            self._counts.share(counts)

    def adopt_shared_plays(self) -> None:
        """Mark as played what other processes have played, by the shared counts."""
        shared = self._counts.are_shared and self.mode == "replay"
        for key, numbers in self._keys.numbers_by_key().items() if shared else ():
            count = self._counts.count_of(key)
            played = numbers[: min(count, 1) if self._repeat == "first" else count]
            self.plays.add_plays_elsewhere(self._chains.find_answered(key, played) if self._chains else played)

    def add_recording(self, recorded: NewRecording, *, replaces: bool = False) -> None:
        """Take in a finished recording. It ``replaces`` that of the same request, if there is one.

        Raises ``SessionClosed`` if the session has ended.
        """
        is_failed = is_failure(recorded.interaction.response)
        with self._lock:
            if self.closed:
                raise SessionClosed(f"cassette {self.name!r}: a recording finished after its session had ended")
            if replaces:
                self._new_recordings = [row for row in self._new_recordings if row.order != recorded.order]
            self._new_recordings.append(recorded)
            end_attempt = self._open_calls.note_failure if is_failed else self._open_calls.forget_call
            end_attempt(recorded.key, recorded.call)

    def close(self) -> None:
        """End the session: later requests are refused."""
        with self._lock:
            self.closed = True
            self._open_calls.clear()
            # What these refer to refers to the session. Without them it goes as soon as nothing uses it any more, and
            # does not wait for the garbage collector.
            self._explain_miss, self._find_drift, self.find_stand_in = _explain_nothing, None, None

    @property
    def new_recordings(self) -> Sequence[NewRecording]:
        """What this session has recorded so far."""
        with self._lock:
            return tuple(self._new_recordings)

    def find_recordings(self, request: RecordedRequest) -> Mapping[int, Slot]:
        """Return the recordings that answer a request, played or not, in order: the slot of each by number (from 0)."""
        filtered = self.filter_request(request)
        if filtered is None:
            return {}
        self._compute_keys()
        key = self.key_of(filtered)
        with self._lock:
            own = [(key, at) for at in range(len(self._keys.numbers_of(key)))]
            return {self._keys.numbers_of(of)[at]: (of, at) for of, at in own or self._find_borrowed(key, filtered)}

    def find_next(self, request: RecordedRequest) -> int | None:
        """Return the number (from 0) of the recording that a request would get, without playing it; None if none."""
        found = {} if self.records_everything else self.find_recordings(request)
        if self._repeat == "first":
            return next(iter(found), None)
        left = self._counts.find_left(found)
        if left is None or self._chains is None:
            return [*found][-1] if left is None and found and self._repeat == "last" else left
        with self._lock:
            return self._chains.find_next(*found[left])

    def numbers_of(self, key: str) -> Sequence[int]:
        """Return the numbers (from 0) of the recordings that have a key."""
        with self._lock:
            return tuple(self._keys.numbers_of(key))

    def compute_changes(
        self, *, record_errors: str, drop_unused: bool, elsewhere: Sequence[NewRecording | RecordingPlayed] = ()
    ) -> Changes:
        """Return how storing this session changes its file; see ``aquila.cassettes.storage.merging``.

        ``record_errors`` is ``last`` or ``all``; with ``drop_unused`` the recordings that this session found and
        neither played nor recorded again are dropped; ``elsewhere`` is what other processes did in this session.
        """
        self._compute_keys()
        with self._lock:
            others = [row for row in elsewhere if isinstance(row, merging.NewRecording)]
            rows, known = self._new_recordings, self._secret_count
            if others or (rows and self.redactor.count_learned(examine=True) != known):
                rows = late_secrets.redact_rows(
                    rows, others, self.redactor, known, self._key_of_stored, self._count_stored
                )
            recorded = merging.drop_retried_failures(rows, record_errors=record_errors, whole=self.records_everything)
            slots = {
                number: (key, at)
                for key, row in self._keys.numbers_by_key().items()
                for at, number in enumerate(row)
                if number < self._own_count
            }
            used = [RecordingPlayed(*slots[number], order) for order, number in self.plays.order if number in slots]
        used += [row for row in elsewhere if isinstance(row, RecordingPlayed)]
        key_of_stored = None if self.filters is None else self._key_of_stored
        changes = merging.Changes(
            tuple(recorded),
            tuple(used),
            replace=self.records_everything,
            key_of_stored=key_of_stored,
            for_review=self.mode == "pending",
        )
        if self._put_aside is not None:
            changes = self._put_aside.add_to(changes, is_owned=drop_unused)
        found = self._outdated_slots.union(slots.values())
        return replace(changes, drop=found - changes.touched_slots()) if drop_unused else changes

    def _count_stored(self, key: str) -> int:
        """Return how many recordings of the cassette itself come before a new one with this key."""
        return 0 if self.records_everything else sum(n < self._own_count for n in self._keys.numbers_of(key))

    @property
    def given_ids(self) -> GivenIds:
        """Which of its recordings give ids, and which name them."""
        if self._given_ids is None:
            self._compute_keys()
            keys = {number: key for key, numbers in self._keys.numbers_by_key().items() for number in numbers}
            keys_in_order = [keys[number] for number in sorted(keys)]
            self._given_ids = linked_recordings.GivenIds(self.cassette.interactions, keys_in_order)
        return self._given_ids

    def _key_of_stored(self, request: RecordedRequest) -> str:
        """Return the key of a request as it is stored. All requests that filters leave out share one key."""
        filtered = request if self.filters is None else self.filters.filter_stored_request(request)
        return _UNRECORDED if filtered is None else known_keys.despite_lost_bodies(self.key_of)(filtered)

    def key_of(self, request: RecordedRequest) -> str:
        """Return the key of a filtered request under this session's rules.

        A body in a file is not redacted again: it was when it was written, and searching it would take long.
        """
        if isinstance(request, StoredRequest):
            return self._identify_request(request)
        return self._identify_request(self.redactor.redact_request(request))

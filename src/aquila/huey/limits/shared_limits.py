"""Limits that all workers of a queue obey: ``counting`` on the queue's shared state.

Two libraries were considered. limits 5.8 counts in Redis, Memcached, MongoDB and memory; throttled-py 3.5 counts in
Redis and memory. Neither supports SQLite or Postgres, slots that become free when their holder is killed, tokens that
are corrected later, or turns. All of these would have been written beside the library, so Aquila counts by itself, in
one way for every storage.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from aquila.huey.limits import counting
from aquila.huey.limits.counting import AdmissionRequest, Counts, LimitTurn
from aquila.huey.limits.rules import LimitRule
from aquila.huey.state import SharedState

logger = logging.getLogger("huey.aquila")

TABLE = "limits"


@dataclass(frozen=True, slots=True)
class Counter:
    """An entry of the shared state in which rules are counted.

    The rules of a queue have one entry for each provider; the rules of a task have entries of their own. ``key`` is
    the name of the entry.
    """

    key: str
    rules: tuple[LimitRule, ...]


def counters_of(rules: Iterable[LimitRule], owner: str = "") -> list[Counter]:
    """Return the counters of rules. ``owner`` is the name of the task that the rules belong to; empty for a queue."""
    ordered = sorted(rules, key=lambda rule: rule.provider)
    return [
        Counter(f"{provider}@{owner}" if owner else provider, tuple(group))
        for provider, group in groupby(ordered, key=lambda rule: rule.provider)
    ]


class HeldCapacity:
    """What an admitted request holds of limits, until it is settled or taken back."""

    def __init__(self, state: SharedState, lease: float) -> None:
        self._state = state
        self._lease = lease
        # Filled by `acquire` before the thread of `begin` starts, and only read from then on.
        self._held: list[tuple[Counter, AdmissionRequest, float]] = []
        # Set once, by `settle` or `take_back`. It ends the thread that renews the slots.
        self._ended = threading.Event()

    def add(self, counter: Counter, asking: AdmissionRequest, admitted: float) -> None:
        """Note what the request holds of a counter, and when that was counted, in seconds since the epoch."""
        self._held.append((counter, asking, admitted))

    def begin(self) -> None:
        """Renew the slots from now on, for as long as the request takes: it is about to be sent."""
        # A daemon, so that a request which is never settled does not keep the process from ending.
        if any(rule.unit == "at once" for counter, _, _ in self._held for rule in counter.rules):
            threading.Thread(target=self._renew_slots, name="aquila-limits", daemon=True).start()

    def settle(self, tokens: int | None, answer: int | None) -> None:
        """Free the slots, and correct the counted tokens.

        ``tokens`` is how many tokens the request took in all and ``answer`` how many of them are the answer's; None
        where that is not known.
        """
        self._ended.set()

        def change(counts: Counts, counter: Counter, asking: AdmissionRequest, admitted: float) -> None:
            now = self._state.now() + asking.ahead
            counting.settle_request(counts, counter.rules, asking, admitted, now, tokens)
            if answer is not None:
                counting.note_answer(counts, answer)

        self._change_all(change)

    def take_back(self) -> None:
        """Free everything that the request holds: it is not sent."""
        self._ended.set()
        self._change_all(
            lambda counts, counter, asking, admitted: counting.take_back(counts, counter.rules, asking, admitted)
        )

    def _renew_slots(self) -> None:
        def change(counts: Counts, counter: Counter, asking: AdmissionRequest, admitted: float) -> None:
            for rule in counter.rules:
                if rule.unit == "at once":
                    until = self._state.now() + asking.ahead + self._lease
                    counts.leases.setdefault(rule.id, {})[asking.name] = until

        # Three times in a lease, so that one renewal may fail without another worker getting the slot.
        while not self._ended.wait(self._lease / 3):
            try:
                # `_ended` is checked again within each change: a slot that was freed meanwhile must not be taken again.
                self._change_all(change, unless=self._ended)
            except Exception:  # The storage is away: tried again at the next round.
                logger.warning("the slots of a request could not be renewed, and end soon", exc_info=True)

    def _change_all(
        self,
        change: Callable[[Counts, Counter, AdmissionRequest, float], None],
        unless: threading.Event | None = None,
    ) -> None:
        for counter, asking, admitted in self._held:

            def changed(
                data: bytes | None,
                counter: Counter = counter,
                asking: AdmissionRequest = asking,
                admitted: float = admitted,
            ) -> bytes | None:
                if unless is not None and unless.is_set():
                    return None
                counts = Counts.read(data)
                change(counts, counter, asking, admitted)
                return counts.write()

            self._state.update(TABLE, counter.key, changed, order=admitted)


def acquire(
    state: SharedState, counters: Iterable[Counter], wanted: AdmissionRequest, now: float
) -> HeldCapacity | LimitTurn:
    """Count a request by all counters and return what it holds, or count it by none and return its turn.

    ``now`` is the time by the clock of the storage plus ``wanted.ahead``, in seconds since the epoch. Slots are renewed
    while the request runs, so only those of a killed worker run out.
    """
    held = HeldCapacity(state, wanted.lease)
    # The storage calls `admit` again where another process was faster. The last call is the one that was stored. For
    # each: the request, the moment with which it counts, and None where it was let in.
    asked: list[tuple[AdmissionRequest, float, LimitTurn | None]] = []
    # Each counter is changed atomically, but not all of them together. Where one has no room, the storage fails or the
    # task is interrupted, those that had room are changed back.
    with contextlib.ExitStack() as undo:
        undo.callback(held.take_back)
        for counter in counters:

            def admit(data: bytes | None, counter: Counter = counter) -> bytes:
                counts = Counts.read(data)
                # Time has passed since the first try. A request that counted as earlier than it was let in would free
                # its room too early, and another request would be let in within its period.
                at = state.now() + wanted.ahead if asked else now
                asking = wanted.with_answer(counts)
                asked.append((asking, at, counting.admit_request(counts, counter.rules, asking, at)))
                return counts.write()

            state.update(TABLE, counter.key, admit, order=now)
            asking, at, turn = asked[-1]
            if turn is not None:
                return turn
            held.add(counter, asking, at)
        undo.pop_all()
    return held

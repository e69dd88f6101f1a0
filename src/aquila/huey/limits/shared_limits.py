"""Limits that all workers of a queue obey: ``counting`` on the queue's shared state.

Libraries were compared: limits 5.8 counts in Redis, Memcached, MongoDB and memory, throttled-py 3.5 in Redis and
memory. Neither knows SQLite or Postgres, slots that are free again when their holder is killed, tokens that are
corrected when they are known, or turns. All of that would have stood beside them, so one small count serves every
storage.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from aquila.huey.limits import counting
from aquila.huey.limits.counting import Asking, Counts, LimitTurn
from aquila.huey.limits.rules import LimitRule
from aquila.huey.state import SharedState

logger = logging.getLogger("huey.aquila")

TABLE = "limits"


@dataclass(frozen=True, slots=True)
class Counter:
    """Where rules are counted: those of a queue in one place for each provider, those of a task in one of its own."""

    key: str
    rules: tuple[LimitRule, ...]


def counters_of(rules: Iterable[LimitRule], owner: str = "") -> list[Counter]:
    """Return where rules are counted. ``owner`` is the name of the task that they belong to, if they do."""
    ordered = sorted(rules, key=lambda rule: rule.provider)
    return [
        Counter(f"{provider}@{owner}" if owner else provider, tuple(group))
        for provider, group in groupby(ordered, key=lambda rule: rule.provider)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request needs: ``read`` tokens are in it, ``longest_answer`` may come back, if that is known.

    It comes back for a turn within ``patience`` seconds, and for no later one. It is counted ``ahead`` seconds later
    than the clock of the storage says.
    """

    name: str
    read: int
    longest_answer: int | None = None
    has_turn: bool = False
    patience: float = math.inf
    ahead: float = 0.0

    def asking(self, counts: Counts, now: float, lease: float) -> Asking:
        """Return what is asked for. An answer is taken to be as long as those before it, if nothing bounds it."""
        answer = round(counts.tokens) if self.longest_answer is None else self.longest_answer
        return Asking(self.read + answer, self.name, now + lease, self.has_turn, now + self.patience, self.ahead)


class Held:
    """What an admitted request holds of limits, until it is settled. Slots are renewed while it takes long."""

    def __init__(self, state: SharedState, admitted: float, lease: float) -> None:
        self._state = state
        self._admitted = admitted
        self._lease = lease
        self._held: list[tuple[Counter, Asking]] = []
        self._ended = threading.Event()

    def add(self, counter: Counter, asking: Asking) -> None:
        """Note what is held of a counter."""
        self._held.append((counter, asking))

    def begin(self) -> None:
        """The request is about to be sent."""
        if any(rule.unit == "at once" for counter, _ in self._held for rule in counter.rules):
            threading.Thread(target=self._renew_slots, name="aquila-limits", daemon=True).start()

    def settle(self, tokens: int | None, answer: int | None) -> None:
        """Free slots, and correct the tokens by those that it took, where they are known."""
        self._ended.set()

        def change(counts: Counts, counter: Counter, asking: Asking) -> None:
            now = self._state.now() + asking.ahead
            counting.settle(counts, counter.rules, asking, self._admitted, now, tokens)
            if answer is not None:
                counting.note_answer(counts, answer)

        self._change_all(change)

    def take_back(self) -> None:
        """Hold nothing any more: the request is not sent."""
        self._ended.set()
        self._change_all(
            lambda counts, counter, asking: counting.take_back(counts, counter.rules, asking, self._admitted)
        )

    def _renew_slots(self) -> None:
        def change(counts: Counts, counter: Counter, asking: Asking) -> None:
            for rule in counter.rules:
                if rule.unit == "at once":
                    counts.leases.setdefault(rule.id, {})[asking.lease] = self._state.now() + asking.ahead + self._lease

        while not self._ended.wait(self._lease / 3):
            try:
                self._change_all(change, unless=self._ended)
            except Exception:
                logger.warning("the slots of a request could not be renewed, and end soon", exc_info=True)

    def _change_all(self, change: object, unless: threading.Event | None = None) -> None:
        for counter, asking in self._held:

            def changed(data: bytes | None, counter: Counter = counter, asking: Asking = asking) -> bytes | None:
                if unless is not None and unless.is_set():
                    return None
                counts = Counts.read(data)
                change(counts, counter, asking)  # type: ignore[operator]
                return counts.write()

            self._state.update(TABLE, counter.key, changed, order=self._admitted)


def acquire(state: SharedState, counters: Iterable[Counter], need: Need, lease: float, now: float) -> Held | LimitTurn:
    """Count a request by all its limits, or by none: then return its turn.

    ``now`` is the time by the clock of the storage, or as much later as the need says, and ``lease`` how long slots
    last, in seconds. They are renewed while the request runs, so that only those of a killed worker end by themselves.
    """
    held = Held(state, now, lease)
    for counter in counters:
        outcome: list[tuple[Asking, LimitTurn | None]] = []

        def let_in(data: bytes | None, counter: Counter = counter, outcome: list[object] = outcome) -> bytes:  # type: ignore[assignment]
            counts = Counts.read(data)
            asking = need.asking(counts, now, lease)
            outcome.append((asking, counting.let_in(counts, counter.rules, asking, now)))
            return counts.write()

        state.update(TABLE, counter.key, let_in, order=now)
        asking, turn = outcome[-1]
        if turn is not None:
            held.take_back()
            return turn
        held.add(counter, asking)
    return held

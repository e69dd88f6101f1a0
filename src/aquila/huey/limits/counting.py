"""Decides whether a request fits into limits: pure functions of the counts, without a storage and without a clock.

A period is divided into sixty slices of time, and each slice has the amount that was counted in it. A request fits if
the slices that any period up to now may touch leave room for it. So no period has more than the limit, wherever the
period begins. A slice counts for a moment longer than that. A request is sent a little later than it is counted,
because the storage and the connection take time, and how much differs from request to request.

A request that does not fit gets a turn: a moment at which to come back. Turns are handed out one after the other, as
far apart as the limit lets requests through, and while some are open no newcomer is let in before them. So no request
starves, and waiting requests do not all come back at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aquila.huey.limits.rules import LimitRule, period_of

SLICES = 60
_LATENESS, _LATENESS_PART = 0.25, 20
"""Seconds for which a slice counts longer, but no more than the period divided by ``_LATENESS_PART``."""
_SHORTEST_TURN, _TURN, _EARLY = 0.05, 0.25, 8
"""How far apart turns are for a limit of requests at once. It is the guessed time after which a slot is free again, but
at least ``_SHORTEST_TURN`` seconds. It is also no more than ``_TURN`` seconds, or than one ``_EARLY``-th of the guess
if that is longer: a slot that stays free because all turns are late is worse than a turn that comes too early."""
_SLACK = 5.0
"""Seconds by which the clocks of workers may differ, where the storage has no clock of its own. Few, because requests
may be kept out for that long after somebody has put the clock back."""
_AGAIN = "|again"
"""The end of the name of a second line, for requests that had a turn and still were not let in."""
_WEIGHT = 0.2  # The weight of the newest value in a running mean.


@dataclass(slots=True)
class Counts:
    """The counts of one provider.

    - ``amounts``: requests or tokens, by the id of a rule and the number of a slice.
    - ``leases``: until when each slot is taken, by the id of a rule and the name of the request that has it.
    - ``turns``: the next free turn, by the id of a rule.
    - ``seconds``, ``tokens``: how long requests take and how many tokens answers have, as running means.

    All times are in seconds since the epoch, by the clock of the storage. A record lives for one change of the stored
    bytes. The caller that reads it owns it, and the storage compares the bytes to decide whether the change holds.
    """

    amounts: dict[str, dict[int, int]] = field(default_factory=dict)
    leases: dict[str, dict[str, float]] = field(default_factory=dict)
    turns: dict[str, float] = field(default_factory=dict)
    # These two numbers are first guesses, for a provider that has not answered yet.
    seconds: float = 4.0
    tokens: float = 256.0
    at: float = 0.0
    """When the counts last changed. A time in the future shows that somebody has put the clock back."""

    @classmethod
    def read(cls, data: bytes | None) -> Counts:
        """Return the stored counts; empty ones where nothing is stored yet, or what a later version has written."""
        try:
            found: Any = json.loads(data or b"{}")
            amounts = {rule: {int(at): amount for at, amount in each.items()} for rule, each in found["a"].items()}
            return cls(amounts, found["l"], found["t"], found["s"], found["n"], found["w"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def write(self) -> bytes:
        """Return the counts as they are stored."""
        return json.dumps(
            {"a": self.amounts, "l": self.leases, "t": self.turns, "s": self.seconds, "n": self.tokens, "w": self.at}
        ).encode()


@dataclass(frozen=True, slots=True)
class LimitTurn:
    """When a request that was refused may come back, when it was refused (``asked``), and by which rule.

    Both times are in seconds since the epoch.
    """

    at: float
    rule: LimitRule
    asked: float


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """A request that asks whether it may be sent.

    - ``tokens``: how many tokens it may take; without those of its answer if nothing bounds that (``is_bounded``).
    - ``name``: tells it apart from all others. It holds its slots under this name, for ``lease`` seconds if nobody
      renews them.
    - ``has_turn``: its turn has come, so it does not wait for the turns of others.
    - ``patience``: for how many seconds it would wait. A later turn is returned to it, but not kept for it.
    - ``ahead``: by how many seconds ``now`` is later than the clock. It is more than 0 only in a test, which executes a
      task before the moment for which the task is scheduled.
    """

    tokens: int
    name: str
    lease: float
    has_turn: bool = False
    patience: float = math.inf
    ahead: float = 0.0
    is_bounded: bool = True

    def with_answer(self, counts: Counts) -> AdmissionRequest:
        """Return the request with the tokens of its answer: an unbounded one is as long as the mean of others."""
        return self if self.is_bounded else replace(self, tokens=self.tokens + round(counts.tokens), is_bounded=True)


def admit_request(counts: Counts, rules: Sequence[LimitRule], asking: AdmissionRequest, now: float) -> LimitTurn | None:
    """Count a request by all rules and return None, or count nothing and return a turn. Changes ``counts``.

    ``now`` is in seconds since the epoch.
    """
    turns = []
    _follow_clock(counts, now - asking.ahead)
    for rule in rules:
        _forget_past(counts, rule, now)
        at = room = _find_room(counts, rule, asking, now)
        if not asking.has_turn:
            at = max(at, counts.turns.get(rule.id, 0.0))
        if at > now:
            # A request that has had its turn stands in a line of its own. At the end of the long one it would starve.
            line = rule.id + _AGAIN if asking.has_turn else rule.id
            turns.append((LimitTurn(max(room, counts.turns.get(line, 0.0)), rule, now), line))
    if not turns:
        for rule in rules:
            _count(counts, rule, asking, now)
        return None
    last = max((turn for turn, _ in turns), key=lambda turn: turn.at)
    if last.at > now + asking.patience:
        return last  # The request gives up: a turn that nobody uses would only keep others out.
    # In each line, because the request comes back at the latest of its turns and needs room in all of them then.
    for turn, line in turns:
        counts.turns[line] = last.at + _pace(counts, turn.rule, asking)
    return last


def settle_request(
    counts: Counts,
    rules: Sequence[LimitRule],
    asking: AdmissionRequest,
    admitted: float,
    now: float,
    tokens: int | None,
) -> None:
    """Free the slots of an admitted request, and correct its tokens. Changes ``counts``.

    ``admitted`` is when it was let in and ``now`` when it ended, in seconds since the epoch. ``tokens`` is how many it
    took; None where that is not known, and then its estimate stays counted.
    """
    _follow_clock(counts, now - asking.ahead)
    for rule in rules:
        if rule.unit == "at once":
            counts.leases.get(rule.id, {}).pop(asking.name, None)
        elif rule.unit == "tokens" and tokens is not None:
            # In the slice in which the estimate was counted, or in that of now, if the clock was put back meanwhile.
            slices, at = counts.amounts.setdefault(rule.id, {}), _slice_of(min(admitted, now), rule)
            slices[at] = max(0, slices.get(at, 0) - min(asking.tokens, rule.amount) + tokens)
        _forget_past(counts, rule, now)
    counts.seconds += _WEIGHT * (max(0.0, now - admitted) - counts.seconds)


def take_back(counts: Counts, rules: Sequence[LimitRule], asking: AdmissionRequest, admitted: float) -> None:
    """Undo the counting of a request that is not sent after all. Changes ``counts``."""
    for rule in rules:
        if rule.unit == "at once":
            counts.leases.get(rule.id, {}).pop(asking.name, None)
        else:
            slices, at = counts.amounts.setdefault(rule.id, {}), _slice_of(admitted, rule)
            slices[at] = max(0, slices.get(at, 0) - _amount_of(rule, asking))


def note_answer(counts: Counts, tokens: int) -> None:
    """Update the mean number of tokens of an answer, from which the next answers are estimated."""
    counts.tokens += _WEIGHT * (tokens - counts.tokens)


def _slice_of(now: float, rule: LimitRule) -> int:
    return int(now * SLICES / rule.period)


def _lateness(rule: LimitRule) -> float:
    return min(_LATENESS, rule.period / _LATENESS_PART)


def _amount_of(rule: LimitRule, asking: AdmissionRequest) -> int:
    # A request that is larger than the whole limit would never fit. So it counts as the limit, and is let in alone.
    return min(asking.tokens, rule.amount) if rule.unit == "tokens" else 1


def _follow_clock(counts: Counts, now: float) -> None:
    """Shift all counts back by as much as somebody has put the clock back.

    Otherwise no request would be let in until the clock shows the old time again. The counts of all rules are shifted,
    not only those that apply to the request which finds it out: ``counts.at`` is one for all of them.
    """
    back = counts.at - now
    if counts.at and back > _SLACK:
        for rule, slices in counts.amounts.items():
            moved = int(back * SLICES / period) if (period := period_of(rule)) else 0
            counts.amounts[rule] = {at - moved: each for at, each in slices.items()}
        counts.turns = {rule: at - back for rule, at in counts.turns.items()}
        counts.leases = {rule: {id: at - back for id, at in each.items()} for rule, each in counts.leases.items()}
        counts.at = now
    counts.at = max(counts.at, now)


def _forget_past(counts: Counts, rule: LimitRule, now: float) -> None:
    if rule.unit == "at once":
        leases = counts.leases.get(rule.id, {})
        counts.leases[rule.id] = {id: until for id, until in leases.items() if until > now}
    else:
        slices, oldest = counts.amounts.get(rule.id, {}), _slice_of(now - _lateness(rule), rule) - SLICES
        counts.amounts[rule.id] = {at: amount for at, amount in slices.items() if at >= oldest}


def _find_room(counts: Counts, rule: LimitRule, asking: AdmissionRequest, now: float) -> float:
    """Return the moment from which on a request fits, as far as is known now: ``now`` if it fits already."""
    # Both look-ups rely on `_forget_past`, which has made an entry for the rule.
    if rule.unit == "at once":
        taken = len(counts.leases[rule.id])
        return now if taken < rule.amount else now + _pace(counts, rule, asking)
    slices = counts.amounts[rule.id]
    # Slices in the future count, too: the clock of another worker may be a little ahead.
    taken, room = sum(slices.values()), rule.amount - _amount_of(rule, asking)
    for at in sorted(slices):
        if taken <= room:
            return now
        taken -= slices[at]
        now = max(now, (at + SLICES + 1) * rule.period / SLICES + _lateness(rule))
    return now


def _count(counts: Counts, rule: LimitRule, asking: AdmissionRequest, now: float) -> None:
    if rule.unit == "at once":
        counts.leases[rule.id][asking.name] = now + asking.lease
    else:
        slices, at = counts.amounts[rule.id], _slice_of(now, rule)
        slices[at] = slices.get(at, 0) + _amount_of(rule, asking)


def _pace(counts: Counts, rule: LimitRule, asking: AdmissionRequest) -> float:
    """Return how many seconds lie between two turns of a rule."""
    if rule.unit == "at once":
        between = counts.seconds / rule.amount
        return max(_SHORTEST_TURN, min(between, max(_TURN, between / _EARLY)))
    return (rule.period * (1 + 1 / SLICES) + _lateness(rule)) * _amount_of(rule, asking) / rule.amount

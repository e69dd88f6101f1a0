"""Whether a request fits into limits, as a pure function of what is counted: no storage, no clock.

A count is a number of amounts by slices of time, sixty to a period. A request fits if what was counted in the slices
that any period up to now may touch leaves room for it: so no period ever has more, wherever it begins.

Who does not fit is given a turn: a moment to come back at. Turns are handed out one after the other, as far apart as
the limit lets requests through, and while some are open nobody else is let in before them. So none starves, and none
come back in a herd.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aquila.huey.limits.rules import LimitRule, period_of

SLICES = 60
_SHORTEST_TURN, _TURN, _EARLY = 0.05, 0.25, 8
"""How far apart turns are for a limit of requests at once, in seconds: as long as a slot takes to be free again, but at
most a quarter of a second, or an eighth of that. How long it takes can only be guessed, and a slot that is free while
all have late turns is worse than a turn that comes too early."""
_SLACK = 5.0
"""Seconds by which the clocks of those who count may differ, where the storage has none of its own."""
_AGAIN = "|again"
"""The line of those who were not let in though their turn had come."""
_LARGEST = 1e18
"""Larger numbers are none that were counted, and calculating with them might fail."""
_WEIGHT = 0.2  # of the newest in a running mean


@dataclass(slots=True)
class Counts:
    """What is counted of one provider: amounts by rule and slice, leases by rule, the next free turn by rule.

    ``seconds`` is how long requests take, and ``tokens`` how many an answer has: running means.
    """

    amounts: dict[str, dict[int, int]] = field(default_factory=dict)
    leases: dict[str, dict[str, float]] = field(default_factory=dict)
    turns: dict[str, float] = field(default_factory=dict)
    seconds: float = 4.0
    tokens: float = 256.0
    at: float = 0.0
    """When it last changed, by the clock. Where that is still to come somebody has put the clock back."""

    @classmethod
    def read(cls, data: bytes | None) -> Counts:
        """Return what is stored. Anybody may have written it: what is not as it should be counts as nothing."""
        try:
            found: Any = json.loads(data or b"{}")
            return cls(
                {str(rule): _read_slices(each) for rule, each in found["a"].items()},
                {str(rule): {str(id): _number(at) for id, at in each.items()} for rule, each in found["l"].items()},
                {str(rule): _number(at) for rule, at in found["t"].items()},
                max(0.0, _number(found["s"])),
                max(0.0, _number(found["n"])),
                _number(found.get("w", 0.0)),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return cls()

    def write(self) -> bytes:
        """Return the counts as they are stored."""
        return json.dumps(
            {"a": self.amounts, "l": self.leases, "t": self.turns, "s": self.seconds, "n": self.tokens, "w": self.at}
        ).encode()


def _read_slices(found: Any) -> dict[int, int]:
    return {int(_number(at)): max(0, int(_number(amount))) for at, amount in found.items()}


def _number(value: Any) -> float:
    number = float(value)
    if not abs(number) < _LARGEST:  # it may be none at all
        raise ValueError(value)
    return number


@dataclass(frozen=True, slots=True)
class LimitTurn:
    """When a request that was not let in may come back, and which rule kept it out."""

    at: float
    rule: LimitRule


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that asks to be let in.

    ``tokens`` is what it may take, ``lease`` names it, ``until`` is when that ends by itself. ``has_turn``: its turn
    has come, so it need not wait for those of others. ``patience`` is until when it would come back: it is told of a
    later turn, but that turn is not kept for it. ``ahead`` is by how many seconds it is counted later than the clock
    says: a test executes a task before the moment that this is scheduled for.
    """

    tokens: int
    lease: str
    until: float
    has_turn: bool = False
    patience: float = math.inf
    ahead: float = 0.0


def let_in(counts: Counts, rules: Sequence[LimitRule], asking: Asking, now: float) -> LimitTurn | None:
    """Count a request and return None, or hand out a turn, by which nothing is counted. Changes ``counts``."""
    turns = []
    _follow_clock(counts, now - asking.ahead)
    for rule in rules:
        _forget_past(counts, rule, now)
        at = room = _find_room(counts, rule, asking, now)
        if not asking.has_turn:
            at = max(at, counts.turns.get(rule.id, 0.0))
        if at > now:
            # Whose turn had come too early, or was used too late, does not go to the end of the line.
            line = rule.id + _AGAIN if asking.has_turn else rule.id
            turns.append((LimitTurn(max(room, counts.turns.get(line, 0.0)), rule), line))
    if not turns:
        for rule in rules:
            _count(counts, rule, asking, now)
        return None
    last = max((turn for turn, _ in turns), key=lambda turn: turn.at)
    if last.at > asking.patience:
        return last  # It goes away: a turn that nobody comes for would only keep others out.
    for turn, line in turns:
        counts.turns[line] = last.at + _pace(counts, turn.rule, asking)
    return last


def settle(
    counts: Counts, rules: Sequence[LimitRule], asking: Asking, admitted: float, now: float, tokens: int | None
) -> None:
    """Count what an admitted request came to: its slot is free, and its tokens are known, if they are."""
    _follow_clock(counts, now - asking.ahead)
    for rule in rules:
        if rule.unit == "at once":
            counts.leases.get(rule.id, {}).pop(asking.lease, None)
        elif rule.unit == "tokens" and tokens is not None:
            slices, at = counts.amounts.setdefault(rule.id, {}), _slice_of(min(admitted, now), rule)
            slices[at] = max(0, slices.get(at, 0) - min(asking.tokens, rule.amount) + tokens)
        _forget_past(counts, rule, now)
    counts.seconds += _WEIGHT * (max(0.0, now - admitted) - counts.seconds)


def take_back(counts: Counts, rules: Sequence[LimitRule], asking: Asking, admitted: float) -> None:
    """Undo the counting of a request that is not sent after all."""
    for rule in rules:
        if rule.unit == "at once":
            counts.leases.get(rule.id, {}).pop(asking.lease, None)
        else:
            slices, at = counts.amounts.setdefault(rule.id, {}), _slice_of(admitted, rule)
            slices[at] = max(0, slices.get(at, 0) - _amount_of(rule, asking))


def note_answer(counts: Counts, tokens: int) -> None:
    """Take an answer's tokens into the mean, by which answers to come are estimated."""
    counts.tokens += _WEIGHT * (tokens - counts.tokens)


def _slice_of(now: float, rule: LimitRule) -> int:
    return int(now * SLICES / rule.period)


def _amount_of(rule: LimitRule, asking: Asking) -> int:
    # What is larger than the whole limit is let in where nothing else is: it would never be otherwise.
    return min(asking.tokens, rule.amount) if rule.unit == "tokens" else 1


def _follow_clock(counts: Counts, now: float) -> None:
    """Move what is counted to where it would be if the clock had always been as it is now, where it was put back.

    Else nobody would be let in until it has come to the same time again. All rules are moved, also those that are not
    about the request that finds it out.
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
        slices, oldest = counts.amounts.get(rule.id, {}), _slice_of(now, rule) - SLICES
        counts.amounts[rule.id] = {at: amount for at, amount in slices.items() if at >= oldest}


def _find_room(counts: Counts, rule: LimitRule, asking: Asking, now: float) -> float:
    """Return the moment from which on a request fits, as far as is known now: ``now`` if it does already."""
    if rule.unit == "at once":
        taken = len(counts.leases[rule.id])
        return now if taken < rule.amount else now + _pace(counts, rule, asking)
    slices = counts.amounts[rule.id]
    # Slices that are still to come count too: the clock of who was faster may be a little ahead.
    taken, room = sum(slices.values()), rule.amount - _amount_of(rule, asking)
    for at in sorted(slices):
        if taken <= room:
            return now
        taken -= slices[at]
        now = max(now, (at + SLICES + 1) * rule.period / SLICES)
    return now


def _count(counts: Counts, rule: LimitRule, asking: Asking, now: float) -> None:
    if rule.unit == "at once":
        counts.leases[rule.id][asking.lease] = asking.until
    else:
        slices, at = counts.amounts[rule.id], _slice_of(now, rule)
        slices[at] = slices.get(at, 0) + _amount_of(rule, asking)


def _pace(counts: Counts, rule: LimitRule, asking: Asking) -> float:
    """Return how far apart two turns are."""
    if rule.unit == "at once":
        between = counts.seconds / rule.amount
        return max(_SHORTEST_TURN, min(between, max(_TURN, between / _EARLY)))
    return rule.period * (1 + 1 / SLICES) * _amount_of(rule, asking) / rule.amount


def describe(counts: Counts, rules: Sequence[LimitRule]) -> Mapping[str, int]:
    """Return what is counted now, by the text of each rule."""
    return {
        rule.text: len(counts.leases.get(rule.id, {}))
        if rule.unit == "at once"
        else sum(counts.amounts.get(rule.id, {}).values())
        for rule in rules
    }

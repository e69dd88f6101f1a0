"""Caps on tokens and money: how people write them, and how much of each is spent, in the queue's shared state.

The tokens that a request may take are reserved before it is sent, and corrected when its answer reports the usage. What
a killed worker had reserved stays spent: the provider counts that request, too.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aquila.errors import BudgetExceeded, ConfigError
from aquila.events import Usage
from aquila.huey.limits.rules import AMOUNT, list_texts, parse_amount
from aquila.huey.state import SharedState
from aquila.prices import Price, PriceTable, explain_missing_price, write_amount

TABLE = "spent"
EXAMPLE = "200k tokens per task, 20 USD per day"
TOKENS = "tokens"
# Money is counted in integers, a billion to a unit of currency: sums of floats would drift over a month of requests.
_SMALLEST = 1_000_000_000
_KEPT = 40 * 86_400.0
"""Seconds for which spending is kept, except that of a queue. It is longer than the longest month, and than the 30 days
for which a dead letter is kept, because a dead letter may be enqueued again."""
_WITHOUT_END = 1e12
"""The order of what a queue has spent: later than any moment, so ``delete_below`` never removes it."""

_SCOPES = ("task", "queue", "hour", "day", "month")
_CURRENCIES = {"$": "USD", "€": "EUR", "£": "GBP"}
_CAP = re.compile(
    rf"(?P<symbol>[$€£])?\s*{AMOUNT}\s*(?P<unit>tokens?|[a-z]{{3}})?\s*(?:/|per\s)\s*(?P<scope>{'|'.join(_SCOPES)})",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that may be spent in a scope.

    - ``amount``: tokens, or billionths of a unit of currency.
    - ``unit``: ``tokens``, or the code of a currency such as ``USD``.
    - ``scope``: ``task``, ``queue``, ``hour``, ``day`` or ``month``.
    - ``text``: what the user wrote, for messages.
    - ``owner``: the name of the task whose requests alone count; empty for a cap of the whole queue.
    """

    amount: int
    unit: str
    scope: str
    text: str
    owner: str = ""

    def key_for(self, task_id: str | None, now: float) -> str | None:
        """Return the key under which spending is counted. None where the cap does not apply.

        ``task_id`` is None outside of a task. ``now`` is in seconds since the epoch.
        """
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
        at = f"@{self.owner}" if self.owner else ""
        match self.scope:
            case "task":
                return None if task_id is None else f"task:{task_id}"
            case "hour":
                return f"hour:{moment:%Y-%m-%dT%H}{at}"
            case "day":
                return f"day:{moment:%Y-%m-%d}{at}"
            case "month":
                return f"month:{moment:%Y-%m}{at}"
        return f"queue{at}"

    def resets_at(self, now: float) -> datetime.datetime | None:
        """Return when the budget is next reset after ``now`` (seconds since the epoch), in UTC. None for never."""
        moment = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(minute=0, second=0, microsecond=0)
        match self.scope:
            case "hour":
                return moment + datetime.timedelta(hours=1)
            case "day":
                return moment.replace(hour=0) + datetime.timedelta(days=1)
            case "month":
                # 32 days after the first of a month is always in the month that follows.
                return (moment.replace(day=1, hour=0) + datetime.timedelta(days=32)).replace(day=1)
        return None

    def show(self, amount: int) -> str:
        """Return an amount as people read it."""
        return f"{amount:,} tokens" if self.unit == TOKENS else f"{write_amount(amount / _SMALLEST)} {self.unit}"


def parse_budget(given: str | Iterable[str], owner: str = "") -> tuple[Cap, ...]:
    """Return the caps that one or several texts describe.

    ``given`` is text such as ``"200k tokens per task, 20 USD per day"``. ``owner`` is the name of the task that the
    caps belong to, or empty. Raises ``ConfigError`` that quotes the mistake, gives its column and shows an example.
    """
    caps = []
    for text in list_texts(given, f"a budget is a text such as {EXAMPLE!r}"):
        at = 0
        for part in re.split("[,;]", text):
            caps.append(_parse_cap(text, at, part, owner))
            at += len(part) + 1
    return tuple(caps)


def _parse_cap(text: str, at: int, part: str, owner: str) -> Cap:
    found = _CAP.fullmatch(part.strip())
    at += len(part) - len(part.lstrip())
    place = f"budget {text!r}, at {part.strip()!r} (column {at + 1})"
    if found is None:
        raise ConfigError(f"{place}: not a budget. Write it as {EXAMPLE!r}; scopes are {', '.join(_SCOPES)}")
    unit, symbol = (found["unit"] or "").lower(), found["symbol"]
    if (symbol is None) == (not unit):
        raise ConfigError(f"{place}: of what? Write tokens or a currency, as in {EXAMPLE!r}")
    amount = parse_amount(found["amount"], found["thousands"])
    is_tokens = unit.startswith("token")
    smallest = round(amount * (1 if is_tokens else _SMALLEST))
    if smallest < 1:
        raise ConfigError(f"{place}: a budget is more than 0")
    name = TOKENS if is_tokens else _CURRENCIES.get(symbol or "", unit.upper())
    return Cap(smallest, name, found["scope"].lower(), part.strip(), owner)


class Reservation:
    """The amounts that one request holds of budgets, from before it is sent until its answer reports the usage."""

    def __init__(self, state: SharedState, price: Price | None) -> None:
        self._state = state
        self._price = price
        # Filled by `reserve_amounts` alone. Settling does not clear it, because a request is settled only once.
        self._reserved: list[tuple[str, Mapping[str, int]]] = []

    def add(self, key: str, amounts: Mapping[str, int]) -> None:
        """Note the amounts that are reserved under a key of the table, by unit."""
        self._reserved.append((key, amounts))

    def settle(self, usage: Usage) -> None:
        """Replace the reserved amounts with the tokens, and their cost, that the answer reports."""
        actual = amounts_of(usage, self._price)
        for key, reserved in self._reserved:
            self._change(key, {unit: actual.get(unit, 0) - amount for unit, amount in reserved.items()})

    def give_back(self) -> None:
        """Free everything that is reserved: the request was not sent."""
        self.settle(Usage())

    def _change(self, key: str, amounts: Mapping[str, int]) -> None:
        self._state.update(TABLE, key, lambda data: _write(_add(_read(data), amounts)))


def amounts_of(usage: Usage, price: Price | None) -> dict[str, int]:
    """Return the amounts to count for a usage: tokens, and billionths of the currency of ``price`` if there is one."""
    amounts = {TOKENS: usage.total_tokens or usage.input_tokens + usage.output_tokens}
    if price is not None:
        amounts[price.currency] = round(price.cost_of(usage) * _SMALLEST)
    return amounts


def find_price(caps: Sequence[Cap], prices: PriceTable | None, model: str) -> Price | None:
    """Return the price of a model; None where it has none and no cap needs it.

    Raises ``ConfigError`` where a budget of money applies and the model has no price, or one in another currency.
    """
    price = prices.find(model) if prices is not None else None
    for cap in caps:
        if cap.unit == TOKENS:
            continue
        if price is None:
            raise ConfigError(f"the budget {cap.text!r} cannot be kept: {explain_missing_price(model)}; pass prices=")
        if price.currency != cap.unit:
            raise ConfigError(
                f"the budget {cap.text!r} cannot be kept: the price of {model!r} is in {price.currency}. Write the "
                "budget in that currency"
            )
    return price


def reserve_amounts(
    state: SharedState,
    caps: Sequence[Cap],
    price: Price | None,
    usage: Usage,
    *,
    task_id: str | None,
    now: float,
) -> Reservation:
    """Reserve the tokens of a request, and their cost, in each budget that applies. Return the reservation.

    - ``usage``: the estimate of what the request takes.
    - ``task_id``: the id of the task that sends it; None outside of a task.
    - ``now``: seconds since the epoch, by the clock of the storage.

    Raises ``BudgetExceeded`` where a cap has no room. Nothing is reserved then.
    """
    reservation, amounts = Reservation(state, price), amounts_of(usage, price)
    by_key: dict[str, list[Cap]] = {}
    for cap in caps:
        key = cap.key_for(task_id, now)
        if key is not None:
            by_key.setdefault(key, []).append(cap)
    # Each key is changed atomically, but not all keys together. If one has no room, the storage fails or the task is
    # interrupted, the keys that were changed are changed back: the request is not sent.
    with contextlib.ExitStack() as undo:
        undo.callback(reservation.give_back)
        for key, held in by_key.items():
            over: list[tuple[Cap, int]] = []

            # A storage calls `change` again when another process has changed the value meanwhile. So `change` sets
            # `over` as a whole each time. It has defaults because a closure would see the variables of a later round.
            def change(data: bytes | None, held: list[Cap] = held, over: list[tuple[Cap, int]] = over) -> bytes | None:
                spent = _read(data)
                over[:] = [
                    (cap, already)
                    for cap in held
                    if (already := spent.get(cap.unit, 0)) + amounts[cap.unit] > cap.amount
                ]
                return None if over else _write(_add(spent, amounts))

            state.update(TABLE, key, change, order=_WITHOUT_END if held[0].scope == "queue" else now)
            if over:
                raise _budget_error(*over[0], amounts, now)
            reservation.add(key, amounts)
        undo.pop_all()
    # Every request removes a few old entries, so nothing else has to. The limit bounds the time that this takes.
    state.delete_below(TABLE, now - _KEPT, limit=10)
    return reservation


def _budget_error(cap: Cap, spent: int, amounts: Mapping[str, int], now: float) -> BudgetExceeded:
    resets = cap.resets_at(now)
    when = {
        "task": "It is this task's own, and its retries count, too",
        "queue": "It is never reset",
    }.get(cap.scope) or f"It is reset at {resets:%Y-%m-%d %H:%M} UTC"
    of = f" of {cap.owner}" if cap.owner else ""
    return BudgetExceeded(
        f"the budget {cap.text!r}{of} has no room for this request, which was not sent: {cap.show(spent)} are spent, "
        f"and it may take {cap.show(amounts[cap.unit])}. {when}. Raise budget= where it is set, or ask for less: a "
        "shorter prompt, or max_output_tokens=",
        budget=cap.text,
        spent=spent if cap.unit == TOKENS else spent / _SMALLEST,
        resets_at=resets,
    )


def _read(data: bytes | None) -> dict[str, int]:
    """Return the spent amounts by unit."""
    spent: dict[str, int] = json.loads(data or b"{}")
    return spent


def _write(spent: Mapping[str, int]) -> bytes:
    return json.dumps(spent).encode()


def _add(spent: Mapping[str, int], amounts: Mapping[str, int]) -> dict[str, int]:
    # Never below 0: the entry may have been deleted between reserving and settling, and the correction may be negative.
    units = [*spent, *(unit for unit in amounts if unit not in spent)]
    return {unit: max(0, spent.get(unit, 0) + amounts.get(unit, 0)) for unit in units}

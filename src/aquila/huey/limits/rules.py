"""Rules as people write them: ``openai: 60/min, 4 at once, 100k tokens/min``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from aquila.errors import ConfigError
from aquila.huey.limits.providers import check_provider, is_host_of
from aquila.wildcards import fits_pattern

EXAMPLE = "openai: 60/min, 4 at once, 100k tokens/min; openai/gpt-5*: 20/min"

Unit = Literal["requests", "tokens", "at once"]

_PERIODS = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86_400.0),
}
# So many digits that a float holds every amount.
AMOUNT = r"(?P<amount>\d[\d_]{0,29}(?:\.\d+)?)\s*(?P<thousands>[km]?)"
_RULE = re.compile(
    rf"{AMOUNT}\s*(?:(?P<once>at\s+once)|(?P<unit>requests?|tokens?)?\s*(?:/|per\s)\s*(?P<period>[a-z]+))", re.I
)
_THOUSANDS = {"": 1, "k": 1000, "m": 1_000_000}


@dataclass(frozen=True, slots=True)
class LimitRule:
    """One limit: ``amount`` of a ``unit`` in any ``period`` (seconds), for a provider and models that fit a pattern.

    ``text`` is the limit as the user wrote it.
    """

    provider: str
    model: str
    unit: Unit
    amount: int
    period: float
    text: str

    @property
    def id(self) -> str:
        """The name under which a rule is counted. It lacks the amount, so a count goes on when that is changed."""
        return f"{self.model}|{self.unit}|{self.period:g}"

    def applies_to(self, host: str, model: str) -> bool:
        """Say whether a request to a host, for a model, is counted."""
        return is_host_of(host, self.provider) and fits_pattern(model.lower(), self.model.lower())


def period_of(id: str) -> float:
    """Return the period of the rule with this id, in seconds; 0 if it has none, or if the id is that of no rule."""
    try:
        period = float(id.rpartition("|")[2])
    except ValueError:
        return 0.0
    return period if period in _PERIODS.values() else 0.0


def parse_limits(given: str | Iterable[str]) -> tuple[LimitRule, ...]:
    """Return the rules that one or several texts describe.

    ``given`` is text such as ``"openai: 60/min, 4 at once"``. Raises ``ConfigError`` that quotes the mistake, gives its
    column and shows an example.
    """
    rules: dict[tuple[str, str], LimitRule] = {}
    for text in list_texts(given, f"a limit is a text such as {EXAMPLE!r}"):
        for rule in _parse_text(text):
            known = rules.setdefault((rule.provider, rule.id), rule)
            if known is not rule:
                raise ConfigError(f"limit {text!r}: {rule.text!r} repeats {known.text!r}")
    return tuple(rules.values())


def list_texts(given: str | Iterable[str], expected: str) -> list[str]:
    """Return one or several texts as a list. Raises ``ConfigError`` that begins with ``expected`` for anything else."""
    texts: list[Any] = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{expected}, not {text!r}")
    return texts


def _parse_text(text: str) -> list[LimitRule]:
    rules = []
    at = 0
    for part in text.split(";"):
        start, at = at, at + len(part) + 1
        subject, colon, limits = part.partition(": ")
        if not colon:  # Without a space after it the last colon counts, because a host may have a port.
            subject, colon, limits = part.rpartition(":")
        if not colon or not subject.strip():
            raise _mistake(text, start, part, "there is no provider before a colon")
        if "://" in subject:  # Its scheme would be taken for a host, and the limit would hold nothing.
            host = subject.partition("://")[2].partition("/")[0]
            raise _mistake(text, start, subject, f"a limit names a host, not a URL: {host}: {limits.strip()}")
        provider, _, model = subject.strip().partition("/")
        try:
            provider = check_provider(provider.strip())
        except ConfigError as error:
            raise _mistake(text, start, subject, str(error)) from None
        inner = start + len(subject) + len(colon)
        for limit in limits.split(","):
            rules.append(_parse_limit(text, inner, limit, provider, model.strip() or "*"))
            inner += len(limit) + 1
    return rules


def _parse_limit(text: str, at: int, limit: str, provider: str, model: str) -> LimitRule:
    found = _RULE.fullmatch(limit.strip())
    if found is None:
        raise _mistake(text, at, limit, "not a limit")
    amount = parse_amount(found["amount"], found["thousands"])
    if amount < 1 or amount != int(amount):
        raise _mistake(text, at, limit, "a limit is a whole number from 1")
    if found["once"]:
        unit: Unit = "at once"
        period = 0.0
    else:
        unit = "tokens" if (found["unit"] or "").lower().startswith("token") else "requests"
        name = found["period"].lower()
        period = _PERIODS.get(name, _PERIODS.get(name.removesuffix("s"), 0.0))
        if not period:
            raise _mistake(text, at, limit, f"a period is s, min, h or day, not {found['period']!r}")
    return LimitRule(
        provider, model, unit, int(amount), period, f"{provider}{'' if model == '*' else '/' + model}: {limit.strip()}"
    )


def parse_amount(digits: str, thousands: str) -> float:
    """Return a number that is written as ``100k``, ``1.5m`` or ``1_000``, from its digits and its ``k`` or ``m``."""
    # Rounded, because a product of floats may miss a whole number by a little, and a limit must be one.
    return round(float(digits.replace("_", "")) * _THOUSANDS[thousands.lower()], 6)


def _mistake(text: str, at: int, part: str, reason: str) -> ConfigError:
    at += len(part) - len(part.lstrip())
    return ConfigError(f"limit {text!r}, at {part.strip()!r} (column {at + 1}): {reason}. Write it as {EXAMPLE!r}")

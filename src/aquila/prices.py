"""The prices of models: a table that users write, with the day and the source of each price. Aquila ships no prices.

::

    [[price]]                      # prices.toml
    model = "our-model*"           # * stands for any characters
    input = 0.5                    # for a million tokens
    cached_input = 0.05
    output = 2.0
    currency = "USD"
    as_of = 2026-11-01
    source = "https://provider.example/pricing"
"""

from __future__ import annotations

import datetime
import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from aquila.errors import ConfigError
from aquila.events import Usage
from aquila.settings import Settings
from aquila.spelling import suggest_name
from aquila.wildcards import fits_pattern

__all__ = ["Price", "PriceTable", "read_prices"]

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The price of a million tokens of a model. ``model`` is its name, or a pattern with ``*``.

    ``input``, ``output`` and ``cached_input`` are amounts of ``currency``, a code of three letters. ``cached_input`` is
    for input that the provider had in its cache, by default the price of ``input``. ``as_of`` is the day on which the
    price was valid, and ``source`` says where it was published. Raises ``ConfigError`` for values of other types.
    """

    model: str
    input: float
    output: float
    as_of: datetime.date
    source: str
    cached_input: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            value = getattr(self, name)
            if value is None and name == "cached_input":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ConfigError(f"the price of {self.model!r}: {name} is a number from 0, not {value!r}")
        for name in ("model", "source"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ConfigError(f"the price of {self.model!r}: {name} is a text, not {getattr(self, name)!r}")
        if not isinstance(self.as_of, datetime.date):
            raise ConfigError(f"the price of {self.model!r}: as_of is a day such as 2026-11-01, not {self.as_of!r}")
        if not isinstance(self.currency, str) or not re.fullmatch("[A-Z]{3}", self.currency):
            raise ConfigError(f"the price of {self.model!r}: currency is a code such as USD, not {self.currency!r}")

    def cost_of(self, usage: Usage) -> float:
        """Return the cost of the tokens of ``usage``, in units of ``currency``."""
        cached = min(usage.cached_tokens, usage.input_tokens)
        at_cache = self.input if self.cached_input is None else self.cached_input
        cost = (usage.input_tokens - cached) * self.input + cached * at_cache + usage.output_tokens * self.output
        return cost / _MILLION


# From the name of each field to whether an entry must have it.
_FIELDS = {field.name: field.default is MISSING for field in fields(Price)}


class PriceTable:
    """The prices of several models. Called with a model's name and a ``Usage``, it returns the cost."""

    def __init__(self, prices: Iterable[Price]) -> None:
        # `find` takes the first that fits: an exact name before any pattern, a longer pattern before a shorter one.
        self._prices = sorted(prices, key=lambda price: ("*" in price.model, -len(price.model)))

    def find(self, model: str) -> Price | None:
        """Return the price of a model, or None."""
        return next((price for price in self._prices if fits_pattern(model.lower(), price.model.lower())), None)

    def __call__(self, model: str, usage: Usage) -> float:
        """Return the cost of the tokens of ``usage``. Raises ``ConfigError`` for a model without a price."""
        price = self.find(model)
        if price is None:
            raise ConfigError(explain_missing_price(model))
        return price.cost_of(usage)


def read_prices(given: PriceTable | Mapping[str, Any] | Iterable[Price] | str | os.PathLike[str]) -> PriceTable:
    """Return a table of prices from the path of a TOML file, from its decoded content, or from ``Price`` objects.

    Raises ``ConfigError``, which names the file and the entry.
    """
    if isinstance(given, PriceTable):
        return given
    where = "the prices"
    if isinstance(given, (str, os.PathLike)):
        where = os.fspath(given)
        try:
            given = tomllib.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where}: the prices cannot be read: {error}") from None
    if not isinstance(given, Mapping):
        prices = list(given) if isinstance(given, Iterable) else [None]
        if not all(isinstance(price, Price) for price in prices):
            raise ConfigError("prices= is the path of a TOML file, a PriceTable, or a list of Price objects")
        return PriceTable(prices)
    entries = given.get("price")
    if not isinstance(entries, list) or set(given) != {"price"}:
        raise ConfigError(f'{where} has no list of prices: begin each with [[price]], then model = "..."')
    return PriceTable(_read_entry(entry, f"{where}, price {number}") for number, entry in enumerate(entries, 1))


def prices_of(settings: Settings) -> PriceTable | None:
    """Return the table in the file that the setting ``prices`` names, or None if it names none.

    The path is relative to the folder of the project. Raises ``ConfigError`` as ``read_prices`` does.
    """
    return None if settings.prices is None else read_prices(settings.root / settings.prices)


def _read_entry(entry: Any, where: str) -> Price:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: not a table of fields")
    for name in entry:
        if name not in _FIELDS:
            raise ConfigError(f"{where}: there is no field {name!r}{suggest_name(name, _FIELDS)}")
    missing = [name for name, needed in _FIELDS.items() if needed and name not in entry]
    if missing:
        raise ConfigError(f"{where}: {missing[0]} is missing")
    try:
        return Price(**entry)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def write_amount(amount: float) -> str:
    """Return an amount of money with four decimals. An amount that would look like zero becomes ``< 0.0001``."""
    text = f"{amount:,.4f}"
    return "< 0.0001" if amount > 0 and text == "0.0000" else text


def explain_missing_price(model: str) -> str:
    """Return the message for a model without a price; it says what to write."""
    return (
        f"there is no price for the model {model!r}: add it to the table of prices, as [[price]] with model, input, "
        "output (for a million tokens), as_of and source"
    )

"""The costs of answers, by the run's table of prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquila.events import Usage as CountedTokens
from aquila.prices import PriceTable
from aquila.run_report.schema import Usage


class Costs:
    """Computes the costs of answers. ``table`` has the prices of the run; ``unpriced`` are the models without a price.

    The collector of the report owns this object, which lives as long as the run.
    """

    def __init__(self, table: PriceTable | None = None) -> None:
        self._table = table
        self.unpriced: dict[str, None] = {}
        self.used: dict[str, dict[str, Any]] = {}
        """The prices that were used, by model."""

    def add_cost(self, tokens: Mapping[str, int], *models: str) -> Usage | None:
        """Return the usage of an answer with its cost, or None without tokens.

        The first of ``models`` with a price counts.
        """
        if not tokens:
            return None
        usage: Usage = {**tokens}  # type: ignore[typeddict-item]
        if "input_tokens" in tokens and "output_tokens" in tokens:
            usage.setdefault("total_tokens", tokens["input_tokens"] + tokens["output_tokens"])
        if self._table is None:
            return usage
        named = [model for model in models if model]
        price = next((found for model in named if (found := self._table.find(model)) is not None), None)
        if price is None:
            self.unpriced.update(dict.fromkeys(named[:1]))
            return usage
        counted = CountedTokens(
            input_tokens=tokens.get("input_tokens", 0),
            output_tokens=tokens.get("output_tokens", 0),
            cached_tokens=tokens.get("cached_tokens", 0),
        )
        usage["cost"], usage["currency"] = price.cost_of(counted), price.currency
        self.used[price.model] = {
            "model": price.model,
            "input": price.input,
            "cached_input": price.cached_input,
            "output": price.output,
            "currency": price.currency,
            "as_of": price.as_of.isoformat(),
            "source": price.source,
        }
        return usage

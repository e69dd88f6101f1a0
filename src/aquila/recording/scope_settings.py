"""The settings of a scope: those around it, with its own options on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquila.config import Settings


class ScopeSettings:
    """The options of one scope. ``source`` names them in messages about what is wrong with one."""

    def __init__(self, options: Mapping[str, Any], *, source: str) -> None:
        self.options = dict(options)
        self._source = source
        # The settings around that were seen last, and what came of them. Cleared when an option changes.
        self._resolved: tuple[Settings, Settings] | None = None

    def resolve(self, around: Settings) -> Settings:
        """Return the settings of the scope within the settings ``around`` it, if it has options."""
        known = self._resolved
        if known is None or known[0] is not around:
            known = self._resolved = around, around.with_options(self.options, source=self._source)
        return known[1]

    def override(self, options: Mapping[str, Any]) -> None:
        """Replace some options, or add them."""
        self.options.update(options)
        self._resolved = None

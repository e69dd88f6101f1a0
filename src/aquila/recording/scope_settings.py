"""The settings of a scope: those around it, with its own options on top, and what only a run can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.config import Settings
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import errors
else:
    lazy_modules(globals(), errors="aquila.errors")

NEEDS_NETWORK = ("live", "record")
"""Transports that a sealed run cannot use."""


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


def check_scope_options(options: Mapping[str, Any], around: Settings, *, source: str) -> None:
    """Raise ``ConfigError`` for options of a test or a ``with`` block that only a whole run can have.

    A run is sealed or it is not, and a sealed run has no network. ``options`` maps names to values, ``around`` are the
    settings of the run, and ``source`` says in messages where the options come from.
    """
    if options.get("guard") == "sealed" and around.guard != "sealed":
        raise errors.ConfigError(
            f"{source}: guard='sealed' is for a whole run, which is in the namespace or is not. Set aquila_guard = "
            "sealed in the ini file, or AQUILA_GUARD=sealed"
        )
    if around.guard == "sealed" and (transport := options.get("transport")) in NEEDS_NETWORK:
        raise errors.ConfigError(
            f"{source}: the transport {transport} needs the network, and this run is sealed (aquila_guard = sealed). "
            "Run this test without: AQUILA_GUARD=all"
        )

"""Which options a scope cannot have, because they are those of a whole run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquila import errors, setting_lines
from aquila.recording import runtime
from aquila.settings import Settings

NEEDS_NETWORK = ("live", "record")
"""Transports that a sealed run cannot use."""


def check_scope_options(options: Mapping[str, Any], around: Settings, *, source: str) -> None:
    """Raise ``ConfigError`` for options of a test or a ``with`` block that only a whole run can have.

    A run is sealed or it is not, and a sealed run has no network. ``options`` maps names to values, ``around`` are the
    settings of the run, and ``source`` says in messages where the options come from.
    """
    if options.get("guard") == "sealed" and around.guard != "sealed":
        file = runtime.current_run().layers.settings_file
        raise errors.ConfigError(
            f"{source}: guard='sealed' is for a whole run, not for a part of it. Set "
            f"{setting_lines.placed_setting('guard', 'sealed', file)}, or AQUILA_GUARD=sealed"
        )
    if around.guard == "sealed" and (transport := options.get("transport")) in NEEDS_NETWORK:
        raise errors.ConfigError(
            f"{source}: the transport {transport} needs the network, and this run is sealed (aquila_guard = sealed). "
            "For a run that has a network, set AQUILA_GUARD=all"
        )

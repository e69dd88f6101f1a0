"""Refuses a misspelt name of a transport where it is given, before anything asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.errors import UnknownTransport
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import settings
    from aquila.config import SettingsLayers
    from aquila.transports import upstreams
else:
    lazy_modules(globals(), "aquila: settings", "aquila.transports: upstreams")

USUAL_TRANSPORTS = frozenset({"live", "local", "record", "replay", "script"})
"""Names that are known without the module of the transports, which is not loaded for them."""


def check_transports_of(layers: SettingsLayers) -> None:
    """Raise ``UnknownTransport``, with its source, for a misspelt name in the settings around all scopes."""
    for given, source, prefix in settings.sources_of(layers):
        check_transports(given, source=source, prefix=prefix)


def check_transports(options: Mapping[str, Any], *, source: str, prefix: str = "") -> None:
    """Raise ``UnknownTransport`` for a misspelt name. ``source`` and ``prefix`` are as for ``parse_option``."""
    for option in ("transport", "upstream"):
        name = options.get(option)
        if name is not None and name not in USUAL_TRANSPORTS:
            try:
                upstreams.check_name(name)
            except UnknownTransport as error:
                raise UnknownTransport(f"{source}: {prefix}{option}: {error}") from None

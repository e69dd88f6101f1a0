"""Gives a forked process the proxies of macOS that were read before the fork.

Each new client asks the system for its proxies. The framework of macOS that answers may end a forked process by a
signal.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

_READERS = ("_get_proxies", "_get_proxy_settings")
"""The functions of Python's module ``_scproxy``, which exists on macOS alone."""


def read_system_proxies() -> dict[str, dict[str, Any]]:
    """Return the results of ``_READERS``, by their names. Empty on other systems."""
    try:
        system = importlib.import_module("_scproxy")
    except ImportError:
        return {}
    return {name: getattr(system, name)() for name in _READERS}


def keep_system_proxies(known: Mapping[str, dict[str, Any]]) -> None:
    """Let ``_READERS`` return, in a child, what ``read_system_proxies`` returned in its parent."""
    if known:
        for module in (sys.modules["_scproxy"], sys.modules.get("urllib.request")):  # which imported them by name
            for name, value in known.items():
                if hasattr(module, name):
                    setattr(module, name, value.copy)

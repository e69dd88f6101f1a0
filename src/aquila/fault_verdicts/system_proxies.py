"""The proxies that macOS names for programs, as they are for a forked process.

Clients ask for them whenever one is made. macOS answers with a framework that may end a process which has forked, by a
signal. So they are read before a fork, and the child is told what was read.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

_READERS = ("_get_proxies", "_get_proxy_settings")
"""The functions of Python's module ``_scproxy``, which exists on macOS alone."""


def read_system_proxies() -> dict[str, dict[str, Any]]:
    """Return what the system says, by the function that says it. Empty on other systems."""
    try:
        system = importlib.import_module("_scproxy")
    except ImportError:
        return {}
    return {name: getattr(system, name)() for name in _READERS}


def keep_system_proxies(known: Mapping[str, dict[str, Any]]) -> None:
    """In a child: let the functions return what ``read_system_proxies`` has returned in its parent."""
    if known:
        for module in (sys.modules["_scproxy"], sys.modules.get("urllib.request")):  # which has them by name
            for name, value in known.items():
                if hasattr(module, name):
                    setattr(module, name, value.copy)

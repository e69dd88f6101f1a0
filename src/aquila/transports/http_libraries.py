"""The HTTP libraries whose transports are patched. They share their shape; the second is the first's ancestor."""

from __future__ import annotations

HTTPX_FAMILY = ("httpx2", "httpx")
"""Import names. A module of its own, so that reading it loads neither of them."""

CORE_LIBRARIES = {"httpx2": "httpcore2", "httpx": "httpcore"}
"""The library below each, which has the pools of connections."""

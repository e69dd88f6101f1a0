"""Lets the clients of httpx2 and of httpx share their trusted authorities, of which there are some hundred."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from functools import cache
from typing import Any


def share_authorities() -> None:
    """Let the clients of those libraries that are loaded share a TLS context, unless they name their own authorities.

    It is read again when ``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` changes.
    """
    for name in ("httpx", "httpx2"):
        # Where the transports of both look up how to make a context.
        if (transports := sys.modules.get(f"{name}._transports.default")) is not None:
            transports.create_ssl_context = _sharing(transports.create_ssl_context)


def _sharing(read: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
    @cache
    def read_once(trust_env: bool, *_places: str | None) -> ssl.SSLContext:
        return read(trust_env=trust_env)

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            return read(verify=verify, cert=cert, trust_env=trust_env)
        return read_once(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))

    return create_ssl_context

"""Lets all clients of httpx2 share their trusted authorities. Reading some hundred of them for each client is slow."""

from __future__ import annotations

import os
import ssl
from functools import cache

import httpcore2

_read = httpcore2.default_ssl_context


@cache
def _read_once(_trust_env: bool, *places: str | None) -> ssl.SSLContext:
    return _read(_trust_env=_trust_env)


def _share(*, _trust_env: bool = True) -> ssl.SSLContext:
    return _read_once(_trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def share_authorities() -> None:
    """Let the clients of httpx2 share one TLS context, as long as ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` stay."""
    httpcore2.default_ssl_context = _share

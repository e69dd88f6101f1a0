"""Reads the bodies of requests that clients give to ``http.client``: text, files, iterables of pieces, any bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any


def has_length(body: Any) -> bool:
    """Whether a body has a known length, so that a client sends it without chunks: None, text or bytes of any type."""
    if body is None or isinstance(body, str):
        return True
    try:
        memoryview(body)
    except TypeError:
        return False
    return True


def plain_body(body: Any, text_coding: str = "utf-8") -> Any:
    """Return a body as bytes; None and binary files are returned as they are.

    Text, also that of a text file, is encoded in ``text_coding``: vcrpy would always encode it as UTF-8. Pieces are
    joined here, because vcrpy joins them only if all are bytes.
    """
    if isinstance(body, io.TextIOBase):
        body = body.read()
    if isinstance(body, str):
        return body.encode(text_coding)
    if body is None or isinstance(body, bytes) or hasattr(body, "read"):
        return body
    with contextlib.suppress(TypeError):
        return bytes(memoryview(body))
    if isinstance(body, Iterable):
        return b"".join(join_body(plain_body(piece, text_coding)) for piece in body)
    return body


def join_body(body: Any) -> bytes:
    """Return the bytes of a body, by which requests are compared. A file is read."""
    if body is None:
        return b""
    if hasattr(body, "read"):
        return join_body(body.read())
    return bytes(plain_body(body))

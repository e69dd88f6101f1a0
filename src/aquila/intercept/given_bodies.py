"""The bodies of requests as clients on ``http.client`` give them: text, files, pieces, bytes of any type."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any


def has_length(body: Any) -> bool:
    """Whether a client knows the length of a body, and so sends it whole: it is none, text or bytes of any kind."""
    if body is None or isinstance(body, str):
        return True
    try:
        memoryview(body)
    except TypeError:
        return False
    return True


def plain_body(body: Any, text_coding: str = "utf-8") -> Any:
    """A body; as bytes if it is text, also that of a file, which vcrpy would encode as UTF-8 whatever the client does.

    So it is if it comes in pieces, which vcrpy joins only where all are bytes, or is of another type that holds bytes.
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
    """A body as the bytes that are sent: they identify the request."""
    if body is None:
        return b""
    if hasattr(body, "read"):
        return join_body(body.read())
    return bytes(plain_body(body))

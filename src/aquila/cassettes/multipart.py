"""Parses multipart bodies into names and contents, without the random boundary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from aquila.lazy_patterns import lazy_pattern

_PARAMETER = lazy_pattern(r';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body.

    ``filename`` is None for a plain field. ``content_type`` is empty if the part names none. ``data`` are the bytes as
    they were sent. ``transfer_encoding`` says how they are encoded, such as ``base64``; it is empty if they are not.
    """

    name: str
    filename: str | None
    content_type: str
    transfer_encoding: str
    data: bytes


def header_parameter(header: str, name: str) -> str | None:
    """Return a parameter of a header value without its quotes, such as ``boundary``; None if it has none."""
    for key, quoted, bare in _PARAMETER.findall(header):
        if key.lower() == name:
            return bare or re.sub(r"\\(.)", r"\1", quoted)
    return None


def _text_parameter(header: str, name: str) -> str | None:
    """Return a parameter. The form ``name*``, which names its charset (RFC 8187), takes precedence over ``name``."""
    extended = header_parameter(header, f"{name}*")
    charset, _, rest = (extended or "").partition("'")
    _, quote, encoded = rest.partition("'")
    if quote:
        try:
            return unquote_to_bytes(encoded.encode("utf-8", "surrogateescape")).decode(charset)
        except (LookupError, ValueError):
            pass  # a charset that nobody knows, or bytes that it does not have
    plain = header_parameter(header, name)
    return extended if plain is None else plain


_UNENCODED = ("7bit", "8bit", "binary")


def parse_multipart(body: bytes, content_type: str) -> list[Part] | None:
    """Return the parts of a body, or None if it is not a multipart body with the boundary of its content type."""
    boundary = header_parameter(content_type, "boundary")
    if not boundary:
        return None
    # The line break before a delimiter belongs to it, and the first delimiter may have none.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "surrogateescape"))
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    parts = [_parse_part(piece) for piece in pieces[1:-1]]
    known = [part for part in parts if part is not None]
    return known if len(known) == len(parts) else None


def _parse_part(piece: bytes) -> Part | None:
    padding, line, rest = piece.partition(b"\r\n")
    if padding.strip(b" \t") or not line:
        return None
    head, gap, data = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if not gap:
        return None
    fields: dict[str, str] = {}
    # "surrogateescape": bytes that are not UTF-8 stay different from one another when parts are compared.
    for raw in head.decode("utf-8", "surrogateescape").split("\r\n"):
        key, _, value = raw.partition(":")
        fields[key.strip().lower()] = value.strip()
    disposition = fields.get("content-disposition", "")
    encoding = fields.get("content-transfer-encoding", "").lower()
    return Part(
        name=_text_parameter(disposition, "name") or "",
        filename=_text_parameter(disposition, "filename"),
        content_type=fields.get("content-type", ""),
        transfer_encoding="" if encoding in _UNENCODED else encoding,
        data=data,
    )

"""A file in a request: the properties by which it is compared, and its content as text, for messages."""

from __future__ import annotations

import base64
import hashlib
import quopri
import re
from collections.abc import Callable, Mapping
from typing import Any

from aquila.cassettes.multipart import Part, header_parameter

_MOST_SHOWN = 1024 * 1024
"""The most bytes of a file whose content is kept for messages. Details of a miss stay in memory until the run ends."""


class UploadedFile(dict[str, Any]):
    """The name, type, transfer encoding, size and hash of a file: the properties that are compared.

    ``data`` is the content for messages that show a difference; None if the file is large. The content of a part is as
    it was sent, that of a ``data:`` URL is decoded. It is an attribute and not an item of the dict, so that neither
    comparisons nor JSON include it.
    """

    __slots__ = ("data",)

    def __init__(self, compared: Mapping[str, Any], data: bytes | None) -> None:
        super().__init__(compared)
        self.data = data

    @classmethod
    def from_part(cls, part: Part) -> UploadedFile:
        """Build from the part of a multipart body that is a file."""
        compared = {"filename": part.filename, **describe_content(part.data)}
        if part.content_type:
            compared["content_type"] = part.content_type
        if part.transfer_encoding:
            compared["transfer_encoding"] = part.transfer_encoding
        return cls(compared, part.data if len(part.data) <= _MOST_SHOWN else None)

    def with_fields(self, compared: Mapping[str, Any]) -> UploadedFile:
        """Return the same file with other fields."""
        return UploadedFile(compared, self.data)

    def read_text(self) -> str | None:
        """Return the content as text, with its transfer encoding undone; None for a binary or a large file."""
        if self.data is None:
            return None
        try:
            data = _DECODERS[self.get("transfer_encoding", "")](self.data)
            text = data.decode(header_parameter(self.get("content_type", ""), "charset") or "utf-8-sig")
        except (LookupError, ValueError):
            return None
        return None if "\0" in text else text


_DATA_URL = re.compile(r"data:([^,;]{0,100}(?:;[^,;]{1,100}){0,3});base64,([A-Za-z0-9+/=\s]{64,})")


def read_data_url(text: str) -> UploadedFile | None:
    """Return the file in a ``data:`` URL in base64, as JSON bodies have it; None for other texts and for short data."""
    match = _DATA_URL.fullmatch(text) if text.startswith("data:") else None
    if match is None:
        return None
    try:
        data = base64.b64decode(match[2])
    except ValueError:
        return None
    compared = {**describe_content(data), **({"content_type": match[1]} if match[1] else {})}
    return UploadedFile(compared, data if len(data) <= _MOST_SHOWN else None)


_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    # Without `validate`: by RFC 2045, 6.8 it has line breaks, and readers skip other characters.
    "base64": base64.b64decode,
    "quoted-printable": quopri.decodestring,
}


def describe_content(data: bytes) -> dict[str, Any]:
    """Return the size and the hash of bytes."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

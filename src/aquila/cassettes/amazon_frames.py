"""Reads and writes the frames of ``application/vnd.amazon.eventstream``, in which AWS streams answers.

A frame has, in this order: its length, the length of its headers, and the CRC-32 of these two; the headers; the
payload; and the CRC-32 of everything before. Numbers are big-endian.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aquila.lazy_patterns import lazy_pattern

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_LEAST = _PRELUDE.size + _CHECKSUM.size  # bytes of a frame without headers and payload
_MOST = 25 * 1024 * 1024  # bytes of a frame, more than AWS sends; a larger number is not the length of a frame
# Types of header values. Bytes and strings stand behind a length of two bytes; the other types have fixed sizes.
_BYTES_HEADER, _STRING_HEADER = 6, 7
_HEADER_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_INNER = lazy_pattern(rb'"bytes"\s*:\s*"([A-Za-z0-9+/]*={0,2})')  # Bedrock's chunk: {"bytes": "<base64>"}


class AmazonFrame(NamedTuple):
    """A frame, with its start and end in the body. A frame that broke off lacks the end of its payload or headers."""

    start: int
    end: int
    headers: bytes
    payload: bytes
    size: int
    header_size: int
    """``size`` and ``header_size`` are the lengths in the prelude. If the frame broke off, fewer bytes came."""


def begins_with_frame(data: bytes) -> bool:
    """Say whether a body, or the beginning of one, is a stream of frames."""
    return _read_prelude(data, 0) is not None


def read_frames(data: bytes) -> Iterator[AmazonFrame]:
    """Yield the frames of a body, up to the first bytes that are no frame."""
    at = 0
    while sizes := _read_prelude(data, at):
        size, header_size = sizes
        end = min(at + size, len(data))
        headers_end = min(at + _PRELUDE.size + header_size, end)
        payload_end = min(at + size - _CHECKSUM.size, end)
        headers, payload = data[at + _PRELUDE.size : headers_end], data[headers_end:payload_end]
        yield AmazonFrame(at, end, headers, payload, size, header_size)
        at = end


def read_json_frames(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in the whole frames of an Amazon event stream. Raises ``ValueError`` for other content."""
    for frame in read_frames(body):
        if frame.end - frame.start == frame.size:
            event = json.loads(frame.payload)
            yield json.loads(base64.b64decode(event["bytes"])) if "bytes" in event else event


def _read_prelude(data: bytes, at: int) -> tuple[int, int] | None:
    if len(data) - at < _PRELUDE.size:
        return None
    size, header_size, checksum = _PRELUDE.unpack_from(data, at)
    if not _LEAST <= size <= _MOST or header_size > size - _LEAST:
        return None
    return (size, header_size) if zlib.crc32(data[at : at + 8]) == checksum else None


def write_frame(frame: AmazonFrame, headers: bytes, payload: bytes) -> bytes:
    """Return the bytes of a frame with other headers and another payload, with new lengths and checksums.

    A frame that broke off stays incomplete: its size counts what is missing, and it gets no checksum at its end.
    """
    longer = len(headers) - len(frame.headers)
    size = frame.size + longer + len(payload) - len(frame.payload)
    lengths = struct.pack(">II", size, frame.header_size + longer)
    data = lengths + _CHECKSUM.pack(zlib.crc32(lengths)) + headers + payload
    return data + _CHECKSUM.pack(zlib.crc32(data)) if frame.end - frame.start == frame.size else data


def find_header_texts(headers: bytes) -> list[tuple[int, int]]:
    """Return start and end of each header value that is a string, as offsets in the headers."""
    places, at = [], 0
    while at < len(headers):
        at += 1 + headers[at]
        if at >= len(headers):
            break
        kind, at = headers[at], at + 1
        if kind not in (_BYTES_HEADER, _STRING_HEADER):
            at += _HEADER_SIZES.get(kind, len(headers))  # an unknown type has an unknown size: the search ends
            continue
        size = int.from_bytes(headers[at : at + 2], "big")
        at += 2
        if kind == _STRING_HEADER and at + size <= len(headers):
            places.append((at, at + size))
        at += size
    return places


def replace_header_texts(headers: bytes, places: Sequence[tuple[int, int]], texts: Sequence[bytes]) -> bytes:
    """Return headers with other texts at these places."""
    parts: list[bytes] = []
    at = 0
    for (start, end), text in zip(places, texts, strict=True):
        parts += (headers[at : start - 2], len(text).to_bytes(2, "big"), text)
        at = end
    return b"".join([*parts, headers[at:]])


class Payload:
    """A payload and the text in it.

    ``text`` is the payload itself. If the payload has a field ``bytes`` in base64, as at Bedrock, it is the decoded
    value of that field, and ``around`` are the bytes before and behind the base64.
    """

    def __init__(self, payload: bytes) -> None:
        self.text = payload
        self.around = (b"", b"")
        self._in_base64 = False
        match = _INNER.search(payload) if payload[:1] == b"{" else None
        if match:
            try:
                # The frame may have broken off within the base64: only whole groups of four characters decode.
                self.text = base64.b64decode(match[1][: len(match[1]) // 4 * 4], validate=True)
            except ValueError:
                return
            self._in_base64 = True
            self.around = payload[: match.start(1)], payload[match.end(1) :]

    def with_text(self, text: bytes, around: tuple[bytes, bytes]) -> bytes:
        """Return the payload with another text, between the two parts of ``around``."""
        return around[0] + (base64.b64encode(text) if self._in_base64 else text) + around[1]

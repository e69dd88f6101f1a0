"""The msgpack codec: the same model, compact, for machines.

A file is one msgpack value: ``["aquila", version, [interaction, ...]]``. An interaction is
``[method, url, headers, body, recorded, status, headers, started, ended, end, error, chunks]`` with headers as a flat
list of names and values, and chunks as a flat list of times and bytes.
"""

from __future__ import annotations

from typing import Any, get_args

import msgpack

from aquila.cassettes.codecs._gc import collector_paused
from aquila.cassettes.model import FORMAT_VERSION, Cassette, Chunk, End, Headers, Interaction, Request, Response
from aquila.errors import CassetteCorrupt, CassetteTooNew

MAGIC = "aquila"
_ENDS = get_args(End)
_TYPES = (str, str, list, bytes, str, int, list, int, int, int, str, list)


class MsgpackCodec:
    """Cassettes for machines."""

    suffix = ".msgpack"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        rows = [_row(interaction) for interaction in cassette.interactions]
        packed: bytes = msgpack.packb([MAGIC, FORMAT_VERSION, rows], use_bin_type=True)
        return packed

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        with collector_paused():
            return _cassette(_unpack(data, source), source)


def _row(interaction: Interaction) -> list[Any]:
    request, response = interaction.request, interaction.response
    return [
        request.method,
        request.url,
        [part for pair in request.headers for part in pair],
        request.body,
        interaction.recorded,
        response.status,
        [part for pair in response.headers for part in pair],
        response.started,
        response.ended,
        _ENDS.index(response.end),
        response.error,
        [part for chunk in response.chunks for part in (chunk.at, chunk.data)],
    ]


def _unpack(data: bytes, source: str) -> list[Any]:
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException, UnicodeDecodeError) as error:
        reason = str(error) or type(error).__name__
        raise CassetteCorrupt(f"{source}: not a cassette in msgpack form: {reason}.") from None
    if not isinstance(value, list) or len(value) < 2 or value[0] != MAGIC or type(value[1]) is not int:
        raise CassetteCorrupt(f"{source}: msgpack, but not a cassette.")
    if value[1] > FORMAT_VERSION:
        raise CassetteTooNew(
            f"{source}: written by a newer Aquila (format {value[1]}; this one reads {FORMAT_VERSION}): "
            "upgrade pytest-aquila."
        )
    if len(value) != 3 or not isinstance(value[2], list):
        raise CassetteCorrupt(f"{source}: msgpack, but not a cassette.")
    rows: list[Any] = value[2]
    return rows


def _cassette(rows: list[Any], source: str) -> Cassette:
    try:
        return Cassette.of([_interaction(row) for row in rows])
    except _Wrong as wrong:
        raise CassetteCorrupt(f"{source}: {wrong}.") from None


class _Wrong(Exception):
    pass


def _interaction(row: Any) -> Interaction:
    if type(row) is not list or tuple(map(type, row)) != _TYPES:
        raise _Wrong("an interaction that is not one")
    method, url, asked, body, recorded, status, answered, started, ended, end, error, chunks = row
    if not 0 <= end < len(_ENDS) or min(status, started, ended) < 0:
        raise _Wrong("a number out of range")
    return Interaction(
        Request(method, url, _headers(asked), body),
        Response(status, _headers(answered), _chunks(chunks), _ENDS[end], error, started, ended),
        recorded,
    )


def _headers(flat: list[Any]) -> Headers:
    if len(flat) % 2 or set(map(type, flat)) - {str}:
        raise _Wrong("headers that are not text")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _chunks(flat: list[Any]) -> tuple[Chunk, ...]:
    times, pieces = flat[::2], flat[1::2]
    if len(times) != len(pieces) or set(map(type, times)) - {int} or set(map(type, pieces)) - {bytes}:
        raise _Wrong("chunks that are not times and bytes")
    if times and min(times) < 0:
        raise _Wrong("a time out of range")
    return tuple(map(Chunk, pieces, times))

"""The msgpack codec: the model of a cassette, compact, for machines.

A file is one msgpack value, ``["aquila", version, [interaction, ...]]``. An interaction is ``[method, url, headers,
body, recorded, status, headers, started, ended, end, error, chunks]``: headers are a flat list of names and values,
``end`` is 0 (complete), 1 (closed) or 2 (broken). Chunks are a flat list of times and bytes, or, for a folded stream, a
map of ``events``, ``templates``, ``shared`` and ``crlf`` (see unfold.py).
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, get_args

import msgpack

from aquila.cassettes.codecs.gc_pause import pause_garbage_collection
from aquila.cassettes.codecs.sse_fold.fold_reader import Folded, FoldError, unfold
from aquila.cassettes.codecs.yaml.tree import ADVICE, FOREIGN_ADVICE
from aquila.cassettes.model import (
    FORMAT_VERSION,
    Cassette,
    End,
    Headers,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.errors import CassetteCorrupt, CassetteTooNew

MAGIC = "aquila"
_ENDS = get_args(End)
_TYPES = (str, str, list, bytes, str, int, list, int, int, int, str)
_FOLDED = {"events": str, "templates": dict, "shared": dict, "crlf": bool}


class MsgpackCodec:
    """Cassettes for machines. With ``folding=False`` streams are written as they came: larger, and faster both ways."""

    suffix = ".msgpack"

    def __init__(self, *, folding: bool = True) -> None:
        self._folding = folding

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        with pause_garbage_collection():
            value = [MAGIC, FORMAT_VERSION, [self.encode_row(interaction) for interaction in cassette.interactions]]
            try:
                packed: bytes = msgpack.packb(value)
            except UnicodeEncodeError:  # half a surrogate pair, in an error's text say: no UTF-8 can hold it
                packed = msgpack.packb(_replace_surrogates(value))
        return packed

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        with pause_garbage_collection():
            rows = _unpack_rows(data, source)
            try:
                rows.reverse()  # each is given up as soon as it is read
                return Cassette(tuple([_build_interaction(rows.pop()) for _ in range(len(rows))]))
            except (_WrongField, FoldError) as wrong:
                raise CassetteCorrupt(f"{source}: not a cassette in msgpack form: {wrong}. {ADVICE}") from None

    def encode_row(self, interaction: Interaction) -> list[Any]:
        request, response = interaction.request, interaction.response
        chunks: Any = [part for chunk in response.chunks for part in (chunk.at, chunk.data)]
        if self._folding:
            chunks = _folded(response.chunks) or chunks
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
            chunks,
        ]


def _folded(chunks: tuple[RecordedChunk, ...]) -> dict[str, Any] | None:
    from aquila.cassettes.codecs.sse_fold.fold_writer import fold

    folded = fold(chunks)
    if folded is None:
        return None
    return {
        "events": folded.events,
        "templates": dict(folded.templates),
        "shared": dict(folded.shared),
        "crlf": folded.crlf,
    }


class _WrongField(Exception):
    pass


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return [_replace_surrogates(inner) for inner in value] if isinstance(value, list) else value


def _advice_for(data: bytes) -> str:
    return ADVICE if not data or MAGIC.encode() in data[:16] else FOREIGN_ADVICE


def _unpack_rows(data: bytes, source: str) -> list[Any]:
    try:
        value = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise CassetteCorrupt(f"{source}: not a cassette in msgpack form: {reason}. {_advice_for(data)}") from None
    if type(value) is not list or len(value) < 2 or value[0] != MAGIC or type(value[1]) is not int or value[1] < 1:
        raise CassetteCorrupt(f"{source}: not a cassette, though in msgpack form. {_advice_for(data)}")
    if value[1] > FORMAT_VERSION:
        raise CassetteTooNew(
            f"{source}: written by a newer Aquila (format {value[1]} is newer than format {FORMAT_VERSION}). "
            "Upgrade with: pip install --upgrade pytest-aquila"
        )
    if len(value) != 3 or type(value[2]) is not list:
        raise CassetteCorrupt(f"{source}: not a cassette, though in msgpack form. {ADVICE}")
    rows: list[Any] = value[2]
    return rows


def _build_interaction(row: Any) -> Interaction:
    if type(row) is not list or len(row) != 12 or tuple(map(type, row[:-1])) != _TYPES:
        raise _WrongField("an interaction with the wrong fields")
    method, url, asked, body, recorded, status, answered, started, ended, end, error, chunks = row
    if not 0 <= end < len(_ENDS) or status < 0 or started < 0 or ended < 0:
        raise _WrongField("a number out of range")
    return Interaction(
        RecordedRequest(sys.intern(method), sys.intern(url), _build_headers(asked), body),
        RecordedResponse(
            status,
            _build_headers(answered),
            _build_chunks(chunks) if type(chunks) is list else _events(chunks),
            _ENDS[end],
            error,
            started,
            ended,
        ),
        sys.intern(recorded),
    )


def _build_headers(flat: list[Any]) -> Headers:
    try:
        return _shared_headers(tuple(flat))
    except TypeError:  # what cannot be hashed is no text
        raise _WrongField("headers that are not names and values") from None


@lru_cache(maxsize=1024)
def _shared_headers(flat: tuple[Any, ...]) -> Headers:
    if len(flat) % 2 or not {str}.issuperset(map(type, flat)):
        raise _WrongField("headers that are not names and values")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _build_chunks(flat: list[Any]) -> tuple[RecordedChunk, ...]:
    if len(flat) == 2 and type(flat[0]) is int and type(flat[1]) is bytes and flat[0] >= 0:
        return (RecordedChunk(flat[1], flat[0]),)
    times, pieces = flat[::2], flat[1::2]
    if len(times) != len(pieces) or not {int}.issuperset(map(type, times)) or not {bytes}.issuperset(map(type, pieces)):
        raise _WrongField("chunks that are not times and bytes")
    if times and min(times) < 0:
        raise _WrongField("a number out of range")
    return tuple(map(RecordedChunk, pieces, times))


def _events(folded: Any) -> tuple[RecordedChunk, ...]:
    if type(folded) is not dict or {name: type(value) for name, value in folded.items()} != _FOLDED:
        raise _WrongField("chunks that are neither a list nor a folded stream")
    for name in ("templates", "shared"):
        if not {str}.issuperset(map(type, (*folded[name], *folded[name].values()))):
            raise _WrongField("a folded stream that is not text")
    return unfold(Folded(**folded))

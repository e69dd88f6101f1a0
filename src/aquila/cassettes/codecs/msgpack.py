"""The msgpack codec: the model of a cassette, compact, for machines.

A file is one msgpack value, ``["aquila", version, checksum, [interaction, ...]]``. The checksum is the CRC-32 of the
bytes of the list that follows it, always written in four bytes. An interaction is ``[kind, method, url, headers, body,
recorded, upstream, model, status, headers, started, ended, end, error, chunks]``, with ``attempts`` at the end if that
is not 0, or ``attempts, true`` if the failure is ``retried``. Headers are a flat list of names and values. ``status``
is 0 if no answer began. ``end`` is 0 (complete), 1 (closed), 2 (broken) or 3 (silent).

Chunks have one of these forms:

- a flat list of times and bytes;
- an event table: a map of ``events``, ``layouts``, ``crlf`` and ``chunks`` (see `event_streams.stream_reader`);
- a body in a file of its own: a map of ``file``, ``size``, ``sizes`` and ``times``. The body of a request has the first
  two;
- chunks whose sound lies in files: a map of ``sounds``, a list of such files, and ``chunks``, which refer to the files
  and have one of the other forms.
"""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

import msgpack

from aquila.cassettes.body_file import NAME, BodyFile, StoredChunks, StoredRequest
from aquila.cassettes.codecs.gc_pause import pause_garbage_collection
from aquila.cassettes.model import (
    ENDS_WITHOUT_ANSWER,
    FORMAT_VERSION,
    NO_STATUS,
    STATUSES,
    Cassette,
    End,
    Headers,
    Interaction,
    InteractionKind,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
    check_status_is_writable,
)
from aquila.errors import CassetteCorrupt, CassetteTooNew
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import optional
    from aquila.cassettes.codecs.event_streams import stream_reader, stream_writer
    from aquila.cassettes.codecs.yaml import tree
    from aquila.cassettes.web_socket_frames import sound_chunks
else:  # few cassettes have sound, and most uses either read or write tables
    lazy_modules(
        globals(),
        "aquila: optional",
        "aquila.cassettes.codecs.event_streams: stream_reader, stream_writer",
        "aquila.cassettes.codecs.yaml: tree",
        "aquila.cassettes.web_socket_frames: sound_chunks",
    )

MAGIC = "aquila"
# A file begins with these bytes: an array of four, the mark, the version, and the head of a number of four bytes.
_HEAD = b"\x94\xa6aquila" + bytes([FORMAT_VERSION]) + b"\xce"  # `msgpack.packb` would write a small checksum shorter
_ENDS = get_args(End)
_SMALL = 32 * 1024
"""In bytes. A smaller file has so few objects that pausing the garbage collector costs more than it saves."""
_READ_SIZE = 32 * 1024
"""How many bytes are unpacked at once. The default copies up to a megabyte."""
_KINDS = tuple([[kind] for kind in get_args(InteractionKind)])
_TYPES = (str, str, str, list, bytes, str, str, str, int, list, int, int, int, str)
_TYPES_WITH_FILE = (*_TYPES[:4], dict, *_TYPES[5:])  # the body of the request is in a file
_TABLE = {"events": str, "layouts": dict, "crlf": bool, "chunks": str}


class MsgpackCodec:
    """Cassettes for machines.

    With ``tables=False`` the chunks of streams are written as they came. The file is larger, and faster to write and
    read.
    """

    suffix = ".msgpack"

    def __init__(self, *, tables: bool = True) -> None:
        self._tables = tables

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content. Raises CassetteWriteError."""
        # Without tables, rows are flat, and the garbage collector has little to traverse.
        with pause_garbage_collection() if self._tables else nullcontext():
            rows = [encode_row(interaction, tables=self._tables) for interaction in cassette.interactions]
            try:
                packed: bytes = msgpack.packb(rows)
            except UnicodeEncodeError:  # half a surrogate pair, for example in the text of an error, has no UTF-8
                packed = msgpack.packb(_replace_surrogates(rows))
        return b"".join((_HEAD, zlib.crc32(packed).to_bytes(4), packed))

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        if not data.startswith(_HEAD):
            raise _unknown_head_error(data, source)
        try:
            # Unpacked one by one: each row is freed before the next is read.
            with pause_garbage_collection() if len(data) >= _SMALL else nullcontext():
                return Cassette(tuple([build_interaction(row) for row in _unpack_rows(data)]))
        except _FromNewerVersion as newer:
            raise _too_new_error(str(newer), source) from None
        except (_WrongField, stream_reader.ChunkListError, stream_reader.TableError) as wrong:
            raise CassetteCorrupt(f"{source}: not a cassette in msgpack form: {wrong}. {tree.ADVICE}") from None


def encode_row(interaction: Interaction, *, tables: bool) -> list[Any]:
    """Return an interaction as plain data that ``build_interaction`` reads. ``tables`` is as for ``MsgpackCodec``.

    Raises CassetteWriteError for a status that cannot be stored.
    """
    request, response = interaction.request, interaction.response
    if response.status not in STATUSES:
        check_status_is_writable(response.status, response.end)
    return [
        interaction.kind,
        request.method,
        request.url,
        [part for pair in request.headers for part in pair],
        _encode_file(request.file) if isinstance(request, StoredRequest) else request.body,
        interaction.recorded,
        interaction.upstream,
        interaction.model,
        response.status,
        [part for pair in response.headers for part in pair],
        response.started,
        response.ended,
        _ENDS.index(response.end),
        response.error,
        _encode_chunks(response.chunks, tables=tables),
        *((response.attempts, True) if response.retried else (response.attempts,) if response.attempts else ()),
    ]


def _encode_chunks(chunks: Sequence[RecordedChunk], *, tables: bool) -> Any:
    if isinstance(chunks, sound_chunks.SoundChunks):
        inner = _encode_chunks(chunks.templates, tables=tables)
        return {"sounds": list(map(_encode_file, chunks.sounds)), "chunks": inner}
    if isinstance(chunks, StoredChunks):
        return _encode_file(chunks.file) | {"sizes": chunks.sizes(), "times": chunks.times()}
    table = _encode_table(chunks) if tables else None
    return table or [part for chunk in chunks for part in (chunk.at, chunk.data)]


def _encode_file(file: BodyFile) -> dict[str, Any]:
    return {"file": file.name, "size": file.size}


def _encode_table(chunks: Sequence[RecordedChunk]) -> dict[str, Any] | None:
    written = stream_writer.write_table(chunks)
    if written is None:
        return None
    table, chunk_list = written
    return {"events": table.events, "layouts": dict(table.layouts), "crlf": table.crlf, "chunks": chunk_list}


class _WrongField(ValueError):
    pass


class _FromNewerVersion(ValueError):
    pass


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return [_replace_surrogates(inner) for inner in value] if isinstance(value, list) else value


def _advice_for(data: bytes) -> str:
    return tree.ADVICE if not data or MAGIC.encode() in data[:16] else tree.FOREIGN_ADVICE


def _unpack_rows(data: bytes) -> Iterator[Any]:
    """Yield the rows of a file that begins with ``_HEAD``. Raises ``_WrongField``."""
    if zlib.crc32(memoryview(data)[len(_HEAD) + 4 :]) != int.from_bytes(data[len(_HEAD) : len(_HEAD) + 4]):
        raise _WrongField("the file is damaged, because its checksum is wrong")
    limit = _ContainerLimit(len(data))
    unpacker = msgpack.Unpacker(
        io.BytesIO(data),
        read_size=min(len(data), _READ_SIZE),
        max_buffer_size=len(data),
        strict_map_key=True,
        list_hook=limit.count,
        object_hook=limit.count,
    )
    try:
        for _ in range(unpacker.read_array_header() - 1):  # the mark, the version and the checksum
            unpacker.skip()
        for _ in range(unpacker.read_array_header()):
            yield unpacker.unpack()
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise _WrongField(str(error) or type(error).__name__) from None
    if unpacker.tell() != len(data):
        raise _WrongField("more than the interactions")


def _unknown_head_error(data: bytes, source: str) -> CassetteCorrupt:
    """Return the error for a file that is no cassette of this version."""
    limit = _ContainerLimit(len(data))
    try:
        value = msgpack.unpackb(data, strict_map_key=True, list_hook=limit.count, object_hook=limit.count)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        reason = str(error) or type(error).__name__
        return CassetteCorrupt(f"{source}: not a cassette in msgpack form: {reason}. {_advice_for(data)}")
    is_ours = type(value) is list and len(value) > 1 and value[0] == MAGIC
    if is_ours and type(value[1]) is int and value[1] > FORMAT_VERSION:
        return _too_new_error(f"format {value[1]} is newer than format {FORMAT_VERSION}", source)
    return CassetteCorrupt(f"{source}: not a cassette, though in msgpack form. {_advice_for(data)}")


class _ContainerLimit:
    """Limits the lists and mappings of a file: an empty list takes 1 byte in the file and 64 bytes in memory."""

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = 64 + size // 4  # the shortest interaction is four lists in sixteen bytes

    def count(self, container: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("more lists and mappings than a cassette of this size can have")
        return container


def _too_new_error(what: str, source: str) -> CassetteTooNew:
    return CassetteTooNew(f"{source}: written by a newer Aquila ({what}). Upgrade with: {optional.upgrade_command()}")


def build_interaction(row: Any) -> Interaction:
    """Build an interaction from the result of ``encode_row``. Raises ``ValueError`` for anything else."""
    retried = type(row) is list and len(row) == len(_TYPES) + 3 and row[-1] is True
    if retried:
        row.pop()
    attempts = row.pop() if type(row) is list and len(row) == len(_TYPES) + 2 else None
    well_formed = type(row) is list and row[:1] in _KINDS and tuple(map(type, row[:-1])) in (_TYPES, _TYPES_WITH_FILE)
    if not well_formed or type(attempts) not in (int, type(None)):
        raise _wrong_row_error(row)
    kind, method, url, asked, body, recorded, upstream, model, status, answered, started, ended, end, error, chunks = (
        row
    )
    if not 0 <= end < len(_ENDS) or started < 0 or ended < 0 or (attempts is not None and attempts < (not retried)):
        raise _WrongField("a number out of range")
    if status not in STATUSES and not (status == NO_STATUS and _ENDS[end] in ENDS_WITHOUT_ANSWER):
        raise _WrongField("a number out of range")
    try:
        urlsplit(url)
    except ValueError:  # its text is not shown, because the URL may hold a password
        raise _WrongField("a URL that cannot be read") from None
    return Interaction(
        # Interned: the interactions of a cassette have these texts in common, and each is held once.
        _build_request(sys.intern(method), sys.intern(url), _build_headers(asked), body),
        RecordedResponse(
            status,
            _build_headers(answered),
            _build_any_chunks(chunks),
            _ENDS[end],
            error,
            started,
            ended,
            attempts or 0,
            retried,
        ),
        sys.intern(recorded),
        sys.intern(upstream),
        sys.intern(model),
        kind,
    )


def _build_request(method: str, url: str, headers: Headers, body: Any) -> RecordedRequest:
    if type(body) is bytes:
        return RecordedRequest(method, url, headers, body)
    return StoredRequest(method, url, headers, _build_body_file(body))


def _build_body_file(fields: dict[Any, Any]) -> BodyFile:
    name, size = fields.get("file"), fields.get("size")
    if type(name) is not str or not NAME.fullmatch(name) or type(size) is not int or size < 0:
        raise _WrongField("a body in a file that has no name or no size")
    return BodyFile(name, size)


def _build_any_chunks(fields: Any) -> Sequence[RecordedChunk]:
    if type(fields) is list:
        return _build_chunks(fields)
    if type(fields) is not dict or "sounds" not in fields:
        return _build_from_map(fields)
    sounds, templates = fields["sounds"], fields.get("chunks")
    if type(sounds) is not list or not {dict}.issuperset(map(type, sounds)):
        raise _WrongField("sounds that are no files")
    if type(templates) is dict and "sounds" in templates:
        raise _WrongField("sounds within sounds")
    chunks = sound_chunks.SoundChunks(_build_any_chunks(templates), list(map(_build_body_file, sounds)))
    try:
        chunks.check_references()
    except ValueError as error:
        raise _WrongField(str(error)) from None
    return chunks


def _build_from_map(fields: Any) -> Sequence[RecordedChunk]:
    if type(fields) is not dict or "file" not in fields:
        return _build_from_table(fields)
    file, sizes, times = _build_body_file(fields), fields.get("sizes"), fields.get("times")
    if type(sizes) is not list or type(times) is not list or len(sizes) != len(times):
        raise _WrongField("chunks of a body in a file that are not sizes and times")
    if not {int}.issuperset(map(type, (*sizes, *times))) or min((*sizes, *times), default=0) < 0:
        raise _WrongField("a number out of range")
    if sum(sizes) != file.size:
        raise _WrongField("chunks that do not fit the body in a file")
    return StoredChunks.from_sizes(file, sizes, times)


def _wrong_row_error(row: Any) -> Exception:
    """Return the error for a row that is not an interaction of this version."""
    if type(row) is list and row and type(row[0]) is str and row[:1] not in _KINDS:
        return _FromNewerVersion(f"an interaction of the kind {row[0][:40]!r}")
    return _WrongField("an interaction with the wrong fields")


def _build_headers(flat: list[Any]) -> Headers:
    try:
        return _shared_headers(tuple(flat))
    except TypeError:  # an element that cannot be hashed is no text
        raise _WrongField("headers that are not names and values") from None


@lru_cache(maxsize=1024)  # a pure function; most interactions of a cassette have the same fields, and share one tuple
def _shared_headers(flat: tuple[Any, ...]) -> Headers:
    if len(flat) % 2 or not {str}.issuperset(map(type, flat)):
        raise _WrongField("headers that are not names and values")
    # Names interned, too: many answers differ in the value of a field alone, such as the id of a request.
    return tuple(zip(map(sys.intern, flat[::2]), flat[1::2], strict=True))


def _build_chunks(flat: list[Any]) -> tuple[RecordedChunk, ...]:
    if len(flat) == 2 and type(flat[0]) is int and type(flat[1]) is bytes and flat[0] >= 0:
        return (RecordedChunk(flat[1], flat[0]),)
    times, pieces = flat[::2], flat[1::2]
    if len(times) != len(pieces) or not {int}.issuperset(map(type, times)) or not {bytes}.issuperset(map(type, pieces)):
        raise _WrongField("chunks that are not times and bytes")
    if times and min(times) < 0:
        raise _WrongField("a number out of range")
    return tuple(map(RecordedChunk, pieces, times))


def _build_from_table(fields: Any) -> tuple[RecordedChunk, ...]:
    if type(fields) is not dict or {name: type(value) for name, value in fields.items()} != _TABLE:
        raise _WrongField("chunks that are neither a list nor an event table")
    layouts = fields["layouts"]
    if not {str}.issuperset(map(type, (*layouts, *layouts.values()))):
        raise _WrongField("an event table that is not text")
    body, event_ends = stream_reader.build_stream(stream_reader.EventTable(fields["events"], layouts, fields["crlf"]))
    return stream_reader.cut_body(body, event_ends, fields["chunks"])

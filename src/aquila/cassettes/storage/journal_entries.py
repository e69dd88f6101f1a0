"""The entries of a journal as bytes. Each is a frame with a length and a checksum, so damage costs only one entry."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from aquila.cassettes.codecs.msgpack import MsgpackCodec
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.large_bodies import locate_bodies
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.names import candidate_paths
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import AquilaError, CassetteCorrupt

_FRAME = struct.Struct(">II")  # length and CRC-32 of the payload, big-endian
_CHECKED_TIMES, _ALWAYS_CHECKED = 16, 1024 * 1024
"""The limit of the search for whole frames in a damaged journal: 16 times its bytes and 1 MB more are read. Without the
limit, a file that somebody has crafted could be read once for each of its bytes."""
_CODEC = MsgpackCodec(tables=False)  # an entry is kept for one run only, too short for tables of events to be worth it

_UNICODE_ERRORS = "surrogatepass"
"""The name of a cassette has halves of surrogate pairs if the locale cannot decode the name of the test's file."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of a journal: a finished recording, or a recording that was played.

    Only processes that do not own the scope write that they played a recording. ``cassette`` is the name of the
    cassette. ``mode`` and ``record_errors`` are the settings of the recording, and ``rules`` the rules of its key.
    """

    cassette: str
    mode: str
    record_errors: str
    rules: MatchRules
    row: NewRecording | RecordingPlayed


def pack_entry(entry: JournalEntry) -> bytes:
    """Return an entry as a frame: length and checksum of its payload, and the payload."""
    row = entry.row
    recorded = _CODEC.dumps(Cassette((row.interaction,))) if isinstance(row, NewRecording) else None
    payload = msgpack.packb(
        [
            *(entry.cassette, entry.mode, entry.record_errors, entry.rules.match_on, entry.rules.ignore),
            *(row.key, row.position, row.order, recorded),
            *((row.left_open, row.call) if isinstance(row, NewRecording) else (False, "")),
            entry.rules.ignore_query,
            entry.rules.normalize,
            isinstance(row, NewRecording) and row.renews,
            row.part if isinstance(row, NewRecording) else 0,
        ],
        unicode_errors=_UNICODE_ERRORS,
    )
    packed: bytes = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
    return packed


_ENTRY_TYPES = [
    [str, str, str, list, list, str, int, int, recorded, bool, str, list, list, bool, int]
    for recorded in (bytes, type(None))
]


def _refuse_nested_lists(items: list[Any]) -> list[Any]:
    """Return a list that msgpack has read. Raises ``ValueError`` for nested lists other than those of an entry.

    Others may write into the folder of the journals, and deeply nested lists would take much memory and recursion.
    """
    if list in map(type, items) and len(items) != len(_ENTRY_TYPES[0]):
        raise ValueError("a list within a list")
    return items


def unpack_entry(payload: bytes, path: Path, bodies: Path) -> JournalEntry:
    """Return the entry in the payload of a frame.

    ``path`` is its journal, ``bodies`` the folder of its large bodies. Raises ``CassetteCorrupt`` for anything that
    this version does not write.
    """
    row: NewRecording | RecordingPlayed
    try:
        fields = msgpack.unpackb(
            payload, list_hook=_refuse_nested_lists, unicode_errors=_UNICODE_ERRORS, max_map_len=0, max_ext_len=0
        )
        if type(fields) is not list or [type(field) for field in fields] not in _ENTRY_TYPES:
            raise ValueError("an entry with other fields")
        cassette, mode, record_errors, match_on, ignore, key, *rest = fields
        position, order, recorded, left_open, call, ignore_query, normalize, renews, part = rest
        if mode not in ("replay", "missing", "all", "pending") or record_errors not in ("last", "all") or position < 0:
            raise ValueError("an entry with other values")
        candidate_paths(path.parent, cassette)
        rules = MatchRules(tuple(match_on), tuple(ignore), tuple(ignore_query), tuple(normalize))
        if recorded is None:
            row = RecordingPlayed(key, position, order)
        else:
            stored = locate_bodies(_CODEC.loads(recorded, source=str(path)), bodies)
            (interaction,) = stored.interactions
            row = NewRecording(key, position, order, interaction, left_open, call, renews, part)
    except CassetteCorrupt:
        raise
    except (ValueError, TypeError, AquilaError) as error:
        raise CassetteCorrupt(
            f"{path}: not a journal of this version; remove it or use the version that wrote it"
        ) from error
    return JournalEntry(cassette, mode, record_errors, rules, row)


def split_frames(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the payloads of the whole frames of a journal, and the damaged bytes between them."""
    payloads: list[bytes] = []
    damaged: list[bytes] = []
    at = lost_from = 0
    budget = _CHECKED_TIMES * len(data) + _ALWAYS_CHECKED
    while at < len(data) and budget > 0:
        payload, cost = _frame_at(data, at)
        budget -= cost
        if payload is None:  # the damage may be in the length itself, so the next frame may begin at any byte
            at += 1
            continue
        if lost_from < at:
            damaged.append(data[lost_from:at])
        payloads.append(payload)
        at = lost_from = at + _FRAME.size + len(payload)
    if lost_from < len(data):
        damaged.append(data[lost_from:])
    return payloads, damaged


def end_of_frames(data: bytes) -> int:
    """Return the offset behind the whole frames with which ``data`` begins."""
    at = 0
    while (payload := _frame_at(data, at)[0]) is not None:
        at += _FRAME.size + len(payload)
    return at


def _frame_at(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return the payload of the frame at an offset (None without a whole frame), and how many bytes were checked."""
    if at + _FRAME.size >= len(data):
        return None, 0
    length, checksum = _FRAME.unpack_from(data, at)
    end = at + _FRAME.size + length
    if not length or end > len(data):
        return None, 0
    if zlib.crc32(memoryview(data)[at + _FRAME.size : end]) != checksum:
        return None, length
    return data[at + _FRAME.size : end], length

"""Writes the frames of a conversation as YAML. ``frame_reader`` describes the form."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aquila.cassettes.answers import answer_text
from aquila.cassettes.answers.transcript import write_transcript
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.event_streams.stream_writer import MAX_BODY, NOT_IN_A_TABLE, write_tables
from aquila.cassettes.codecs.yaml.frame_reader import (
    BINARY,
    BINARY_ROWS,
    CLOSE,
    ROWS,
    SENT,
    SENT_BINARY,
    SENT_BINARY_TEXT,
    SENT_SOUND,
    SOUND,
    TEXT,
    build_frames,
)
from aquila.cassettes.codecs.yaml.tree import Number, OneLine
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Close, Frame, NotAFrame, is_stored_readable, read_frames
from aquila.cassettes.web_socket_frames.sound_chunks import is_reference
from aquila.errors import CassetteCorrupt

_MOST_LINES = 500
_LONGEST_LINE = 2000
"""The most characters of a line of a transcript."""


@dataclass(frozen=True, slots=True)
class WrittenFrames:
    """The written form of frames: the keys of ``response``, and the times for ``recorded``, empty if all are 0."""

    tree: dict[str, Any]
    times: str


def write_frames(chunks: Sequence[RecordedChunk]) -> WrittenFrames | None:
    """Write the frames of a conversation.

    Returns None for chunks that are no frames, or that would not be read again exactly. Never raises: without this
    form, the chunks are stored as they are.
    """
    try:
        return _write_checked(chunks)
    except Exception:  # noqa: BLE001 - whatever the mistake, the chunks can be stored as they are
        return None


def write_stored_transcript(chunks: StoredChunks) -> str:
    """Write the transcript of a conversation that lies in a file, for people. Empty if the file cannot be read."""
    try:
        lines = list(itertools.islice(write_transcript(read_frames(chunks)), _MOST_LINES + 1))
    except (NotAFrame, CassetteCorrupt, OSError):
        return ""
    if len(lines) > _MOST_LINES:
        lines[-1] = "…"
    return "".join([f"{_clip(line)}\n" for line in lines])


def _clip(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def _write_checked(chunks: Sequence[RecordedChunk]) -> WrittenFrames | None:
    if not chunks or sum([len(chunk.data) for chunk in chunks]) > MAX_BODY:
        return None
    said = list(read_frames(chunks))
    style = _style_of(said)
    turns = list(_split_into_turns(said))
    layouts, rows = write_tables([[frame.data.decode() for frame in turn] for turn in turns if type(turn) is list])
    left = iter(rows)
    items = [_write_rows(turn, next(left)) if type(turn) is list else _write_item(turn, style) for turn in turns]
    tree: dict[str, Any] = {}
    if str(style):
        tree["json_style"] = str(style)
    if layouts:
        tree["layouts"] = layouts
    tree["frames"] = items
    times = " ".join([str(chunk.at) for chunk in chunks]) if any(chunk.at for chunk in chunks) else ""
    if build_frames(tree, (), {"chunks": times} if times else {}, ()) != tuple(chunks):
        return None
    if CLOSE in items[-1]:
        items[-1] = {CLOSE: OneLine(items[-1][CLOSE])}
    return WrittenFrames(tree, times)


def _split_into_turns(said: Sequence[Frame | Close]) -> Iterator[Any]:
    """Yield what each item is made of: a list of the provider's frames that become rows of one table, or one other
    frame.

    A frame of the client, binary data, and a text that cannot be a row end a table.
    """
    rows: list[Frame] = []
    for each in said:
        if isinstance(each, Frame) and _is_row(each):
            if rows and rows[0].is_text != each.is_text:
                yield rows
                rows = []
            rows.append(each)
            continue
        if rows:
            yield rows
            rows = []
        yield each
    if rows:
        yield rows


def _is_row(frame: Frame) -> bool:
    return not frame.sent and is_stored_readable(frame) and not NOT_IN_A_TABLE.search(frame.data.decode())


def _write_rows(turn: Sequence[Frame], rows: str) -> dict[str, Any]:
    text = answer_text.cut_summary(answer_text.text_of_messages([frame.data for frame in turn]))
    return {**({"text": text} if text else {}), ROWS if turn[0].is_text else BINARY_ROWS: rows}


def _write_item(each: Frame | Close, style: json_body.JsonStyle) -> dict[str, Any]:
    if isinstance(each, Close):
        reason = {"reason": each.reason} if each.reason else {}
        return {CLOSE: {"by": each.by, "code": Number(str(each.code)), **reason}}
    if not each.is_text and not (each.sent and is_stored_readable(each)):
        if is_reference(each.data):
            return {SENT_SOUND if each.sent else SOUND: each.data.decode()}
        return {SENT_BINARY if each.sent else BINARY: base64.b64encode(each.data).decode()}
    if not each.sent:
        return {TEXT: each.data.decode()}
    mark = SENT if each.is_text else SENT_BINARY_TEXT
    found = _parse_structure(each)
    if found is not None and json_body.write_json(found.value, style).encode() == each.data:
        return {mark: found.value}
    return {mark: each.data.decode()}


def _parse_structure(frame: Frame) -> json_body.ExactJson | None:
    """Parse a message that is a JSON object or list. None for others, and if no style explains how it is written."""
    found = json_body.parse_exact(frame.data) if frame.data[:1] in (b"{", b"[") else None
    return found if found is not None and not found.literals else None


def _style_of(said: Sequence[Frame | Close]) -> json_body.JsonStyle:
    """Return the style of the client's JSON: that of its first message with a style other than the default."""
    plain = json_body.JsonStyle()
    for each in said:
        if isinstance(each, Frame) and each.sent and is_stored_readable(each):
            found = _parse_structure(each)
            if found is not None and found.style != plain:
                return found.style
    return plain

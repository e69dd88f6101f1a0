"""The frames of a conversation, and how they are stored.

The interaction of a WebSocket has the handshake as its request (``GET`` of a ``ws`` or ``wss`` URL) and the answer to
the handshake as its response. If the status is 101, the chunks of the response are the frames in the order in which
they were seen, each one a server-sent event. So the code for event streams also works for conversations: journals,
large bodies, tables, and the search for secrets that are split over events.

    data: {"type":"session.created"}            the provider sent a text
    event: sent                                 the client sent one
    data: {"type":"response.create"}
    event: received-binary                      a binary frame, as base64; sent-binary for the client's
    data: AAEC
    event: received-binary-text                 a binary frame that holds JSON
    data: {"serverContent":{}}
    event: received-escaped                     a text with a carriage return, which ends a line, as base64
    data: YQ1i
    event: close                                how it ended, at the end, if it was closed
    data: {"by":"provider","code":1000,"reason":""}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

from aquila.cassettes.model import SWITCHED, Interaction, RecordedChunk, RecordedRequest
from aquila.quick_records import NamedTuple

BROKEN, WITHOUT_CODE = 1006, 1005
"""Codes that stand for a connection that broke off, and for a close frame without a code. Neither may be sent (RFC
6455, 7.4.1)."""

Side: TypeAlias = Literal["client", "provider"]

_SENT, _RECEIVED = "sent", "received"
_PLAIN, _BINARY, _BINARY_TEXT, _ESCAPED = "", "-binary", "-binary-text", "-escaped"
_IN_BASE64 = (_BINARY, _ESCAPED)
_HEADS_OF_BASE64 = tuple([f"event: {side}{form}\n".encode() for side in (_SENT, _RECEIVED) for form in _IN_BASE64])
_ONE_LINE, _SENT_LINE = b"data: ", b"event: sent\ndata: "


class NotAFrame(ValueError):
    """Bytes that are not a stored frame."""


class Frame(NamedTuple):
    """One message: ``data`` is the whole of it, in UTF-8 if it ``is_text``. ``at`` is as in ``RecordedChunk``."""

    data: bytes
    sent: bool
    is_text: bool = True
    at: int = 0

    def __repr__(self) -> str:
        kind, way = "text" if self.is_text else "binary", "sent" if self.sent else "received"
        return f"<Frame: {kind}, {len(self.data)} bytes {way} at {self.at} ms>"  # it may hold a key


class Close(NamedTuple):
    """How a conversation was closed: by whom, with which code (RFC 6455, 7.4) and reason. ``at`` is as in a frame.

    A conversation has no close if the connection broke off, if the client left without a close frame, or if it was open
    when its test ended. The ``end`` of its response tells these apart.
    """

    by: Side
    code: int
    reason: str = ""
    at: int = 0


def is_conversation(request: RecordedRequest) -> bool:
    """Whether a request is the handshake of a WebSocket."""
    return request.url[:4].lower().startswith(("ws:", "wss:"))


def store_frame(frame: Frame) -> RecordedChunk:
    """Return the event that a frame is stored as."""
    form = _form_of(frame)
    direction = _SENT if frame.sent else _RECEIVED
    lines = [base64.b64encode(frame.data)] if form in _IN_BASE64 else frame.data.split(b"\n")
    return _event("" if (direction, form) == (_RECEIVED, _PLAIN) else direction + form, lines, frame.at)


def is_stored_readable(frame: Frame) -> bool:
    """Return whether the event of a frame has its bytes as they are. In base64, no search would find a secret."""
    return _form_of(frame) not in _IN_BASE64


def is_in_base64(chunk: RecordedChunk) -> bool:
    """Return whether a chunk is a frame that is stored in base64."""
    return chunk.data.startswith(_HEADS_OF_BASE64)


def find_base64(chunk: RecordedChunk) -> tuple[int, int] | None:
    """Return where the base64 of a chunk begins and ends, as offsets; None if the chunk is not ``is_in_base64``."""
    if not is_in_base64(chunk):
        return None
    return chunk.data.find(_ONE_LINE) + len(_ONE_LINE), len(chunk.data) - len(b"\n\n")


def _form_of(frame: Frame) -> str:
    if b"\r" in frame.data:  # would end a line of the event (a bare CR does, too), and be lost
        return _ESCAPED if frame.is_text else _BINARY
    if frame.is_text:
        return _PLAIN
    return _BINARY_TEXT if frame.data[:1] in (b"{", b"[") and is_utf8(frame.data) else _BINARY


def is_utf8(data: bytes) -> bool:
    """Say whether bytes are text in UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object that the data of a message or an event is, None for any other."""
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def store_close(close: Close) -> RecordedChunk:
    """Return the event that the end of a conversation is stored as."""
    fields = {"by": close.by, "code": close.code, "reason": close.reason}
    return _event("close", [json.dumps(fields, separators=(",", ":")).encode()], close.at)


def read_frames(chunks: Iterable[RecordedChunk]) -> Iterator[Frame | Close]:
    """Yield the frames that chunks were stored from, and the close of the conversation, if it has one.

    Raises ``NotAFrame`` at the first chunk that is neither.
    """
    return map(read_event, chunks)


def frames_of(interaction: Interaction) -> list[Frame | Close] | None:
    """Return the frames and the close of an interaction; None if it is no conversation, was refused, or is damaged."""
    if interaction.kind != "websocket" or interaction.response.status != SWITCHED:
        return None
    try:
        return list(read_frames(interaction.response.chunks))
    except NotAFrame:
        return None


def is_from_provider(chunk: RecordedChunk) -> bool:
    """Whether a chunk is a frame of the provider's."""
    return not chunk.data.startswith((b"event: sent", b"event: close"))


def is_close(chunk: RecordedChunk) -> bool:
    """Whether a chunk says how a conversation was closed."""
    return chunk.data.startswith(b"event: close\n")


def _event(name: str, lines: list[bytes], at: int) -> RecordedChunk:
    head = f"event: {name}\n".encode() if name else b""
    return RecordedChunk(head + b"".join([b"data: %b\n" % line for line in lines]) + b"\n", at)


def read_event(chunk: RecordedChunk) -> Frame | Close:
    """Return the frame that a chunk was stored from, or how the conversation was closed. Raises ``NotAFrame``."""
    stored = chunk.data
    # The fast path: nearly all frames are text in one line. Anything else is parsed below.
    if stored[-2:] == b"\n\n":
        count = stored.count(b"\n")
        if count == 2 and stored.startswith(_ONE_LINE):
            return Frame(stored[len(_ONE_LINE) : -2], False, True, chunk.at)
        if count == 3 and stored.startswith(_SENT_LINE):
            return Frame(stored[len(_SENT_LINE) : -2], True, True, chunk.at)
    lines = chunk.data.removesuffix(b"\n\n").split(b"\n")
    name = _RECEIVED
    if lines[0].startswith(b"event: "):
        name = lines.pop(0).removeprefix(b"event: ").decode("utf-8", "replace")
    if not chunk.data.endswith(b"\n\n") or not lines or not all(line.startswith(b"data: ") for line in lines):
        raise NotAFrame("a frame is an event with lines of data")
    data = b"\n".join([line.removeprefix(b"data: ") for line in lines])
    if name == "close":
        return _read_close(data, chunk.at)
    direction, dash, rest = name.partition("-")
    form = dash + rest
    if direction not in (_SENT, _RECEIVED) or form not in (_PLAIN, _BINARY, _BINARY_TEXT, _ESCAPED):
        raise NotAFrame(f"no frame is stored as {name[:40]!r}")
    if form in _IN_BASE64:
        try:
            data = base64.b64decode(data, validate=True)
        except ValueError:
            raise NotAFrame("not base64") from None
    return Frame(data, sent=direction == _SENT, is_text=form in (_PLAIN, _ESCAPED), at=chunk.at)


def _read_close(data: bytes, at: int) -> Close:
    fields = parse_object(data) or {}
    by, code, reason = (fields.get(name) for name in ("by", "code", "reason"))
    if by not in ("client", "provider") or type(code) is not int or type(reason) is not str:
        raise NotAFrame("a close is 'by' client or provider, with a number as 'code' and a text as 'reason'")
    return Close(by, code, reason, at)

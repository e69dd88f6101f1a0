"""Sound that a client sends in pieces. Timing decides where it is cut, so only the joined bytes are compared.

A piece is a binary frame, or JSON with sound as one text in base64. Known protocols take sound in known fields. In any
other field a text counts as sound if it is long and several messages in a row differ in nothing else.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from aquila.cassettes.web_socket_frames.messages import FrameMessage

Place: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead to a text in JSON. Empty for a message that is sound as a whole."""

_FIELDS: tuple[Place, ...] = (
    ("audio",),
    ("realtime_input", "audio", "data"),
    ("realtimeInput", "audio", "data"),
    ("realtime_input", "media_chunks", 0, "data"),
    ("realtimeInput", "mediaChunks", 0, "data"),
    ("realtime_input", "mediaChunks", 0, "data"),
)
"""Fields in which OpenAI's and Google's protocols take sound."""
_APPENDS = "input_audio_buffer.append"

_LONG = 160
"""The fewest characters of base64 that are taken for sound in an unknown field. No key or hash is as long."""
_LONG_TEXT = re.compile(rb'"[A-Za-z0-9+/_=\\-]{%d}' % _LONG)
"""How such a text begins in JSON. The backslash is for ``\\/``, an escape that JSON allows."""
_OF_SOUND = re.compile(rb'"(?:audio|realtime_?[iI]nput)"')
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)={0,2}")
_OF_URLS = str.maketrans("-_", "+/")
"""The other alphabet of base64, which Google's clients use."""
_DEEPEST = 16


class SoundPiece(NamedTuple):
    """A piece of sound: its bytes, their place in the message, and the message without them.

    ``is_known`` says that a known protocol takes sound at this place.
    """

    data: bytes
    place: Place
    around: FrameMessage
    is_known: bool = True


def may_be_piece(data: bytes, is_text: bool) -> bool:
    """Return whether a message may be a piece of sound, by its bytes, before it is parsed."""
    return not is_text or _OF_SOUND.search(data) is not None or _LONG_TEXT.search(data) is not None


def find_piece(message: FrameMessage) -> SoundPiece | None:
    """Return the piece of sound that a message is, if it is one."""
    if not message.is_json:
        return None if message.is_text else cut_piece(message, ())
    if not isinstance(message.value, dict):
        return None
    for place in _FIELDS:
        if place[0] in message.value and (len(place) > 1 or message.value.get("type") == _APPENDS):
            piece = cut_piece(message, place)
            if piece is not None:
                return piece
    if _LONG_TEXT.search(message.data) is None:  # most messages have no long text and need no search
        return None
    long = [place for place, text in _texts_of(message.value) if len(text) >= _LONG and _is_base64(text)]
    piece = cut_piece(message, long[0]) if len(long) == 1 else None
    return piece and piece._replace(is_known=False)


def may_come_among(message: FrameMessage, piece: SoundPiece) -> bool:
    """Return whether a message has nothing to do with a sound, so that it may come anywhere among its pieces.

    A client that listens and speaks at once sends such a message whenever it is due. A message that belongs to the
    sound, such as its end, has a ``type`` of the same family (``input_audio_buffer.commit``) or the same first key. In
    an unknown protocol the two cannot be told apart, so the result is False.
    """
    return piece.is_known and bool(piece.place) and _family_of(message) not in (None, _family_of(piece.around))


def _family_of(message: FrameMessage) -> str | None:
    value = message.value
    if not isinstance(value, dict) or not value:
        return None
    kind = value.get("type")
    return kind.partition(".")[0] if isinstance(kind, str) else str(next(iter(value)))


def cut_piece(message: FrameMessage, place: Place) -> SoundPiece | None:
    """Return the piece of sound that a message has at a place; None if it has none there."""
    if not place:
        if message.is_text or message.is_json:
            return None
        return SoundPiece(message.data, place, FrameMessage(b"", is_text=False))
    text = _value_at(message.value, place)
    if not isinstance(text, str) or not _is_base64(text):
        return None
    try:
        data = base64.b64decode(text.translate(_OF_URLS), validate=True)
    except ValueError:
        return None
    return SoundPiece(data, place, message.with_value(_without(message.value, place)))


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


def _texts_of(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif len(place) < _DEEPEST:
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from _texts_of(child, (*place, key))


def _value_at(value: Any, place: Place) -> Any:
    for step in place:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _without(value: Any, place: Place) -> Any:
    """Return JSON with null at a place, and the rest as it is."""
    step, *rest = place
    child = _without(value[step], tuple(rest)) if rest else None
    if isinstance(value, dict):
        return {**value, step: child}
    return [child if position == step else each for position, each in enumerate(value)]

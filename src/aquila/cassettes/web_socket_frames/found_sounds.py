"""Finds the sound in the frames of a conversation, and which pieces of it belong together.

A piece is a binary frame, or a long text in base64 in JSON that mentions audio: in a key above the text, or in a
``type`` or ``mimeType`` beside it. Pieces at the same place of their messages are one sound as long as they follow each
other. A sound of the client ends when it sends something else. A sound of the provider ends with the item of its
answer, or with the turn.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import Frame, NotAFrame, is_stored_readable, parse_object, read_event
from aquila.cassettes.web_socket_frames.sound_formats import (
    SoundFormat,
    default_of,
    read_declared,
    read_mime,
    read_query,
    suffix_by_beginning,
)

_LONG = 64
"""The fewest characters of a text in base64 that is taken for sound."""
_LONG_TEXT = re.compile(rb'"[A-Za-z0-9+/_-]{%d}' % _LONG)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_KINDS = ("type", "event", "mimeType", "mime_type")
_MIMES = ("mimeType", "mime_type")
# Gemini's Live API has no ids for items: one of these fields ends the sound of a turn.
_ENDS_TURN = re.compile(rb'"(?:turnComplete|generationComplete|interrupted)"')
_DEEPEST = 16  # levels of JSON that are searched


class PieceOfSound(NamedTuple):
    """A piece of sound in one frame.

    ``text`` is the base64 as it stands in the frame, empty for a binary frame, and ``data`` the decoded bytes.
    ``sound`` is the number of the sound, from 0, and ``url_safe`` says which alphabet of base64 the text uses.
    """

    text: str
    data: bytes
    sound: int
    url_safe: bool = False


class Sound(NamedTuple):
    """What is known of a sound: its format, if it was declared, and its first 16 bytes."""

    form: SoundFormat | None
    beginning: bytes


class SoundFinder:
    """Finds the sound in one conversation, whose handshake had ``url``. ``find`` is called for its chunks in order."""

    def __init__(self, url: str) -> None:
        self.sounds: list[Sound] = []
        """The sounds found so far, by their numbers."""
        self._of_binary = read_query(url)
        # The format that the last message about it declared, for what the client sends (True) and receives (False).
        self._declared: dict[bool, SoundFormat] = {}
        # The number of the sound that the next piece at a place continues. `_end_sounds` removes entries.
        self._open: dict[tuple[Any, ...], int] = {}

    def find(self, chunk: RecordedChunk) -> list[PieceOfSound]:
        """Return the pieces of sound in a chunk. A chunk that is no frame has none."""
        try:
            frame = read_event(chunk)
        except NotAFrame:
            return []
        if not isinstance(frame, Frame):
            return []
        if not frame.is_text and not is_stored_readable(frame):
            number = self._number_of((frame.sent, "binary"), self._of_binary, frame.data)
            return [PieceOfSound("", frame.data, number)] if frame.data else []
        is_long = is_stored_readable(frame) and _LONG_TEXT.search(frame.data) is not None
        message = parse_object(frame.data) if is_long or b"audio" in frame.data else None
        found = list(self._find_in(message, frame)) if message is not None and is_long else []
        if message is not None:
            self._note_formats(message)
        if frame.sent and not found:
            self._end_sounds(sent=True)
        elif not frame.sent and _ENDS_TURN.search(frame.data):
            self._end_sounds(sent=False)
        return found

    def _find_in(self, message: dict[str, Any], frame: Frame) -> Iterator[PieceOfSound]:
        for place, text, mime in _sounds_of(message):
            decoded = _decode(text)
            # A reference replaces the text where it stands (see `sound_chunks`), so that place must be the only one.
            if decoded is None or frame.data.count(b'"%b"' % text.encode()) != 1:
                continue
            data, url_safe = decoded
            form = read_mime(mime, sent=frame.sent) if mime else self._declared.get(frame.sent)
            form = form or default_of(message.get("type"))
            key = frame.sent, place, message.get("item_id"), message.get("content_index"), form
            try:
                number = self._number_of(key, form, data)
            except TypeError:  # `item_id` is a list or an object, which cannot be a key
                continue
            yield PieceOfSound(text, data, number, url_safe)

    def _note_formats(self, message: dict[str, Any]) -> None:
        for sent in (True, False):
            if (form := read_declared(message, sent=sent)) is not None:
                self._declared[sent] = form

    def _number_of(self, key: tuple[Any, ...], form: SoundFormat | None, data: bytes) -> int:
        if key not in self._open or suffix_by_beginning(data) == ".wav":  # a piece with a header is a file by itself
            self._open[key] = len(self.sounds)
            self.sounds.append(Sound(form, data[:16]))
        return self._open[key]

    def _end_sounds(self, *, sent: bool) -> None:
        """End the sounds of one side that belong to no item. Those of an item need no end: no other item has its id."""
        for key in [key for key in self._open if key[0] is sent and (sent or key[1] != "binary") and not any(key[2:3])]:
            del self._open[key]


def _sounds_of(
    value: Any, place: tuple[str, ...] = (), *, is_spoken: bool = False, mime: str = "", depth: int = 0
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield for each sound in JSON its place, its text in base64, and the media type beside it, empty if none is."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for child in value:
            yield from _sounds_of(child, place, is_spoken=is_spoken, mime=mime, depth=depth + 1)
        return
    if not isinstance(value, dict):
        if is_spoken and isinstance(value, str) and len(value) >= _LONG and _BASE64.fullmatch(value):
            yield place, value, mime
        return
    kinds = [str(value[name]) for name in _KINDS if isinstance(value.get(name), str)]
    if kinds:
        is_spoken = any("audio" in kind for kind in kinds)
    mime = next((str(value[name]) for name in _MIMES if isinstance(value.get(name), str)), mime)
    for key, child in value.items():
        spoken = is_spoken or "audio" in key.lower()
        yield from _sounds_of(child, (*place, key), is_spoken=spoken, mime=mime, depth=depth + 1)


def _decode(text: str) -> tuple[bytes, bool] | None:
    """Decode base64. Return the bytes, and whether the alphabet is the URL-safe one.

    Returns None for other text, and for base64 that encoding the bytes again would not restore to the letter.
    """
    try:
        data = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return None
    plain = base64.b64encode(data).decode()
    if plain == text:
        return data, False
    return (data, True) if plain.replace("+", "-").replace("/", "_") == text else None

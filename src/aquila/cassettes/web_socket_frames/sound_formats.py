"""The formats of sound in conversations, as messages and URLs declare them, and the header of a WAV file."""

from __future__ import annotations

import struct
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qs, urlsplit

Encoding: TypeAlias = Literal["pcm16", "ulaw", "alaw"]

_ENCODINGS: dict[str, Encoding] = {
    **dict.fromkeys(("pcm16", "audio/pcm", "audio/l16", "linear16", "pcm_s16le"), "pcm16"),
    **dict.fromkeys(("g711_ulaw", "audio/pcmu", "audio/x-mulaw", "mulaw", "pcm_mulaw"), "ulaw"),
    **dict.fromkeys(("g711_alaw", "audio/pcma", "audio/x-alaw", "alaw", "pcm_alaw"), "alaw"),
}
"""What protocols call them."""
_TAGS: dict[Encoding, int] = {"pcm16": 1, "alaw": 6, "ulaw": 7}
"""The format tags of a WAV file (RFC 2361)."""
# Samples per second: OpenAI's Realtime API and Gemini's output; G.711; what Gemini's Live API expects as input.
_REALTIME_RATE, _TELEPHONE_RATE, _GEMINI_INPUT_RATE = 24_000, 8_000, 16_000
# Others in a message are mistakes, and must not become a header.
_RATES = range(1, 1_000_000)
_CHANNELS = range(1, 17)

_BEGINNINGS = (
    (b"RIFF", ".wav"),
    (b"OggS", ".ogg"),
    (b"fLaC", ".flac"),
    (b"ID3", ".mp3"),
    (b"\xff\xfb", ".mp3"),
    (b"\xff\xf3", ".mp3"),
    (b"\xff\xf2", ".mp3"),
    (b"\x1aE\xdf\xa3", ".webm"),
)
"""How files of known formats begin. ``\\xff`` begins a frame of MP3 without ID3 tags."""


class SoundFormat(NamedTuple):
    """The format of samples without a header, which players cannot read. ``rate`` is in samples per second."""

    encoding: Encoding
    rate: int
    channels: int = 1

    def header(self, size: int) -> bytes:
        """Return the header of a WAV file with ``size`` bytes of samples."""
        width = 2 if self.encoding == "pcm16" else 1
        frame = width * self.channels
        # RIFF/WAVE: encodings other than PCM need an extension size in "fmt ", here 0, and a "fact" chunk.
        fields = struct.pack(
            "<HHIIHH", _TAGS[self.encoding], self.channels, self.rate, self.rate * frame, frame, width * 8
        )
        chunks = [(b"fmt ", fields)]
        if self.encoding != "pcm16":
            chunks = [(b"fmt ", fields + b"\0\0"), (b"fact", struct.pack("<I", size // frame))]
        head = b"".join([name + struct.pack("<I", len(data)) + data for name, data in chunks])
        return b"RIFF%bWAVE%bdata%b" % (struct.pack("<I", 4 + len(head) + 8 + size), head, struct.pack("<I", size))


def suffix_of(beginning: bytes, form: SoundFormat | None) -> str:
    """Return the ending for a file of sound, such as ``.wav``, by how the sound begins and by its declared format."""
    if (known := suffix_by_beginning(beginning)) is not None:
        return known
    return ".raw" if form is None else ".wav"


def suffix_by_beginning(beginning: bytes) -> str | None:
    """Return the ending of a file that begins as its format says; None for bare samples and unknown formats."""
    return next((suffix for mark, suffix in _BEGINNINGS if beginning.startswith(mark)), None)


def read_mime(mime: str, *, sent: bool) -> SoundFormat | None:
    """Parse the media type of sound, such as ``audio/pcm;rate=16000``. Returns None if it names no known encoding.

    ``sent`` says that the client sent the sound, which decides the default rate.
    """
    kind, _, parameters = mime.partition(";")
    rate = parse_qs(parameters.replace(" ", ""), separator=";").get("rate", [""])[-1]
    return _build(kind, rate, _GEMINI_INPUT_RATE if sent else _REALTIME_RATE)


def read_query(url: str) -> SoundFormat | None:
    """Parse the format of binary messages from the query of a handshake's URL, as speech providers take it.

    The parameters are ``encoding``, ``sample_rate`` and ``channels``. Returns None without a known encoding and a rate.
    """
    query = parse_qs(urlsplit(url).query)
    encoding, rate, channels = ([*query.get(name, ()), ""][0] for name in ("encoding", "sample_rate", "channels"))
    form = _build(encoding, rate, 0)
    count = int(channels) if channels.isascii() and channels.isdigit() and len(channels) < 3 else 1
    return form and form._replace(channels=count if count in _CHANNELS else 1)


def read_declared(message: dict[str, Any], *, sent: bool) -> SoundFormat | None:
    """Return the format of sound that a message of OpenAI's Realtime API declares; None if it declares none.

    With ``sent`` it is the format of what the client sends, otherwise that of what the provider sends.
    """
    side = "input" if sent else "output"
    for about in (message.get("session"), message.get("response")):
        if not isinstance(about, dict):
            continue
        declared = about.get(f"{side}_audio_format")
        inner: Any = about
        for step in ("audio", side, "format"):
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            return _build(inner.get("type"), inner.get("rate"), _REALTIME_RATE)
        if isinstance(declared, str):
            return _build(declared, "", _REALTIME_RATE)
    return None


def default_of(kind: Any) -> SoundFormat | None:
    """Return the format of sound in a message with a ``type`` of OpenAI's Realtime API, if no format was declared."""
    if kind == "input_audio_buffer.append" or (isinstance(kind, str) and kind.endswith("audio.delta")):
        return SoundFormat("pcm16", _REALTIME_RATE)
    return None


def _build(name: Any, rate: Any, default: int) -> SoundFormat | None:
    encoding = _ENCODINGS.get(name.strip().lower()) if isinstance(name, str) else None
    if encoding is None:
        return None
    if isinstance(rate, str) and rate.isascii() and rate.isdigit() and len(rate) < 7:
        rate = int(rate)
    if type(rate) is not int:
        rate = default if encoding == "pcm16" else _TELEPHONE_RATE
    return SoundFormat(encoding, rate) if rate in _RATES else None

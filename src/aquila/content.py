"""Parts of a message's content: text, images, files and sounds.

A part is a frozen record. ``image``, ``image_url``, ``file`` and ``audio`` build parts from a
path, bytes, a URL, or the provider's id of an uploaded file.
"""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from aquila.errors import InvalidMessage


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text.

    Examples:
        >>> message = aquila.Message("user", [aquila.Text("What is this?"), aquila.image_url("https://example.org/a.png")])
        >>> [part.text for part in message.content if isinstance(part, aquila.Text)]
        ['What is this?']
    """

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``url`` is a web address or a ``data:`` URL; ``detail`` is ``low``, ``high`` or ``auto``.

    Examples:
        >>> def picture_of(bird: str) -> aquila.Image:
        ...     return aquila.image_url(f"https://example.org/{bird}.png")
        >>> picture_of("eagle").url
        'https://example.org/eagle.png'
    """

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file: its ``data`` as a ``data:`` URL with a ``filename``, the provider's ``file_id``, or a web address.

    Examples:
        >>> def name_of(part: aquila.File) -> str:
        ...     return part.filename or part.file_id or part.url or ""
        >>> name_of(aquila.file(file_id="file-abc123"))
        'file-abc123'
    """

    filename: str | None = None
    data: str | None = None
    file_id: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound. ``data`` is base64, ``format`` is ``wav`` or ``mp3``.

    Examples:
        >>> isinstance(aquila.audio(b"RIFF....WAVE"), aquila.Audio)
        True
    """

    data: str
    format: str


Part: TypeAlias = Text | Image | File | Audio
"""What the content of a message consists of, where it is more than a text.

Examples:
    >>> def pictures_at(*addresses: str) -> list[aquila.Part]:
    ...     return [aquila.image_url(address, detail="low") for address in addresses]
    >>> aquila.Message("user", pictures_at("https://example.org/eagle.png")).content[0].detail
    'low'
"""
Source: TypeAlias = str | os.PathLike[str] | bytes


def image_url(url: str, *, detail: Literal["low", "high", "auto"] | None = None) -> Image:
    """Return an image part for a web address or a ``data:`` URL.

    ``detail`` is the resolution at which the model looks at it. Raises ``InvalidMessage`` for another kind of URL.
    """
    url = str(url)  # clients have types of their own for URLs, which JSON cannot hold
    if not url.startswith(("http://", "https://", "data:")):
        raise InvalidMessage(f"image_url() needs an http, https or data URL, got {url[:60]!r}; for a file use image()")
    return Image(url, detail)


def image(
    source: Source, *, media_type: str | None = None, detail: Literal["low", "high", "auto"] | None = None
) -> Image:
    """Return an image part made from a file or from bytes.

    ``media_type`` (``image/png``) is guessed from the file's name or the first bytes if it is not given.
    Raises ``InvalidMessage`` if the file cannot be read or its type cannot be guessed.

    Examples:
        >>> picture = aquila.image(b"\\x89PNG\\r\\n\\x1a\\n...", detail="low")    # or aquila.image("eagle.png")
        >>> picture.url[:22]
        'data:image/png;base64,'
        >>> aquila.ask(("user", ["What is this?", picture])).text
        'Eagles circle in rising warm air.'
    """
    data, name = _read_source(source, "image")
    return Image(_data_url(data, media_type or _guess_image_type(data, name)), detail)


def file(
    source: Source | None = None, *, filename: str | None = None, file_id: str | None = None, url: str | None = None
) -> File:
    """Return a file part: from a path or bytes, from the provider's ``file_id`` of an uploaded file, or from a URL.

    Bytes need a ``filename``: providers decide by its suffix what the file is. ``url`` is for the Responses API.
    Raises ``InvalidMessage``.

    Examples:
        >>> aquila.file(b"%PDF-1.7", filename="report.pdf").filename    # or aquila.file("report.pdf")
        'report.pdf'
        >>> message = ("user", ["Sum it up.", aquila.file(file_id="file-abc123")])
        >>> aquila.ask(message).text
        'Eagles circle in rising warm air.'
    """
    if file_id is not None or url is not None:
        if source is not None or filename is not None or (file_id is not None and url is not None):
            raise InvalidMessage("file() takes one of a source, a file_id or a url")
        url = None if url is None else str(url)
        if url is not None and not url.startswith(("http://", "https://")):
            raise InvalidMessage(f"file() needs an http or https URL, got {url[:60]!r}; for a file give its path")
        return File(file_id=file_id, url=url)
    if source is None:
        raise InvalidMessage("file() needs a path, bytes, a file_id or a url")
    data, name = _read_source(source, "file")
    name = filename or name
    if not name:
        raise InvalidMessage("file() needs filename= with bytes, such as filename='report.pdf'")
    media_type = _media_type_of(name) or "application/octet-stream"
    return File(filename=name, data=_data_url(data, media_type))


def audio(source: Source, *, format: Literal["wav", "mp3"] | None = None) -> Audio:
    """Return an audio part made from a file or from bytes. Without ``format`` the file's suffix or first bytes decide.

    Raises ``InvalidMessage`` for anything but ``wav`` and ``mp3``.

    Examples:
        >>> sound = aquila.audio(b"RIFF....WAVE")    # or aquila.audio("morning.wav")
        >>> sound.format
        'wav'
        >>> aquila.ask(("user", ["What is said?", sound])).text
        'Eagles circle in rising warm air.'
    """
    data, name = _read_source(source, "audio")
    found = format or (Path(name).suffix.removeprefix(".").lower() if name else _sound_format(data))
    if found not in ("wav", "mp3"):
        raise InvalidMessage(f"audio() takes 'wav' or 'mp3', not {found!r}; give format=")
    return Audio(base64.b64encode(data).decode("ascii"), found)


def part_from(value: Any) -> Part:
    """Return ``value`` as a part. It is a part, a string, or a dict in the form of the chat or the Responses API.

    Raises ``InvalidMessage``.
    """
    if isinstance(value, (Text, Image, File, Audio)):
        return value
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Mapping):
        try:
            return _part_from_mapping(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidMessage(f"content part of type {value.get('type')!r} lacks its fields: {error}") from error
    raise InvalidMessage(
        f"a content part is a string, a dict or a part such as aquila.image(), not {_type_name(value)}"
    )


def _part_from_mapping(value: Mapping[str, Any]) -> Part:
    match value.get("type"):
        case "text" | "input_text" | "output_text":
            return Text(_require_text(value["text"]))
        case "image_url" | "input_image":
            inner = value["image_url"]
            if isinstance(inner, Mapping):
                return Image(_require_text(inner["url"]), inner.get("detail"))
            return Image(_require_text(inner), value.get("detail"))
        case "file" | "input_file":
            inner = value["file"] if value["type"] == "file" else value
            part = File(inner.get("filename"), inner.get("file_data"), inner.get("file_id"), inner.get("file_url"))
            if part.data is None and part.file_id is None and part.url is None:
                raise KeyError("file_data")
            return part
        case "input_audio":
            inner = value["input_audio"]
            return Audio(_require_text(inner["data"]), _require_text(inner["format"]))
        case other:
            known = "text, image_url, file, input_audio, input_text, output_text, input_image, input_file"
            raise InvalidMessage(f"unknown type {other!r} of a content part; known are {known}")


def _require_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {_type_name(value)}")
    return value


def _type_name(value: Any) -> str:
    return type(value).__name__


def _read_source(source: Source, what: str) -> tuple[bytes, str]:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), ""
    try:
        path = Path(source)
        return path.read_bytes(), path.name
    except (OSError, TypeError, ValueError) as error:
        raise InvalidMessage(f"{what}({str(source)[:80]!r}) cannot be read: {error}") from error


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


# The first bytes by which an image format is recognised ("magic numbers"), with its media type.
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


# The type is part of the request and so of its recording. `mimetypes.guess_type` reads the system's tables, such as the
# registry of Windows, and the tables of `mimetypes` itself differ between versions of Python.
_OPEN_XML = "application/vnd.openxmlformats-officedocument"
_MEDIA_TYPES = {
    ".avif": "image/avif",
    ".csv": "text/csv",
    ".docx": f"{_OPEN_XML}.wordprocessingml.document",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".htm": "text/html",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".pptx": f"{_OPEN_XML}.presentationml.presentation",
    ".py": "text/x-python",
    ".rtf": "application/rtf",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".webp": "image/webp",
    ".xlsx": f"{_OPEN_XML}.spreadsheetml.sheet",
    ".xml": "text/xml",
}


def _media_type_of(name: str) -> str | None:
    suffix = os.path.splitext(name)[1].lower()
    return _MEDIA_TYPES.get(suffix) or mimetypes.MimeTypes().guess_type(name)[0]


def _guess_image_type(data: bytes, name: str) -> str:
    guessed = _media_type_of(name) if name else None
    # A WebP file is a RIFF container with its own tag at byte 8.
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        guessed = "image/webp"
    guessed = guessed or next((media for start, media in _IMAGES if data.startswith(start)), None)
    if guessed is None or not guessed.startswith("image/"):
        raise InvalidMessage(f"image(): cannot tell the type of {name or 'these bytes'}; give media_type='image/png'")
    return guessed


def _sound_format(data: bytes) -> str:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    # An MP3 file begins with an ID3 tag, or with the sync word of an MPEG-1 or MPEG-2 layer III frame.
    return "mp3" if data[:3] == b"ID3" or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2") else "unknown"

"""Finds images, sounds and files in the JSON of requests and answers, in their order."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from aquila.json_fields import mapping, string

MediaKind = Literal["image", "audio", "file", "other"]
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Media:
    """One image, sound or file. ``data`` is None if the bytes are not known; then there may be a ``url``."""

    kind: MediaKind
    media_type: str = ""
    name: str = ""
    data: bytes | None = None
    url: str = ""


def find_media(value: Any) -> list[Media]:
    """Return the images, sounds and files in a JSON value."""
    return list(_walk(value, 0))


def _walk(value: Any, depth: int) -> Iterator[Media]:
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from _walk(each, depth + 1)
    elif isinstance(value, dict):
        found = _read(value)
        if found is not None:
            yield found
            return
        if isinstance(value.get("images"), list):  # Ollama
            yield from (_from_base64("image", "", each) for each in value["images"] if isinstance(each, str))
        for name, each in value.items():
            if name != "images" and isinstance(each, dict | list):
                yield from _walk(each, depth + 1)


def _read(part: dict[str, Any]) -> Media | None:
    """Return the image, sound or file in one part of a message of OpenAI or Anthropic; None for another part."""
    kind = part.get("type")
    if kind in ("image_url", "input_image"):
        url = part.get("image_url")
        return _from_url("image", string(mapping(url).get("url")) or string(url), string(part.get("file_id")))
    if kind == "input_audio":
        audio = mapping(part.get("input_audio")) or part
        sound = string(audio.get("format")) or "wav"
        return _from_base64("audio", f"audio/{sound}", string(audio.get("data")))
    if kind in ("file", "input_file"):
        file = mapping(part.get("file")) or part
        name = string(file.get("filename"))
        url = string(file.get("file_data")) or string(file.get("file_url"))
        return _from_url("file", url, name or string(file.get("file_id")))
    if kind in ("image", "document") and mapping(part.get("source")):
        source = mapping(part["source"])
        what: MediaKind = "image" if kind == "image" else "file"
        if source.get("type") == "base64":
            return _from_base64(what, string(source.get("media_type")), string(source.get("data")))
        return _from_url(what, string(source.get("url")), string(part.get("title")) or string(source.get("file_id")))
    if kind == "image_generation_call":
        return _from_base64("image", "image/png", string(part.get("result")))
    return _read_others(part)


def _read_others(part: dict[str, Any]) -> Media | None:
    """Return the image, sound or file in one part of a message of Gemini or Bedrock; None for another part."""
    for key in ("inlineData", "inline_data", "fileData", "file_data"):
        if inline := mapping(part.get(key)):
            media_type = string(inline.get("mimeType")) or string(inline.get("mime_type"))
            kind = _kind_of(media_type)
            if "data" in inline:
                return _from_base64(kind, media_type, string(inline["data"]))
            return Media(kind, media_type, url=string(inline.get("fileUri")) or string(inline.get("file_uri")))
    for key in ("image", "document", "video"):
        block = mapping(part.get(key))
        if data := mapping(block.get("source")).get("bytes"):
            if key == "image":
                return _from_base64("image", f"image/{string(block.get('format'))}", string(data), block.get("name"))
            return _from_base64("file", "", string(data), block.get("name"))
    return None


def _kind_of(media_type: str) -> MediaKind:
    first = media_type.partition("/")[0]
    return "image" if first == "image" else "audio" if first == "audio" else "file"


def _from_url(kind: MediaKind, url: str, name: str = "") -> Media:
    if not url.startswith("data:"):
        return Media(kind, name=name, url=url)
    head, _, data = url[5:].partition(",")
    media_type = head.partition(";")[0]
    if head.endswith(";base64"):
        return _from_base64(kind, media_type, data, name)
    return Media(kind, media_type, name, unquote_to_bytes(data.encode("utf-8", "surrogatepass")))


def _from_base64(kind: MediaKind, media_type: str, data: str, name: Any = "") -> Media:
    try:
        return Media(kind, media_type, string(name), base64.b64decode(data))
    except ValueError:
        return Media(kind, media_type, string(name))

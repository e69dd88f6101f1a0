"""Texts and bodies of a report, each once, however many requests say the same."""

from __future__ import annotations

import base64
import hashlib

from aquila.run_report.schema import LONGEST_IN_PLACE, Body, BodyReference, Text

LONGEST = 256 * 1024
"""Bytes of a body that are kept. Of a longer one its beginning is."""

MOST = 64 * 1024 * 1024
"""Bytes of all bodies together, in one process. Of those that come after nothing is kept but their size."""


class Bodies:
    """Takes bodies in. ``take_new`` gives those that came since it was called last, so that a file can have them."""

    def __init__(self, most: int = MOST) -> None:
        self._left = most
        self._known: set[str] = set()
        self._new: dict[str, Body] = {}

    def add_text(self, text: str) -> Text:
        """Return a text as it stands in a report: itself if it is short, else a reference."""
        if len(text) <= LONGEST_IN_PLACE:
            return _clean(text)
        return self.add_long_text(text)

    def add_long_text(self, text: str, media_type: str = "") -> BodyReference:
        """Take in a text of any length."""
        data = text.encode("utf-8", "replace")
        body: Body = {}
        if media_type:
            body["media_type"] = media_type
        kept = self._shorten(data, body)
        body["text"] = kept.decode("utf-8", "ignore" if "cut" in body else "replace")
        return self._keep(data, body, len(kept))

    def add_bytes(self, data: bytes, media_type: str = "") -> BodyReference:
        """Take in a body: as text if it is one."""
        try:
            return self.add_long_text(data.decode(), media_type)
        except UnicodeDecodeError:
            body: Body = {"media_type": media_type} if media_type else {}
            kept = self._shorten(data, body)
            body["base64"] = base64.b64encode(kept).decode()
            return self._keep(data, body, len(kept))

    def add_body(self, data: bytes, media_type: str = "") -> Text:
        """Return a body as it stands in a report."""
        if len(data) <= LONGEST_IN_PLACE:
            try:
                return _clean(data.decode())
            except UnicodeDecodeError:
                pass
        return self.add_bytes(data, media_type)

    def add_image(self, data: bytes, media_type: str) -> BodyReference:
        """Take in an image, a sound or a file, as base64. A part of one is none: one that is too large is left out."""
        body: Body = {"media_type": media_type} if media_type else {}
        if len(data) > 4 * LONGEST:
            body |= {"base64": "", "cut": len(data)}
            return self._keep(data, body, 0)
        body["base64"] = base64.b64encode(data).decode()
        return self._keep(data, body, len(data))

    def take_new(self) -> dict[str, Body]:
        """Return what came since this was called last."""
        new, self._new = self._new, {}
        return new

    def _shorten(self, data: bytes, body: Body) -> bytes:
        if len(data) <= LONGEST:
            return data
        body["cut"] = len(data) - LONGEST
        return data[:LONGEST]

    def _keep(self, data: bytes, body: Body, size: int) -> BodyReference:
        key = hashlib.blake2b(data + b"\0" + body.get("media_type", "").encode(), digest_size=12).hexdigest()
        if key not in self._known:
            self._known.add(key)
            if size > self._left:
                name = "base64" if "base64" in body else "text"
                body[name] = ""  # type: ignore[literal-required]
                body["cut"] = len(data)
            else:
                self._left -= size
            self._new[key] = body
        return {"key": key, "size": len(data)}


def _clean(text: str) -> str:
    """Return a text that can be encoded: half a surrogate pair cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

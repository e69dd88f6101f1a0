"""Texts and bodies of a report, each once, however many requests say the same."""

from __future__ import annotations

import base64
import hashlib

from aquila.run_report.schema import LONGEST_IN_PLACE, Body, BodyReference, Text

LONGEST = 256 * 1024
"""Bytes of a body that are kept. Of a longer one its beginning and its end are."""

LONGEST_END = 64 * 1024
"""Bytes of the end of a longer one, among these."""

MOST = 64 * 1024 * 1024
"""Bytes of all bodies together, in one process. Of those that come after nothing is kept but their size."""

_CONTINUING = bytes(range(0x80, 0xC0))
"""What a character of UTF-8 never begins with."""


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
        return self.add_bytes(text.encode("utf-8", "replace"), media_type)

    def add_bytes(
        self, data: bytes, media_type: str = "", *, end: bytes = b"", size: int | None = None
    ) -> BodyReference:
        """Take in a body: as text if it is one.

        Where ``data`` is only its beginning, ``end`` is its end, and ``size`` the bytes of the whole.
        """
        size = len(data) if size is None else size
        body: Body = {"media_type": media_type} if media_type else {}
        mark = data + end + (b"" if size == len(data) else str(size).encode())
        begin = data
        if size > LONGEST:
            begin, end = data[: LONGEST - LONGEST_END], (end or data)[-LONGEST_END:]
            body["cut"] = size - len(begin) - len(end)
        try:
            body["text"] = begin.decode()
        except UnicodeDecodeError as error:
            if "cut" in body and error.start > len(begin) - 4:
                body["text"] = begin[: error.start].decode()
        if "text" not in body:
            body["base64"] = base64.b64encode(begin).decode()
            if "cut" in body:
                body["cut"] += len(end)
            return self._keep(mark, body, len(begin), size)
        if "cut" in body:
            body["end"] = end.lstrip(_CONTINUING).decode("utf-8", "replace")
        return self._keep(mark, body, len(begin) + len(end), size)

    def add_body(self, data: bytes, media_type: str = "", *, end: bytes = b"", size: int | None = None) -> Text:
        """Return a body as it stands in a report. ``end`` and ``size`` are those of ``add_bytes``."""
        if len(data) <= LONGEST_IN_PLACE:
            try:
                return _clean(data.decode())
            except UnicodeDecodeError:
                pass
        return self.add_bytes(data, media_type, end=end, size=size)

    def add_image(self, data: bytes, media_type: str, size: int | None = None) -> BodyReference:
        """Take in an image, a sound or a file, as base64. A part of one is none: one that is too large is left out.

        ``data`` may be the beginning of one that has ``size`` bytes.
        """
        body: Body = {"media_type": media_type} if media_type else {}
        size = len(data) if size is None else size
        if size > 4 * LONGEST:
            body |= {"base64": "", "cut": size}
            return self._keep(data, body, 0, size)
        body["base64"] = base64.b64encode(data).decode()
        return self._keep(data, body, len(data), len(data))

    def take_new(self) -> dict[str, Body]:
        """Return what came since this was called last."""
        new, self._new = self._new, {}
        return new

    def _keep(self, mark: bytes, body: Body, kept: int, size: int) -> BodyReference:
        key = hashlib.blake2b(mark + b"\0" + body.get("media_type", "").encode(), digest_size=12).hexdigest()
        if key not in self._known:
            self._known.add(key)
            if kept > self._left:
                name = "base64" if "base64" in body else "text"
                body[name] = ""  # type: ignore[literal-required]
                body["cut"] = size
                body.pop("end", None)
            else:
                self._left -= kept
            self._new[key] = body
        return {"key": key, "size": size}


def read_body(body: Body) -> str | None:
    """Return the text of a body, with a line in its middle that says what is left out there. None if it is no text."""
    text = body.get("text")
    if text is None or "end" not in body:
        return text
    return f"{text}\n\n{tell_left_out(body.get('cut', 0))}\n\n{body['end']}"


def tell_left_out(size: int) -> str:
    """Return the line that stands for ``size`` bytes which are left out."""
    told = f"{size / 1_000_000:.1f} MB" if size >= 1_000_000 else f"{size:,} bytes"
    return f"⋯ {told} are left out here ⋯"


def _clean(text: str) -> str:
    """Return a text that can be encoded: half a surrogate pair cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

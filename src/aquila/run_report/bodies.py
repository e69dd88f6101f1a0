"""The texts and bodies of a report, each stored once even if many requests share it."""

from __future__ import annotations

import base64
import hashlib

from aquila.run_report.schema import LONGEST_IN_PLACE, Body, BodyReference, Text

LONGEST = 256 * 1024
"""The greatest number of bytes that are kept of a body. Of a longer body, the beginning and the end are kept."""

LONGEST_END = 64 * 1024
"""The number of these bytes that are from the end of a longer body."""

MOST = 64 * 1024 * 1024
"""The greatest number of bytes of all bodies in one process. Of further bodies only the size is kept."""

_CONTINUING = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that continue a character, so that no character begins with one."""


class Bodies:
    """Collects bodies. ``take_new`` returns the new ones to be written to a file, so that memory does not grow.

    Only the thread that collects the report uses it. ``_known`` has the keys of all bodies until the run ends.
    """

    def __init__(self, most: int = MOST) -> None:
        self._left = most
        self._known: set[str] = set()
        self._new: dict[str, Body] = {}

    def add_text(self, text: str) -> Text:
        """Return a text as a report holds it: the text itself if it is short, else a reference."""
        return _clean(text) if len(text) <= LONGEST_IN_PLACE else self.add_bytes(text.encode("utf-8", "replace"))

    def add_bytes(
        self, data: bytes, media_type: str = "", *, end: bytes = b"", size: int | None = None
    ) -> BodyReference:
        """Add a body, as text if it is valid UTF-8, else as base64. Returns a reference to it.

        If ``data`` is only the beginning, ``end`` is the end of the body, and ``size`` the number of bytes of the
        whole.
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
            # The cut may split a character of up to four bytes; its first part is dropped.
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
        """Return a body as a report holds it. ``end`` and ``size``: see ``add_bytes``."""
        if len(data) <= LONGEST_IN_PLACE:
            try:
                return _clean(data.decode())
            except UnicodeDecodeError:
                pass  # not text, so it is kept as bytes below
        return self.add_bytes(data, media_type, end=end, size=size)

    def add_image(self, data: bytes, media_type: str, size: int | None = None) -> BodyReference:
        """Add an image, a sound or a file as base64; nothing of one that is too large, because a part is useless.

        ``data`` may be only the beginning, if ``size`` is the number of bytes of the whole.
        """
        body: Body = {"media_type": media_type} if media_type else {}
        size = len(data) if size is None else size
        if size > 4 * LONGEST:
            body |= {"base64": "", "cut": size}
            return self._keep(data, body, 0, size)
        body["base64"] = base64.b64encode(data).decode()
        return self._keep(data, body, len(data), len(data))

    def take_new(self) -> dict[str, Body]:
        """Return the bodies that were added since the last call, by their keys."""
        new, self._new = self._new, {}
        return new

    def _keep(self, mark: bytes, body: Body, kept: int, size: int) -> BodyReference:
        key = hashlib.sha256(mark + b"\0" + body.get("media_type", "").encode()).hexdigest()[:24]
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
    """Return the text of a body, with a line where a part is left out; None if the body is not text."""
    text = body.get("text")
    if text is None or "end" not in body:
        return text
    return f"{text}\n\n{tell_left_out(body.get('cut', 0))}\n\n{body['end']}"


def tell_left_out(size: int) -> str:
    """Return the line that stands for ``size`` bytes which are left out."""
    told = f"{size / 1_000_000:.1f} MB" if size >= 1_000_000 else f"{size:,} bytes"
    return f"⋯ {told} are left out here ⋯"


def _clean(text: str) -> str:
    """Return a text without halves of surrogate pairs, which cannot be encoded."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

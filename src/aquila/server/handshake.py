"""The handshake of a WebSocket, as the connection read it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers

_OF_THE_PROTOCOL = (b"connection", b"upgrade")


@dataclass(frozen=True, slots=True)
class Handshake:
    """A ``GET`` request for a WebSocket. The names of its ``fields`` are in lower case."""

    raw_target: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    @property
    def target(self) -> str:
        """Its path with its query, as it was sent."""
        return self.raw_target.decode("latin-1")

    @property
    def headers(self) -> Headers:
        """Its header fields."""
        return Headers(raw=list(self.fields))

    def head_for_protocol(self) -> bytes:
        """Return a request with only the fields of the WebSocket protocol; the rest is checked elsewhere."""
        kept = (
            b"%s: %s\r\n" % field
            for field in self.fields
            if field[0] in _OF_THE_PROTOCOL or field[0].startswith(b"sec-websocket-")
        )
        return b"GET / HTTP/1.1\r\nhost: localhost\r\n%s\r\n" % b"".join(kept)

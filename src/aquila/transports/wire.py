"""Translates httpx2's requests, headers and errors into what a cassette holds, and back."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import httpx2

from aquila.cassettes.model import Headers, RecordedRequest

ERRORS: dict[str, type[httpx2.TransportError]] = {
    error.__name__: error
    for error in (
        httpx2.ReadError,
        httpx2.ReadTimeout,
        httpx2.RemoteProtocolError,
        httpx2.NetworkError,
        httpx2.TimeoutException,
        httpx2.ProtocolError,
        httpx2.TransportError,
    )
}
"""The ways in which an answer breaks off, by the names under which cassettes keep them."""


def to_recorded_request(request: httpx2.Request) -> RecordedRequest:
    """The recordable form of a request whose body has been read."""
    # Without the length of the body, all requests of a client have the same fields.
    fields = [field for field in request.headers.raw if field[0] not in (b"Content-Length", b"content-length")]
    headers, encoding = _decode_headers_cached(tuple(fields))
    body = request.content
    if body and encoding:
        decoder = decoder_for(encoding)
        body = decoder(body) + decoder(None) if decoder else body
    return RecordedRequest(request.method, str(request.url), headers, body)


@functools.lru_cache(maxsize=256)
def _decode_headers_cached(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[Headers, str]:
    """Header fields as text, and the content coding among them."""
    headers = decode_headers(raw)
    return headers, ", ".join(value for name, value in headers if name == "content-encoding")


def decode_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Header fields as text, names in lower case, in order."""
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw)


def error_from_text(error: str) -> httpx2.TransportError:
    """The exception that a cassette keeps as ``Name: text``."""
    name, _, text = error.partition(": ")
    return ERRORS.get(name, httpx2.RemoteProtocolError)(text or "the recorded answer broke off here")


def error_to_text(error: BaseException) -> str:
    """The text under which a cassette keeps an exception of the HTTP client."""
    name = next((base.__name__ for base in type(error).__mro__ if base.__name__ in ERRORS), "RemoteProtocolError")
    return f"{name}: {error}"


Decoder = Callable[[bytes | None], bytes]
"""Decodes one content coding piece by piece; None asks for what is left at the end."""


def decoder_for(encoding: str) -> Decoder | None:
    """A decoder for a Content-Encoding, or None for one that cannot be undone here (the body is then kept as it is)."""
    codings = [coding.strip().lower() for coding in encoding.split(",") if coding.strip()]
    codings = [coding for coding in codings if coding != "identity"]
    if len(codings) != 1:
        return None
    if codings[0] in ("gzip", "x-gzip"):
        return _zlib_decoder(zlib.decompressobj(zlib.MAX_WBITS | 16))
    if codings[0] == "deflate":
        return _deflate_decoder()
    if codings[0] == "br":
        return _brotli_decoder()
    return None


def _zlib_decoder(decompressor: Any) -> Decoder:
    return lambda data: decompressor.flush() if data is None else decompressor.decompress(data)


def _deflate_decoder() -> Decoder:
    decompressor: Any = None

    def decode(data: bytes | None) -> bytes:
        nonlocal decompressor
        if data is None:
            return b"" if decompressor is None else bytes(decompressor.flush())
        if decompressor is None:
            # Some servers send raw deflate data instead of the zlib format that RFC 9110, 8.4.1.2 asks for.
            decompressor = zlib.decompressobj()
            try:
                return bytes(decompressor.decompress(data))
            except zlib.error:
                decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        return bytes(decompressor.decompress(data))

    return decode


def _brotli_decoder() -> Decoder | None:
    try:
        import brotli  # noqa: PLC0415 - optional, and seldom needed
    except ImportError:
        return None
    decompressor = brotli.Decompressor()
    return lambda data: b"" if data is None else bytes(decompressor.process(data))

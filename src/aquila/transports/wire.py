"""Translates requests, headers and errors of httpx2 to the forms in a cassette, and back."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx2

from aquila.cassettes.body_file import BodyFile, StoredRequest
from aquila.cassettes.model import Headers, RecordedChunk, RecordedRequest
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes import content_codings
    from aquila.transports import upload_spool
    from aquila.transports.upload_spool import UploadSpool
else:
    lazy_modules(globals(), "aquila.cassettes: content_codings", "aquila.transports: upload_spool")

ERRORS: dict[str, type[httpx2.RequestError]] = {
    error.__name__: error
    for error in (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.ReadError,
        httpx2.ReadTimeout,
        httpx2.WriteError,
        httpx2.WriteTimeout,
        httpx2.CloseError,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.LocalProtocolError,
        httpx2.RemoteProtocolError,
        httpx2.NetworkError,
        httpx2.TimeoutException,
        httpx2.ProtocolError,
        httpx2.TransportError,
        httpx2.DecodingError,
    )
}
"""The errors of a connection, by the names under which cassettes store them."""


class SpooledUpload(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of a request that is too large for memory, in a temporary file from which it is sent."""

    def __init__(self, file: BodyFile) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        yield from self.file.pieces()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.file.pieces():
            yield piece


def innermost_stream(response: httpx2.Response) -> Any:
    """Return the stream of an answer as its route made it, below streams that only watch the reading."""
    stream: Any = response.stream
    while (inner := getattr(stream, "watched_stream", None)) is not None:
        stream = inner
    return stream


_parse_plain_url = functools.lru_cache(maxsize=256)(httpx2.URL)


def parse_url(text: str) -> httpx2.URL:
    """Return a URL of httpx2. It is cached, because parsing takes longer than a replay and programs use few URLs.

    A URL that may hold a key is not cached, so that the key does not stay in memory.
    """
    return httpx2.URL(text) if "?" in text or "@" in text else _parse_plain_url(text)


def read_request(request: httpx2.Request, find_recorded: Callable[[], Iterable[BodyFile]] = tuple) -> RecordedRequest:
    """Read the body of a request, and return its recordable form.

    The body is read into memory, or into a temporary file if it is large and comes in pieces. ``find_recorded`` is that
    of ``UploadSpool``.
    """
    if not _is_in_memory(request):
        stream: Any = request.stream
        with upload_spool.UploadSpool(find_recorded) as spool:
            for piece in stream:
                spool.add(piece)
            _keep_body(request, spool)
    return to_recorded_request(request)


async def read_request_async(
    request: httpx2.Request, find_recorded: Callable[[], Iterable[BodyFile]] = tuple
) -> RecordedRequest:
    """The async twin of ``read_request``."""
    if not _is_in_memory(request):
        stream: Any = request.stream
        with upload_spool.UploadSpool(find_recorded) as spool:
            async for piece in stream:
                spool.add(piece)
            _keep_body(request, spool)
    return to_recorded_request(request)


def _is_in_memory(request: httpx2.Request) -> bool:
    try:
        request.content  # noqa: B018 - raises if the body was not read yet
    except httpx2.RequestNotRead:
        return isinstance(request.stream, SpooledUpload)
    return True


def _keep_body(request: httpx2.Request, spool: UploadSpool) -> None:
    content = spool.finish()
    if isinstance(content, BodyFile):
        request.stream = SpooledUpload(content)
    else:
        request.stream = httpx2.ByteStream(content)
        request.read()


def to_recorded_request(request: httpx2.Request) -> RecordedRequest:
    """Return the recordable form of a request, whose body must have been read."""
    # Without the length of the body, all requests of a client have the same fields, and the cache is of use.
    fields = [field for field in request.headers.raw if field[0] not in (b"Content-Length", b"content-length")]
    headers, encoding = _decode_headers_cached(tuple(fields))
    if isinstance(request.stream, SpooledUpload):
        if not encoding:
            return StoredRequest(request.method, str(request.url), headers, request.stream.file)
        body = request.stream.file.read()
    else:
        body = request.content
    return RecordedRequest(
        request.method, str(request.url), headers, content_codings.decode_body(body, encoding) if encoding else body
    )


@functools.lru_cache(maxsize=256)
def _decode_headers_cached(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[Headers, str]:
    """Return header fields as text, and their content coding.

    Cached, because a client sends the same fields each time.
    """
    headers = decode_headers(raw)
    return headers, ", ".join(value for name, value in headers if name == "content-encoding")


def decode_headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return header fields as text, in order, with names in lower case."""
    return tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw)


def undo_coding(headers: Headers, chunks: Sequence[RecordedChunk]) -> tuple[Headers, tuple[RecordedChunk, ...]]:
    """Return the header fields and the chunks of an answer without its content coding. A decoded body is one chunk."""
    coding = ", ".join(value for name, value in headers if name == "content-encoding")
    if coding and chunks:
        body = content_codings.decode_body(b"".join([chunk.data for chunk in chunks]), coding)
        chunks = [RecordedChunk(body, chunks[-1].at)]
    return tuple(field for field in headers if field[0] not in ("content-encoding", "content-length")), tuple(chunks)


def encode_headers(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return header fields as bytes: the inverse of ``decode_headers``.

    A test or another tool may write values that no HTTP header can have. These become UTF-8. As text, httpx2 would take
    only ASCII.
    """
    return [(_encode_field(name), _encode_field(value)) for name, value in fields]


# Cached, because a run replays the same recordings again and again. They hold no secrets that would stay in memory.
encode_recorded_headers = functools.lru_cache(maxsize=256)(encode_headers)
"""Return the header fields of a recording as bytes, in a list that must not be changed. See ``encode_headers``."""


def _encode_field(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")


def error_from_text(error: str) -> httpx2.RequestError:
    """Return the exception that a cassette stores as ``Name: text``."""
    name, is_named, text = error.partition(": ")
    if is_named and name in ERRORS:
        return ERRORS[name](text)  # the text may be empty: asynchronous clients raise ``ReadError("")`` after a reset
    return ERRORS.get(name, httpx2.RemoteProtocolError)(text or "the recorded answer broke off here")


def error_to_text(error: BaseException) -> str:
    """Return the text under which a cassette stores an exception of the HTTP client."""
    name = next((base.__name__ for base in type(error).__mro__ if base.__name__ in ERRORS), "RemoteProtocolError")
    return f"{name}: {error}"

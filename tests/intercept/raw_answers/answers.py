"""The table of answers, byte for byte as a server sends them. Each is sent in one piece."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Literal

from tests.support import amazon
from tests.support.compression import zstd
from tests.support.provider import chat_stream

After = Literal["keep", "close", "reset"]


@dataclass(frozen=True)
class RawAnswer:
    """What a server sends to a request, and whether it keeps the connection then, closes or resets it."""

    sent: bytes
    after: After = "keep"


@dataclass(frozen=True)
class Case:
    """A row: the answers to the requests of one call of a client, in order; the last one answers all that follow.

    ``coded``: the body has a content coding, so that a client that shows bodies as they were sent shows other bytes.
    """

    answers: tuple[RawAnswer, ...]
    method: str = "GET"
    coded: bool = False
    attempts: int = 1


def head(status: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    """A status line and header fields."""
    return "\r\n".join([f"{version} {status}", *fields, "", ""]).encode("latin-1")


def sized(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer with the length of its body, or another ``length``."""
    return head(status, *fields, f"Content-Length: {len(body) if length is None else length}") + body


def chunked(*chunks: bytes, fields: tuple[str, ...] = (), status: str = "200 OK", last: bytes = b"0\r\n\r\n") -> bytes:
    """An answer in chunks."""
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head(status, *fields, "Transfer-Encoding: chunked") + sent + last


def each_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def one(sent: bytes, after: After = "keep", **options: object) -> Case:
    return Case((RawAnswer(sent, after),), **options)  # type: ignore[arg-type]


JSON = "Content-Type: application/json"
TEXT = "Content-Type: text/plain; charset=utf-8"
EVENTS = "Content-Type: text/event-stream"
COMPLETION = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Eagles soar – höher."}}
        ],
    },
    ensure_ascii=False,
).encode()
STREAM = chat_stream("Eagles ", "soar – höher")
LONG_TEXT = b"an eagle " * 400


def coded(coding: str, body: bytes, *, after: After = "keep", length: int | None = None) -> Case:
    return one(sized(body, TEXT, f"Content-Encoding: {coding}", length=length), after, coded=True)


def brotli(data: bytes) -> bytes:
    import brotli as library

    packed: bytes = library.compress(data)
    return packed


AMAZON = b"".join(
    amazon.frame(json.dumps({"bytes": base64.b64encode(b'{"text":"%s"}' % word).decode()}).encode())
    for word in (b"Eagles", b"soar")
)
ODD_EVENTS = (
    b'\xef\xbb\xbf: a comment\r\ndata: {"choices": []}\r\rid: 7\nretry: 10\nevent: ping\ndata\n\n'
    b'data:\n\ndata:  two\ndata: lines\r\n\r\nid: \x00\n\n:\n\ndata: [DONE]\n\ndata: {"choices": []}\n\n'
)

TOO_MANY = sized(
    b'{"error":{"message":"slow down"}}',
    JSON,
    "Retry-After: 0",
    "retry-after-ms: 1",
    status="429 Too Many Requests",
)

CASES: dict[str, Case] = {
    # The status line and what is before it.
    "a JSON answer": one(sized(COMPLETION, JSON)),
    "no reason phrase": one(head("200 ", JSON, f"Content-Length: {len(COMPLETION)}") + COMPLETION),
    "no reason phrase and no blank": one(head("200", JSON, f"Content-Length: {len(COMPLETION)}") + COMPLETION),
    "a reason phrase of its own": one(sized(b"{}", JSON, status="200 Fine  by me; 100%")),
    "a reason phrase that is not ASCII": one(sized(b"{}", JSON, status="404 Pas trouv\u00e9")),
    "a failure with a reason phrase of its own": one(sized(b'{"error":{"message":"no"}}', JSON, status="418 Short")),
    "a status without a standard phrase": one(sized(b"{}", JSON, status="299 Odd")),
    "a status above 599": one(sized(b"{}", JSON, status="799 Beyond")),
    "a status of two digits": one(sized(b"{}", JSON, status="99 Below")),
    "HTTP/1.0": one(head("200 OK", JSON, version="HTTP/1.0") + COMPLETION, "close"),
    "HTTP/1.0 with keep-alive": one(
        head("200 OK", JSON, "Connection: keep-alive", f"Content-Length: {len(COMPLETION)}", version="HTTP/1.0")
        + COMPLETION
    ),
    "no HTTP": one(b"+OK ready\r\n\r\n", "close"),
    "lines that end with LF alone": one(
        (b"HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: %d\n\n" % len(COMPLETION)) + COMPLETION
    ),
    "100 before the answer": one(head("100 Continue") + sized(COMPLETION, JSON)),
    "100 with fields before the answer": one(head("100 Continue", "X-First: 1") + sized(COMPLETION, JSON)),
    "102 and 103 before the answer": one(
        head("102 Processing") + head("103 Early Hints", "Link: </a>; rel=preload") + sized(COMPLETION, JSON)
    ),
    "an upgrade that nobody asked for": one(
        head("101 Switching Protocols", "Upgrade: odd", "Connection: Upgrade"), "close"
    ),
    "an upgrade refused": one(sized(b"no", TEXT, "Upgrade: h2c", status="426 Upgrade Required")),
    # Answers without a body.
    "204": one(head("204 No Content")),
    "204 with a length": one(head("204 No Content", "Content-Length: 0")),
    "204 with a body": one(sized(b"not allowed", TEXT, status="204 No Content"), "close"),
    "205": one(head("205 Reset Content", "Content-Length: 0")),
    "304": one(head("304 Not Modified", 'ETag: "a"', "Content-Length: 1234")),
    "HEAD": one(head("200 OK", JSON, "Content-Length: 1234"), method="HEAD"),
    "HEAD in chunks": one(head("200 OK", JSON, "Transfer-Encoding: chunked"), method="HEAD"),
    "HEAD with a coding": one(head("200 OK", JSON, "Content-Encoding: gzip", "Content-Length: 99"), method="HEAD"),
    "HEAD with a body": one(sized(b"not allowed", TEXT), "close", method="HEAD"),
    "an empty body": one(sized(b"", JSON)),
    "an empty body in chunks": one(chunked(fields=(JSON,))),
    "an empty body until the end": one(head("200 OK", JSON, "Connection: close"), "close"),
    "a failure with an empty body": one(sized(b"", status="500 Internal Server Error")),
    # Where a body ends.
    "a body until the end": one(head("200 OK", TEXT, "Connection: close") + b"until the end", "close"),
    "a body longer than its length": one(sized(b"too long", TEXT, length=3), "close"),
    "a body shorter than its length": one(sized(b"too short", TEXT, length=100), "close"),
    "a body that is reset": one(sized(b"too short", TEXT, length=100), "reset"),
    "a length twice": one(sized(b"four", TEXT, "Content-Length: 4")),
    "two lengths": one(sized(b"four", TEXT, "Content-Length: 5"), "close"),
    "a length that is no number": one(head("200 OK", TEXT, "Content-Length: four") + b"four", "close"),
    "a negative length": one(head("200 OK", TEXT, "Content-Length: -4") + b"four", "close"),
    "a length and chunks": one(chunked(b"four", fields=(TEXT, "Content-Length: 2")), "close"),
    "chunks": one(chunked(b"Eagles ", b"soar", fields=(TEXT,))),
    "chunks of one byte": one(chunked(*each_byte("höher – 高".encode()), fields=(TEXT,))),
    "chunks with extensions": one(
        head("200 OK", TEXT, "Transfer-Encoding: chunked")
        + b'4;name=value;other="quoted; text"\r\nfour\r\n0005;x\r\nfives\r\n0;last\r\n\r\n'
    ),
    "chunks with trailers": one(
        chunked(b"four", fields=(TEXT, "Trailer: X-Sum"), last=b"0\r\nX-Sum: 4\r\nX-More: 1\r\n\r\n")
    ),
    "chunks that end in a chunk": one(
        head("200 OK", TEXT, "Transfer-Encoding: chunked") + b"4\r\nfour\r\n9\r\nni", "close"
    ),
    "chunks without a last one": one(chunked(b"four", b"five", fields=(TEXT,), last=b""), "close"),
    "chunks that are reset": one(chunked(b"four", b"five", fields=(TEXT,), last=b""), "reset"),
    "a size of a chunk that is no number": one(
        head("200 OK", TEXT, "Transfer-Encoding: chunked") + b"4\r\nfour\r\nxyz\r\nfour\r\n0\r\n\r\n", "close"
    ),
    "an end in the status line": one(b"HTTP/1.1 20", "close"),
    "an end in the fields": one(b"HTTP/1.1 200 OK\r\nContent-Type: text/pl", "close"),
    "an end behind the fields": one(sized(b"", TEXT, length=10), "close"),
    "no answer at all": one(b"", "close"),
    "no answer but a reset": one(b"", "reset"),
    # Content codings.
    "gzip": coded("gzip", gzip.compress(LONG_TEXT)),
    "gzip in two members": coded("gzip", gzip.compress(LONG_TEXT) + gzip.compress(b"more")),
    "gzip cut off": coded("gzip", gzip.compress(LONG_TEXT)[:-12]),
    "gzip with something behind it": coded("gzip", gzip.compress(LONG_TEXT) + b"\x00\x01rest"),
    "gzip twice": coded("gzip, gzip", gzip.compress(gzip.compress(LONG_TEXT))),
    "gzip of an empty body": coded("gzip", gzip.compress(b"")),
    "gzip without a body": coded("gzip", b""),
    "gzip that is none": coded("gzip", b"plain text"),
    "gzip that breaks off": coded("gzip", gzip.compress(LONG_TEXT)[:40], length=1000, after="close"),
    "gzip in upper case": coded("GZIP", gzip.compress(LONG_TEXT)),
    "gzip in chunks": one(
        chunked(*each_byte(gzip.compress(b"Eagles soar")), fields=(TEXT, "Content-Encoding: gzip")), coded=True
    ),
    "deflate": coded("deflate", zlib.compress(LONG_TEXT)),
    "deflate without a header": coded("deflate", zlib.compress(LONG_TEXT, wbits=-15)),
    "deflate cut off": coded("deflate", zlib.compress(LONG_TEXT)[:-8]),
    "br": coded("br", brotli(LONG_TEXT)),
    "br cut off": coded("br", brotli(LONG_TEXT)[:-2]),
    "br twice": coded("br", brotli(LONG_TEXT) * 2),
    "zstd": coded("zstd", zstd.compress(LONG_TEXT)),
    "zstd cut off": coded("zstd", zstd.compress(LONG_TEXT)[:-2]),
    "zstd in two frames": coded("zstd", zstd.compress(LONG_TEXT) + zstd.compress(b"more")),
    "a coding nobody knows": coded("x-own", b"\x00\x01own"),
    "identity": coded("identity", LONG_TEXT),
    # Header fields.
    "a charset nobody knows": one(sized("höher".encode(), "Content-Type: text/plain; charset=x-unknown")),
    "another charset": one(sized("höher".encode("latin-1"), "Content-Type: text/plain; charset=latin-1")),
    "a charset in quotes": one(sized("höher".encode("utf-16"), 'Content-Type: text/plain; charset="UTF-16"')),
    "text that is not its charset": one(sized("höher".encode("latin-1"), TEXT)),
    "JSON with a mark at its beginning": one(sized(b"\xef\xbb\xbf" + COMPLETION, JSON)),
    "no content type": one(sized(COMPLETION)),
    "a field that is not ASCII": one(sized(COMPLETION, JSON, "X-City: Orl\u00e9ans")),
    "a field in UTF-8": one(sized(COMPLETION, JSON, "X-City: " + "Orléans".encode().decode("latin-1"))),
    "a field over two lines": one(sized(COMPLETION, JSON, "X-Long: one\r\n two\r\n\tthree")),
    "a field without a value": one(sized(COMPLETION, JSON, "X-Empty:", "X-Blank:   ")),
    "a field with blanks around it": one(sized(COMPLETION, JSON, "X-Blanks:  \t in between \t ")),
    "a field with an empty name": one(sized(COMPLETION, JSON, ": nobody")),
    "a field without a colon": one(sized(COMPLETION, JSON, "nothing"), "close"),
    "fields that are repeated": one(
        sized(COMPLETION, JSON, "X-Same: one", "x-same: two", "WWW-Authenticate: Basic", "X-Same: one", "Via: 1.1 a")
    ),
    "a content type twice": one(sized(COMPLETION, JSON, "content-type: text/plain")),
    "fields that differ each time, in between": one(
        sized(COMPLETION, "Date: Fri, 27 Nov 2026 10:00:00 GMT", JSON, "X-Request-Id: req_1", "X-Of-This: yes")
    ),
    "cookies": one(
        sized(COMPLETION, JSON, "Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; Expires=Fri, 27 Nov 2099 10:00:00 GMT")
    ),
    "a very long field": one(sized(COMPLETION, JSON, "X-Long: " + "a" * 8000)),
    "a field that is too long": one(sized(COMPLETION, JSON, "X-Long: " + "a" * 80000)),
    "many fields": one(sized(COMPLETION, JSON, *(f"X-Field-{number}: {number}" for number in range(90)))),
    "too many fields": one(sized(COMPLETION, JSON, *(f"X-Field-{number}: {number}" for number in range(400)))),
    # What clients do with an answer by themselves.
    "redirects with cookies": Case(
        (
            RawAnswer(sized(b"", "Location: ./next", "Set-Cookie: seen=1; Path=/", status="302 Found")),
            RawAnswer(
                sized(b"moved", "Location: ./last?a=b", "Set-Cookie: seen=2; Path=/", status="307 Temporary Redirect")
            ),
            RawAnswer(sized(COMPLETION, JSON)),
        )
    ),
    "a redirect to nowhere": one(sized(b"", status="302 Found")),
    "a redirect in circles": one(sized(b"", "Location: ./again", status="302 Found")),
    "429 and then the answer": Case(
        (
            RawAnswer(TOO_MANY),
            RawAnswer(sized(COMPLETION, JSON)),
        ),
        attempts=2,
    ),
    "429 for ever": one(
        TOO_MANY,
        attempts=2,
    ),
    "401 with a challenge": one(
        sized(
            b'{"error":{"message":"who?"}}',
            JSON,
            'WWW-Authenticate: Basic realm="a", Bearer',
            status="401 Unauthorized",
        )
    ),
    "407": one(sized(b"", "Proxy-Authenticate: Basic", status="407 Proxy Authentication Required")),
    "408 and the end": one(sized(b"", "Connection: close", status="408 Request Timeout"), "close"),
    "416": one(sized(b"", "Content-Range: bytes */10", status="416 Range Not Satisfiable")),
    "206 with a part": one(sized(b"part", TEXT, "Content-Range: bytes 0-3/10", status="206 Partial Content")),
    # Streams.
    "a stream of events": one(chunked(*STREAM.splitlines(keepends=True), fields=(EVENTS,))),
    "a stream of events with CRLF": one(chunked(STREAM.replace(b"\n", b"\r\n"), fields=(EVENTS,))),
    "a stream of events with CR": one(chunked(STREAM.replace(b"\n", b"\r"), fields=(EVENTS,))),
    "a stream of events byte by byte": one(chunked(*each_byte(STREAM.replace(b"\n", b"\r\n")), fields=(EVENTS,))),
    "a stream of odd events": one(chunked(ODD_EVENTS, fields=(EVENTS,))),
    "a stream of events that breaks off": one(
        chunked(*STREAM.splitlines(keepends=True)[:5], fields=(EVENTS,), last=b""), "close"
    ),
    "a stream of events until the end": one(head("200 OK", EVENTS, "Connection: close") + STREAM, "close"),
    "a stream of events without its end": one(
        chunked(STREAM.replace(b"data: [DONE]\n\n", b"").rstrip(b"\n"), fields=(EVENTS,))
    ),
    "a stream of events in gzip": one(
        chunked(gzip.compress(STREAM), fields=(EVENTS, "Content-Encoding: gzip")), coded=True
    ),
    "a stream of JSON lines": one(
        chunked(b'{"a": "\xc3', b'\xb6"}\n{"b"', b": 2}\n\n", fields=("Content-Type: application/x-ndjson",))
    ),
    "an event stream of AWS": one(
        chunked(AMAZON[:50], AMAZON[50:], fields=("Content-Type: application/vnd.amazon.eventstream",))
    ),
    "an event stream of AWS, damaged": one(
        chunked(AMAZON[:-1] + b"\x00", fields=("Content-Type: application/vnd.amazon.eventstream",))
    ),
    "bytes": one(sized(bytes(range(256)), "Content-Type: application/octet-stream")),
    "a large body": one(sized(LONG_TEXT * 100, TEXT)),
}

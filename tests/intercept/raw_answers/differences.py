"""What a program may see otherwise, and why: as rules for all answers, and as rows for single ones.

There are three steps: from a client without Aquila to one that is live under Aquila, from the first to one that is
recorded, and from that to its replay. Nothing may differ in the first.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tests.intercept.raw_answers.answers import CASES
from tests.intercept.raw_answers.clients import CLIENTS, Seen

Step = Literal["live", "recorded", "replayed"]

_ON_HTTP_CLIENT = ("requests", "urllib3", "http.client", "urllib.request", "httplib2", "boto3")
_ON_HTTPX = ("httpx2", "httpx2 async", "httpx", "httpx async")
_NOT_DECODING = ("http.client", "urllib.request", "httplib2", "boto3")
_CODED = tuple(name for name, case in CASES.items() if case.coded)
_ALL = ("*",)
_IS_CUT_BY_BUFFER = io.DEFAULT_BUFFER_SIZE <= 8192
"""Whether what ``http.client`` reads at once ends between a very long field and the body: not since Python 3.14."""

_NOT_STORED = re.compile(
    "set-cookie|connection|transfer-encoding|content-length|via|trailer|upgrade|proxy-authenticate"
    "|x-should-retry|retry-after-ms"
)
"""Fields that a cassette does not hold (docs/redaction.md), and those of the advice to clients not to wait."""

_SOCKET = re.compile(r"(unclosed <socket\.socket)\b.*")
"""The part of a warning that names a socket, which has other numbers each time."""


@dataclass(frozen=True)
class Difference:
    """A row: these ``parts`` of what these clients see of these cases may differ in a step. ``why`` says the reason."""

    step: Step
    clients: tuple[str, ...]
    cases: tuple[str, ...]
    parts: tuple[str, ...]
    why: str

    def covers(self, step: Step, client: str, case: str, part: str) -> bool:
        return (
            step == self.step
            and client in self.clients
            and (case in self.cases or self.cases == _ALL)
            and (part in self.parts or self.parts == _ALL)
        )


DIFFERENCES = (
    Difference(
        "recorded",
        tuple(CLIENTS),
        ("a status above 599",),
        _ALL,
        "what HTTP does not have is not recorded: a CassetteWriteError says so",
    ),
    Difference("replayed", tuple(CLIENTS), ("a status above 599",), _ALL, "as above: a CassetteMiss"),
    Difference(
        "recorded",
        ("requests", "urllib3", "http.client", "httplib2"),
        ("HTTP/1.0", "HTTP/1.0 with keep-alive"),
        ("version", "closes"),
        "a recorder hands an answer on as one of HTTP/1.1",
    ),
    Difference(
        "replayed",
        (*_ON_HTTPX, "aiohttp"),
        ("HTTP/1.0", "HTTP/1.0 with keep-alive"),
        ("version",),
        "the version of HTTP is not stored",
    ),
    Difference(
        "recorded",
        ("http.client",),
        ("an end in the fields", "a field without a colon"),
        ("closes",),
        "a body that ends with its connection comes in chunks, so that it comes piece by piece",
    ),
    Difference(
        "replayed",
        (*_ON_HTTPX, "requests", "urllib3", "http.client", "urllib.request", "httplib2", "aiohttp"),
        (
            "no reason phrase",
            "no reason phrase and no blank",
            "a reason phrase of its own",
            "a reason phrase that is not ASCII",
            "a failure with a reason phrase of its own",
            "a status without a standard phrase",
            "416",  # of which libraries have two phrases
        ),
        ("reason", "raised for status", "error"),
        "reason phrases are not stored, as HTTP/2 and 3 have none: a replay has the standard one",
    ),
    Difference(
        "recorded",
        _NOT_DECODING,
        _CODED,
        _ALL,
        "bodies are recorded readable, also for clients that leave the decoding to the program",
    ),
    Difference(
        "recorded",
        (*_ON_HTTPX, "openai", "openai async"),
        ("gzip in two members", "zstd in two frames"),
        ("pieces", "text", "parsed"),
        "all of it is decoded, as RFC 1952 says; these clients stop behind the first member",
    ),
    Difference(
        "recorded",
        (*_ON_HTTPX, "requests", "urllib3", "aiohttp"),
        (
            "gzip that is none",
            "gzip with something behind it",
            "gzip twice",
            "deflate cut off",
            "br twice",
            "zstd cut off",
        ),
        _ALL,
        "bodies are decoded for all clients in one way, which decides what is damaged, and what the error says",
    ),
    Difference(
        "recorded",
        (*_ON_HTTP_CLIENT, "aiohttp"),
        ("chunks that end in a chunk", "a size of a chunk that is no number", "gzip that breaks off"),
        ("pieces", "error", "text", "then"),
        "what has come of the last chunk is handed on; the error has the same class, and counts other bytes",
    ),
    Difference(
        "recorded",
        _ON_HTTP_CLIENT,
        ("a field over two lines",),
        ("fields",),
        "a field on several lines is one line, as other clients have it and RFC 9112 says",
    ),
    Difference(
        "replayed",
        _ON_HTTP_CLIENT,
        ("a field that is too long", "too many fields"),
        ("error", "text", "then"),
        "any head that is not HTTP replays as a BadStatusLine, with the recorded text",
    ),
    Difference(
        "replayed",
        ("aiohttp",),
        ("an end in the status line", "an end in the fields"),
        ("error", "text"),
        "the text of aiohttp's error may hold a part of the answer, and so a secret: only its class is stored",
    ),
    Difference(
        "replayed",
        ("http.client",),
        ("a status of two digits", "no HTTP", "an end in the status line"),
        ("then",),
        "that a connection is used behind a failure is recorded as a failure of that connection",
    ),
    *(
        (
            Difference(
                "replayed",
                ("requests", "urllib3"),
                ("a very long field",),
                ("pieces",),
                "a body comes in the pieces in which it was recorded; its length is not stored",
            ),
        )
        if _IS_CUT_BY_BUFFER
        else ()
    ),
)
"""The rows. Each must still be true of some client and case."""


def _fields_of(seen: Seen) -> Iterator[tuple[str, list[Any]]]:
    for part in ("fields", "read fields"):
        if part in seen:
            yield part, seen[part]


def _change_fields(seen: Seen, change: Callable[[list[Any]], list[Any]]) -> Seen:
    """The same with other header fields, also in the answers that have led to this one."""
    changed = seen | {part: change(fields) for part, fields in _fields_of(seen)}
    if "history" in seen:
        changed["history"] = [
            [change(part) if part and isinstance(part[0], list) else part for part in map(_as_list, each)]
            for each in seen["history"]
        ]
    return changed


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _tell_sockets_alike(seen: Seen, *, leaves_them: bool) -> Seen:
    """Without the numbers of sockets that warnings name. A client that ``leaves_them`` is alone to know of its own.

    Since Python 3.12 boto3 leaves those of some answers to the garbage collector, which warns. A recorder closes them.
    """
    told = [_SOCKET.sub(r"\1>", each) for each in seen.get("warnings", ())]
    left = sorted({each for each in told if not (leaves_them and _SOCKET.search(each))})
    return {name: value for name, value in seen.items() if name != "warnings"} | ({"warnings": left} if left else {})


def _in_lower_case(fields: list[Any]) -> list[Any]:
    return [[name.lower(), value] for name, value in fields]


def _without_coding(fields: list[Any]) -> list[Any]:
    return [field for field in fields if field[0] not in ("content-encoding", "content-length", "-content-encoding")]


def _stored(fields: list[Any]) -> list[Any]:
    # Sorted: in a cassette those that differ each time are the last.
    return sorted(field for field in fields if not _NOT_STORED.fullmatch(field[0]))


def to_compare(step: Step, client: str, case: str, seen: Seen) -> Seen:
    """What must be equal in a step: all that was seen, but for what the rules say."""
    seen = _tell_sockets_alike(seen, leaves_them=client == "boto3" and step != "live")
    if case == "a large body":  # the network decides in which pieces it comes
        seen["pieces"] = "".join(seen.get("pieces", ()))
    if step == "live":
        return seen
    seen = _change_fields(seen, _in_lower_case)
    if CASES[case].coded:
        seen = _change_fields(seen, _without_coding)
    if step == "recorded":
        if client in _ON_HTTP_CLIENT:  # a body whose length is not known comes in chunks
            seen = _change_fields(seen, lambda fields: [each for each in fields if each[0] != "transfer-encoding"])
        return seen
    for gone in ("cookies", "its cookies", "length", "closes"):
        seen.pop(gone, None)
    return _change_fields(seen, _stored)

"""The records of a cassette: interactions, each with one request and the answer that came over the network.

Bodies are bytes. Nothing in this module knows a file format, a provider or an HTTP client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Literal, TypeAlias

from aquila.errors import CassetteWriteError

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from aquila.quick_records import dataclass

_put = object.__setattr__  # the records are frozen

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Header fields in order, names in lower case."""

End: TypeAlias = Literal["complete", "closed", "broken", "silent"]
"""How an answer ended: ``complete``, read to its end; ``closed``, left by the caller; ``broken``, broken off by the
other side; ``silent``, left by a caller that was waiting for more of it."""

InteractionKind: TypeAlias = Literal["http", "websocket"]
"""What an interaction is: one request and its answer, or the handshake of a WebSocket and its messages (see
``cassettes.web_socket_frames``). A file with another kind is refused as written by a newer version."""

FORMAT_VERSION = 1

NO_STATUS = 0
"""The status of an answer that never began."""

SWITCHED = 101
"""The status of the handshake of a WebSocket that was accepted. No answer of plain HTTP is stored with it."""

ENDS_WITHOUT_ANSWER = ("broken", "silent")
"""How an interaction without an answer ended: the connection broke, or the caller gave up waiting."""

STATUSES = range(100, 600)
"""The statuses that HTTP has. An answer with another one is neither written nor read."""


def check_status_is_writable(status: int, end: End = "complete") -> None:
    """Raise ``CassetteWriteError`` for a status that is refused when a cassette is read."""
    if status not in STATUSES and not (status == NO_STATUS and end in ENDS_WITHOUT_ANSWER):
        raise CassetteWriteError(
            f"the server answered with the status {status}, which HTTP does not have (it has {STATUSES[0]} to "
            f"{STATUSES[-1]}). Such an answer cannot be recorded; ask the server for another one"
        )


def first_value(headers: Headers, name: str) -> str:
    """Return the first value of a header, or an empty string. ``name`` is in lower case, as all names are there."""
    return next((value for key, value in headers if key == name), "")


def is_event_stream_by_type(headers: Headers) -> bool:
    """Whether header fields say that a body is a stream of server-sent events. Media types have no case."""
    return first_value(headers, "content-type").partition(";")[0].strip().lower() == "text/event-stream"


@dataclass(frozen=True, slots=True, repr=False)
class RecordedRequest:
    """One HTTP request.

    ``url`` is absolute. ``headers`` are pairs of name and value, with the names in lower case. ``body`` has the bytes
    that were sent, with content codings such as gzip undone.

    Examples:
        >>> from aquila.cassettes import RecordedRequest
        >>> request = RecordedRequest("POST", "https://api.openai.com/v1/models", (("accept", "*/*"),), b"{}")
        >>> request.size, request.first_header("accept")
        (2, '*/*')
        >>> request    # shows nothing that may hold a key
        <RecordedRequest: POST https://api.openai.com/v1/models, 2 bytes; accept>
    """

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def __init__(self, method: str, url: str, headers: Headers = (), body: bytes = b"") -> None:
        _put(self, "method", method)
        _put(self, "url", url)
        _put(self, "headers", headers)
        _put(self, "body", body)

    def __repr__(self) -> str:
        # A request holds the API key in a header field, and perhaps in the query or the body.
        names = ", ".join([name for name, _ in self.headers])
        return f"<{type(self).__name__}: {self.method} {_without_query(self.url)}, {self.size} bytes; {names}>"

    @property
    def size(self) -> int:
        """The length of the body in bytes."""
        return len(self.body)

    def with_parts(self, url: str, headers: Headers) -> RecordedRequest:
        """Return the request with another URL and other headers, and the same body."""
        return RecordedRequest(self.method, url, headers, self.body)

    def first_header(self, name: str) -> str:
        """Return the first value of a header, or an empty string. ``name`` is in lower case."""
        return first_value(self.headers, name)


def _without_query(url: str) -> str:
    address, mark, _ = url.partition("?")
    scheme, slashes, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}{mark and '?…'}"


@dataclass(frozen=True, slots=True, repr=False)
class RecordedChunk:
    """A piece of a body as it arrived. ``at`` is the time since the request was sent, in milliseconds.

    Examples:
        >>> from aquila.cassettes import RecordedChunk
        >>> RecordedChunk(b"data: [DONE]", at=120)
        <RecordedChunk: 12 bytes at 120 ms>
    """

    data: bytes
    at: int = 0

    def __init__(self, data: bytes, at: int = 0) -> None:
        _put(self, "data", data)
        _put(self, "at", at)

    def __repr__(self) -> str:
        return f"<RecordedChunk: {len(self.data)} bytes at {self.at} ms>"  # not the data, which may hold a key


@dataclass(frozen=True, slots=True, repr=False)
class RecordedResponse:
    """The answer to a request, with content codings such as gzip undone.

    - ``status``: the HTTP status; ``NO_STATUS`` if no answer began, because the connection broke or the caller gave up.
    - ``headers``: pairs of name and value, with the names in lower case.
    - ``chunks``: the pieces in which the body came. A tuple, or an object that reads them from a file (``body_file``).
    - ``end``: how the answer ended, see ``End``.
    - ``error``: for a broken answer the kind of failure (such as ``RemoteProtocolError``) and its text. For a silent
      answer the time limit of Aquila that ran out; empty if it was another one.
    - ``started``, ``ended``: milliseconds from sending the request to the headers, and to the end of the body.
    - ``attempts``: how often a client had sent the request when it gave up with this failure; 0 for any other answer.
    - ``retried``: whether the next recording of the same request answers what met this failure, which asked again. Only
      noted where other tasks or threads made the request, too.
    - ``known_tokens``: how many tokens the answer reports as used, if a compiled copy of its cassette says so; else
      None.

    Examples:
        >>> from aquila.cassettes import RecordedChunk, RecordedResponse
        >>> chunks = (RecordedChunk(b"Eagles "), RecordedChunk(b"soar.", at=80))
        >>> response = RecordedResponse(200, chunks=chunks, ended=90)
        >>> response.body, response.end, response.has_begun
        (b'Eagles soar.', 'complete', True)
    """

    status: int
    headers: Headers = ()
    chunks: Sequence[RecordedChunk] = ()
    end: End = "complete"
    error: str = ""
    started: int = 0
    ended: int = 0
    attempts: int = 0
    retried: bool = False
    known_tokens: int | None = field(default=None, init=False, compare=False, repr=False)

    def __init__(
        self,
        status: int,
        headers: Headers = (),
        chunks: Sequence[RecordedChunk] = (),
        end: End = "complete",
        error: str = "",
        started: int = 0,
        ended: int = 0,
        attempts: int = 0,
        retried: bool = False,
    ) -> None:
        _put(self, "status", status)
        _put(self, "headers", headers)
        _put(self, "chunks", chunks)
        _put(self, "end", end)
        _put(self, "error", error)
        _put(self, "started", started)
        _put(self, "ended", ended)
        _put(self, "attempts", attempts)
        _put(self, "retried", retried)
        _put(self, "known_tokens", None)

    def __repr__(self) -> str:
        names = ", ".join([name for name, _ in self.headers])
        return f"<RecordedResponse: {self.status} {self.end}, {len(self.chunks)} chunks; {names}>"

    @property
    def has_begun(self) -> bool:
        """Whether an answer came at all."""
        return self.status != NO_STATUS

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def was_left(self) -> bool:
        """Whether the caller left before the answer had ended."""
        return self.end in ("closed", "silent")

    def first_header(self, name: str) -> str:
        """Return the first value of a header, or an empty string. ``name`` is in lower case."""
        return first_value(self.headers, name)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One request and its response.

    ``recorded`` is the moment of recording, ISO 8601 in UTC to the second. ``upstream`` names the source of the answer:
    ``live``, ``local``, or a factory. ``model`` is the model that the answer names. Each is empty if it is not known.

    Examples:
        >>> from aquila.cassettes import Interaction, RecordedRequest, RecordedResponse
        >>> request = RecordedRequest("GET", "https://api.openai.com/v1/models")
        >>> interaction = Interaction(request, RecordedResponse(200), recorded="2026-11-01T12:00:00Z", upstream="live")
        >>> interaction.request.method, interaction.response.status, interaction.kind
        ('GET', 200, 'http')
    """

    request: RecordedRequest
    response: RecordedResponse
    recorded: str = ""
    upstream: str = ""
    model: str = ""
    kind: InteractionKind = "http"

    def __init__(
        self,
        request: RecordedRequest,
        response: RecordedResponse,
        recorded: str = "",
        upstream: str = "",
        model: str = "",
        kind: InteractionKind = "http",
    ) -> None:
        _put(self, "request", request)
        _put(self, "response", response)
        _put(self, "recorded", recorded)
        _put(self, "upstream", upstream)
        _put(self, "model", model)
        _put(self, "kind", kind)


@dataclass(frozen=True, slots=True)
class Cassette:
    """The interactions of one file, in the order in which they are stored.

    ``requests_differ`` says that any two unequal requests have different keys under the default rules. It is False if
    that is not known.

    Examples:
        >>> from aquila.cassettes import Cassette, Interaction, RecordedRequest, RecordedResponse
        >>> model = Interaction(RecordedRequest("GET", "https://api.openai.com/v1/models"), RecordedResponse(200))
        >>> cassette = Cassette.from_interactions([model])
        >>> [interaction.request.url for interaction in cassette.interactions]
        ['https://api.openai.com/v1/models']
    """

    interactions: tuple[Interaction, ...] = field(default=())
    requests_differ: bool = field(default=False, compare=False, repr=False)

    def __init__(self, interactions: tuple[Interaction, ...] = (), requests_differ: bool = False) -> None:
        _put(self, "interactions", interactions)
        _put(self, "requests_differ", requests_differ)

    @classmethod
    def from_interactions(cls, interactions: Iterable[Interaction]) -> Cassette:
        """Build a cassette from any iterable of interactions."""
        return cls(tuple(interactions))

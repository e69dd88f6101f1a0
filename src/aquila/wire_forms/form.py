"""What all wire forms share: reading a request, writing an answer, and timing its pieces."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aquila.cassettes.model import Headers, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import ConfigError
from aquila.wire_forms.answer import Answer, AnsweredCall, AnsweredError, AnswerKind, compact_json
from aquila.wire_forms.sent import SentRequest

CREATED = 1_700_000_000
"""The creation time of every scripted answer, in seconds since 1970: a constant, so that runs are equal."""

SIGNATURE = "c2NyaXB0ZWQ="
"""The signature of reasoning: "scripted" in base64. A real one is opaque bytes in base64, too."""

JSON_TYPE = ("content-type", "application/json")
SSE_TYPE = ("content-type", "text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a body that is sent at once. ``is_content``: it holds output of the model."""

    data: bytes
    is_content: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as bytes, without times."""

    status: int
    headers: Headers
    pieces: Sequence[Piece]

    def at_times(self, answer: Answer) -> RecordedResponse:
        """Return the answer as a cassette would hold it, with the times that ``answer`` gives.

        The beginning of a stream has no delay. The first piece of content comes after ``first`` seconds, each further
        piece ``pace`` seconds later, and the end of the stream with the last piece. A whole answer takes as long as its
        text alone takes in a stream.
        """
        contents = sum(piece.is_content for piece in self.pieces)
        if not (answer.first or answer.pace):
            return RecordedResponse(self.status, self.headers, tuple([RecordedChunk(one.data) for one in self.pieces]))
        if not contents:
            spoken = max(1, len(answer.texts)) - 1
            at = round((answer.first + answer.pace * spoken) * 1000)
            chunks = tuple(RecordedChunk(piece.data, at) for piece in self.pieces)
            return RecordedResponse(self.status, self.headers, chunks, started=at, ended=at)
        moments, at, seen = [], 0, 0
        for piece in self.pieces:
            if piece.is_content:
                at = round((answer.first + answer.pace * seen) * 1000)
                seen += 1
            moments.append(RecordedChunk(piece.data, at))
        return RecordedResponse(self.status, self.headers, tuple(moments), ended=at)


class WireForm(ABC):
    """One API of a provider: the form of its requests and answers."""

    name: ClassVar[str]
    """The name for messages, such as ``OpenAI chat completions``."""
    kind: ClassVar[AnswerKind] = "message"
    """The kind of its requests."""
    has_tools: ClassVar[bool] = True
    """Whether its answers can call tools."""
    path: ClassVar[str]
    """The end of the paths of its requests, for a form that does not override ``matches``."""

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        """Whether a request has this form. ``path`` is without query and final slash."""
        return method == "POST" and path.endswith(self.path)

    @abstractmethod
    def read(self, request: RecordedRequest) -> SentRequest:
        """Return the content of a request. Missing and malformed fields are left out; this never raises."""

    @abstractmethod
    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        """Return an answer other than an error, streamed if ``sent`` asks for that. ``number`` makes its ids unique.

        Raises ``ConfigError`` for an answer that this form cannot express.
        """

    def keeps_answer(self, sent: SentRequest) -> bool:
        """Whether the provider stores the answer to a request, so that it can be retrieved."""
        return False

    def number_of_kept(self, sent: SentRequest) -> int | None:
        """Return the number of the stored answer that a request names; None if it names no answer of a script."""
        return None

    def answer_again(self, answer: Answer, first: SentRequest, sent: SentRequest, number: int) -> RecordedResponse:
        """Return the stored answer ``number`` to the request ``first``, as the request ``sent`` retrieves it."""
        raise NotImplementedError

    @abstractmethod
    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        """Return an error in the provider's own form."""

    def answer(self, answer: Answer, sent: SentRequest, number: int) -> RecordedResponse:
        """Return an answer as a cassette would hold it. Its own header fields replace the usual ones."""
        if answer.error is not None:
            written, own = self.write_error(answer.error, sent, number), answer.error.headers
        else:
            written, own = self.write(answer, sent, number), answer.headers
        names = {name for name, _ in own}
        usual = [field for field in written.headers if field[0] not in names]
        return replace(written, headers=(*usual, *own)).at_times(answer)


def answering_model(answer: Answer, sent: SentRequest) -> str:
    """Return the model's name in an answer: its own, or else that of the request."""
    return sent.model if answer.model is None else answer.model


def call_id(call: AnsweredCall, number: int, at: int, *, prefix: str = "call") -> str:
    """Return the id of a tool call: its own, or one made of the answer's number and the call's index ``at``."""
    return f"{prefix}_{number}_{at + 1}" if call.id is None else call.id


def write_json(value: object, *, status: int = 200, headers: Headers = ()) -> Written:
    """Return an answer whose body is one JSON value."""
    return Written(status, (JSON_TYPE, *headers), (Piece(compact_json(value).encode()),))


def write_event(value: object, *, name: str | None = None, is_content: bool = False) -> Piece:
    """Return a server-sent event with a JSON value as data. ``name`` is the value of its ``event`` line, if any."""
    head = "" if name is None else f"event: {name}\n"
    return Piece(f"{head}data: {compact_json(value)}\n\n".encode(), is_content)


def write_events(pieces: Sequence[Piece], *, headers: Headers = ()) -> Written:
    """Return an answer that is a stream of server-sent events."""
    return Written(200, (SSE_TYPE, *headers), pieces)


def read_arguments_object(call: AnsweredCall, form: str) -> dict[str, Any]:
    """Return the arguments of a tool call as an object, for a form that requires one. An empty text is an empty object.

    Raises ``ConfigError`` for arguments that are not a JSON object; ``form`` is named in its message.
    """
    try:
        value = json.loads(call.arguments or "{}")
        compact_json(value)  # Python reads NaN, but it cannot be written
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = compact_json(call.arguments if len(call.arguments) <= 40 else f"{call.arguments[:39]}…")
        raise ConfigError(
            f"the scripted arguments of {call.name} are {shown}, which is no JSON object, "
            f"but an answer of the form {form} can hold only that; write them as a mapping"
        )
    return value


def retry_headers(error: AnsweredError) -> Headers:
    """Return the ``retry-after`` field of an error, if it has one."""
    after = error.retry_after
    if after is None:
        return ()
    return (("retry-after", after if isinstance(after, str) else write_number(after)),)


def write_number(value: float) -> str:
    """Return a number as header fields have it: without an exponent, and without zeros at the end of a fraction."""
    return f"{value:.6f}".rstrip("0").rstrip(".")

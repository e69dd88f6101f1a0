"""What all wire forms have in common: reading a request, writing an answer, and when its pieces come."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from aquila.cassettes.model import Headers, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import ConfigError
from aquila.wire_forms.answer import Answer, AnsweredCall, AnsweredError, Kind, compact_json
from aquila.wire_forms.sent import SentRequest

CREATED = 1_700_000_000
"""When every written answer was made, in seconds since 1970: the same in every run."""

JSON_TYPE = ("content-type", "application/json")
SSE_TYPE = ("content-type", "text/event-stream; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a body that comes at once. ``is_content`` says that it brings something that the model said."""

    data: bytes
    is_content: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """An answer as it goes over the wire, before anything is known of its times."""

    status: int
    headers: Headers
    pieces: Sequence[Piece]

    def at_times(self, answer: Answer) -> RecordedResponse:
        """Return it as a cassette would hold it, at the times that ``answer`` says.

        What begins a stream comes at once; the first piece of content after ``first`` seconds, each further one
        ``pace`` seconds after the one before, and what ends it with the last. A whole answer takes as long together.
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
    """One way of asking a model, and of being answered."""

    name: ClassVar[str]
    """Its name in messages, such as ``OpenAI chat completions``."""
    kind: ClassVar[Kind] = "message"
    """What is asked for in it."""
    has_tools: ClassVar[bool] = True
    """Whether a message in it can call tools."""

    @abstractmethod
    def matches(self, method: str, path: str, headers: Headers) -> bool:
        """Whether a request is in this form. ``path`` is without its query and a slash at its end."""

    @abstractmethod
    def read(self, request: RecordedRequest) -> SentRequest:
        """Return what a request says. Whatever it lacks or holds in an odd form is left out; this never raises."""

    @abstractmethod
    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        """Return an answer that is no error, streamed if ``sent`` asks for that. ``number`` makes its ids unique.

        Raises ``ConfigError`` for an answer that cannot be told in this form.
        """

    def keeps_answer(self, sent: SentRequest) -> bool:
        """Whether the provider keeps the answer to a request, so that it can be asked for again."""
        return False

    def number_of_kept(self, sent: SentRequest) -> int | None:
        """Return the number of the earlier answer that a request asks for, None if it names none of a script."""
        return None

    def answer_again(self, answer: Answer, first: SentRequest, sent: SentRequest, number: int) -> RecordedResponse:
        """Return the answer with a ``number``, which the ``first`` request got, as ``sent`` asks for it again."""
        raise NotImplementedError

    @abstractmethod
    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        """Return an error in the provider's own form."""

    def answer(self, answer: Answer, sent: SentRequest, number: int) -> RecordedResponse:
        """Return an answer as a cassette would hold it. Its own header fields stand in place of usual ones."""
        if answer.error is not None:
            written, own = self.write_error(answer.error, sent, number), answer.error.headers
        else:
            written, own = self.write(answer, sent, number), answer.headers
        names = {name for name, _ in own}
        usual = [field for field in written.headers if field[0] not in names]
        return replace(written, headers=(*usual, *own)).at_times(answer)


def answering_model(answer: Answer, sent: SentRequest) -> str:
    """Return the name of the model that an answer bears."""
    return sent.model if answer.model is None else answer.model


def call_id(call: AnsweredCall, number: int, at: int, *, prefix: str = "call") -> str:
    """Return the id of a tool call, which is the one at ``at`` of its answer."""
    return f"{prefix}_{number}_{at + 1}" if call.id is None else call.id


def write_json(value: object, *, status: int = 200, headers: Headers = ()) -> Written:
    """Return an answer whose body is one JSON value."""
    return Written(status, (JSON_TYPE, *headers), (Piece(compact_json(value).encode()),))


def event(value: object, *, name: str | None = None, is_content: bool = False) -> Piece:
    """Return a server-sent event whose data is a JSON value. ``name`` is that of its type, if it bears one."""
    head = "" if name is None else f"event: {name}\n"
    return Piece(f"{head}data: {compact_json(value)}\n\n".encode(), is_content)


def write_events(pieces: Sequence[Piece], *, headers: Headers = ()) -> Written:
    """Return an answer that is a stream of server-sent events."""
    return Written(200, (SSE_TYPE, *headers), pieces)


def read_arguments_object(call: AnsweredCall, form: str) -> dict[str, Any]:
    """Return the arguments of a tool call as an object, for a form that has no others. No text at all is an empty one.

    Raises ``ConfigError`` for arguments that are none, which names ``form``.
    """
    try:
        value = json.loads(call.arguments or "{}")
        compact_json(value)  # NaN is read, and cannot be written
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        shown = compact_json(call.arguments if len(call.arguments) <= 40 else f"{call.arguments[:39]}…")
        raise ConfigError(
            f"the scripted arguments of {call.name} are {shown}, which is no JSON object, "
            f"and an answer of the form {form} can hold nothing else; write them as a mapping"
        )
    return value


def retry_headers(error: AnsweredError) -> Headers:
    """Return the header fields of an error that say when to ask again."""
    after = error.retry_after
    if after is None:
        return ()
    return (("retry-after", after if isinstance(after, str) else f"{after:g}"),)

"""An answer to be written, in one form for all providers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aquila.cassettes.model import Headers

Finish: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal"]
"""The finish reasons, in words for all providers. Each wire form has its own words for them."""

FINISHES: tuple[Finish, ...] = ("stop", "length", "tool_calls", "content_filter", "refusal")

AnswerKind: TypeAlias = Literal["message", "embeddings", "models", "token_count", "stored"]
"""The kinds of requests and answers. ``stored`` requests an earlier answer once more."""


_MOST_PIECES = 20_000
# Characters at which ``str.splitlines`` breaks a line, and halves of surrogate pairs, which UTF-8 cannot encode.
_ESCAPED = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A tool call of an answer.

    ``arguments`` is text, because a model may write broken JSON. None as ``id`` makes one up.
    """

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class WrittenUsage:
    """The tokens of a request and its answer. Cached tokens are part of the input, reasoning is part of the output."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """The sum of input and output tokens."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class AnsweredError:
    """An answer with an error status. ``type`` and ``code`` are those of the provider's form; None for the usual ones.

    ``retry_after`` is in seconds, or the text of the header field.
    """

    status: int
    message: str = ""
    type: str | None = None
    code: str | None = None
    retry_after: float | str | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of an answer.

    ``texts`` are the pieces in which its text is streamed, ``reasoning`` those of its reasoning. ``vectors`` answer a
    request for embeddings, one for each input, the last for all further ones. ``models`` are the names in a list of
    models, ``token_count`` answers a request that counts tokens. With an ``error`` everything else is ignored.
    ``usage`` is estimated if None, and left out if False. ``model`` is the name in the answer, None for the name in the
    request. ``first`` and ``pace`` are in seconds: before the first piece, and between two pieces.
    """

    texts: tuple[str, ...] = ()
    calls: tuple[AnsweredCall, ...] = ()
    reasoning: tuple[str, ...] = ()
    refusal: str | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    models: tuple[str, ...] = ()
    token_count: int | None = None
    error: AnsweredError | None = None
    usage: WrittenUsage | Literal[False] | None = None
    finish: Finish | None = None
    model: str | None = None
    headers: Headers = field(default=())
    first: float = 0.0
    pace: float = 0.0

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.texts)

    @property
    def kind(self) -> AnswerKind | None:
        """The kind of request that it answers; None for an error, which answers both messages and embeddings."""
        if self.error is not None:
            return None
        if self.vectors:
            return "embeddings"
        if self.models:
            return "models"
        return "message" if self.token_count is None else "token_count"

    @property
    def finish_reason(self) -> Finish:
        """The finish reason: as given, or else derived from the content."""
        if self.finish is not None:
            return self.finish
        if self.refusal is not None:
            return "refusal"
        return "tool_calls" if self.calls else "stop"

    @property
    def texts_with_refusal(self) -> tuple[str, ...]:
        """The pieces of the text and then of the refusal, for forms in which a refusal is text, too."""
        return self.texts if self.refusal is None else (*self.texts, *split_text(self.refusal))

    def vectors_for(self, inputs: int) -> list[tuple[float, ...]]:
        """Return a vector for each of ``inputs`` inputs. If there are fewer vectors, the last one is repeated."""
        return [self.vectors[min(at, len(self.vectors) - 1)] for at in range(inputs)]

    def usage_for(self, sent_bytes: int) -> WrittenUsage | None:
        """Return the usage, or None if it is left out. An estimate counts a token for every four of ``sent_bytes``."""
        if self.usage is False:
            return None
        if self.usage is not None:
            return self.usage
        thought = len(self.reasoning)
        said = len(self.texts_with_refusal)
        called = sum(len(call.arguments) // 4 + 1 for call in self.calls)
        return WrittenUsage(max(1, sent_bytes // 4), max(1, thought + said + called), thought)


def split_text(text: str) -> tuple[str, ...]:
    """Return a text in pieces as a model streams it: its words, each with the space behind it.

    The pieces of a very long text have several words, because the JSON of an event is many times as large as a word.
    """
    words = re.findall(r"\s*\S+\s*", text) or ([text] if text else [])
    if len(words) <= _MOST_PIECES:
        return tuple(words)
    step = -(-len(words) // _MOST_PIECES)
    return tuple("".join(words[at : at + step]) for at in range(0, len(words), step))


def split_arguments(text: str) -> tuple[str, ...]:
    """Return the arguments of a tool call in pieces of a few characters, as they are streamed."""
    return tuple(text[at : at + 12] for at in range(0, len(text), 12))


def compact_json(value: object) -> str:
    """Return a value as providers write JSON. Raises ``TypeError`` or ``ValueError`` if JSON cannot hold it.

    The text can be encoded as UTF-8, and is one line for every reader: ``str.splitlines`` breaks at more characters
    than the streams of providers.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if text.isascii() else _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

"""The methods by which answers are written."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Self, TypeAlias

from aquila.cassettes.model import Headers
from aquila.errors import ConfigError
from aquila.plurals import count_of
from aquila.wire_forms.answer import (
    FINISHES,
    Answer,
    AnsweredCall,
    AnsweredError,
    Finish,
    WrittenUsage,
    compact_json,
    split_text,
)

Arguments: TypeAlias = Mapping[str, Any] | str
"""The arguments of a tool call. A text is sent unchanged, even if it is not JSON."""

GivenCall: TypeAlias = tuple[str, Arguments] | tuple[str, Arguments, str]
"""A tool call: the name of the tool, the arguments, and optionally the id of the call."""

GivenUsage: TypeAlias = tuple[int, int] | WrittenUsage | bool | None
"""Input and output tokens; None for an estimate, False for an answer that reports none."""


_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
"""Printable ASCII: HTTP clients disagree about other characters in header fields."""


class Replies(ABC):
    """Takes answers in the order in which they will be given.

    Every method returns the object, so calls can be chained.
    """

    def __init__(self) -> None:
        # Set by ``reasoning``. The next answer begins with it, and clears it.
        self._reasoning: tuple[str, ...] = ()

    @abstractmethod
    def _add(self, answer: Answer) -> None:
        """Append an answer."""

    def reply(
        self,
        text: str | None = None,
        *,
        json: Any = None,
        chunks: Iterable[str] | None = None,
        tool_calls: Iterable[GivenCall] = (),
        reasoning: str | None = None,
        usage: GivenUsage = None,
        finish: Finish | None = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        first: float = 0.0,
        pace: float = 0.0,
        times: int = 1,
    ) -> Self:
        """Answer with a ``text``, with a value as JSON text (``json``), or with a text in these ``chunks``.

        In a stream, a text without ``chunks`` arrives word by word. ``tool_calls`` follow it, ``reasoning`` precedes
        it. ``usage`` are the input and output tokens. ``finish`` is the finish reason (``stop``, ``length``,
        ``tool_calls``, ``content_filter``, ``refusal``), ``model`` the model that the answer names, ``headers`` further
        header fields. The first piece arrives after ``first`` seconds, each further one after ``pace`` seconds. The
        answer is given ``times`` times. Raises ``ConfigError`` for a wrong value.
        """
        given = [name for name, value in (("text", text), ("json", json), ("chunks", chunks)) if value is not None]
        calls = _read_calls(tool_calls)
        if len(given) > 1:
            raise ConfigError(f"reply({'=, '.join(given)}=): an answer has one text; give one of them")
        if not given and not calls:
            raise ConfigError(
                'reply() says nothing: give it a text, as in reply("Hello"); reply("") is an empty answer'
            )
        if json is not None:
            text = _as_json("reply(json=...)", json)
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"reply({text!r}): must be a text; for a value, reply(json=...)")
        pieces = split_text(text or "") if chunks is None else _read_chunks(chunks)
        answer = Answer(
            texts=pieces,
            calls=calls,
            reasoning=split_text(_read_text("reasoning", reasoning or "")),
            usage=_read_usage(usage),
            finish=_read_finish(finish),
            model=None if model is None else _read_text("model", model),
            headers=_read_headers(headers),
            first=_read_seconds("first", first),
            pace=_read_seconds("pace", pace),
        )
        return self._take(answer, times)

    def tool_call(self, name: str, arguments: Arguments | None = None, /, **fields: Any) -> Self:
        """Answer with a call of the tool ``name``. Its arguments are given by name, or as a mapping.

        As a text they are sent unchanged, to imitate a model that writes broken JSON. Raises ``ConfigError``.
        """
        if arguments is not None and fields:
            raise ConfigError(f"tool_call({name!r}): give the arguments by name or as a mapping, not both")
        return self.tool_calls((name, fields if arguments is None else arguments))

    def tool_calls(self, *calls: GivenCall) -> Self:
        """Answer with several calls of tools at once: ``tool_calls(("weather", {"city": "Rome"}), ("time", {}))``.

        A third value is the id of the call. Raises ``ConfigError``.
        """
        if not calls:
            raise ConfigError(
                'tool_calls() names no tool: give it pairs, as in tool_calls(("weather", {"city": "Rome"}))'
            )
        return self._take(Answer(calls=_read_calls(calls)))

    def refuse(self, text: str = "I'm sorry, but I can't help with that.") -> Self:
        """Answer with a refusal, in the provider's own form where it has one. Raises ``ConfigError``."""
        return self._take(Answer(refusal=_read_text("refuse", text)))

    def reasoning(self, text: str) -> Self:
        """Let the next answer begin with this reasoning. If no answer follows, the reasoning is an answer by itself.

        Raises ``ConfigError``.
        """
        self._reasoning = (*self._reasoning, *split_text(_read_text("reasoning", text)))
        return self

    def embed(self, *vectors: Sequence[float]) -> Self:
        """Answer a request for embeddings: a vector for each input, the last one for all further inputs.

        Raises ``ConfigError``.
        """
        try:
            read = tuple(tuple(float(number) for number in vector) for vector in vectors)
        except (TypeError, ValueError, OverflowError):
            read = ()
        if not read or not all(read) or not all(map(math.isfinite, chain.from_iterable(read))):
            raise ConfigError("embed() takes vectors, lists of numbers: embed([0.1, 0.2], [0.3, 0.4])")
        return self._take(Answer(vectors=read))

    def models(self, *names: str) -> Self:
        """Answer a request for the list of models, or for one of them. Raises ``ConfigError``."""
        if not names:
            raise ConfigError('models() names none: models("gpt-4.1-mini")')
        return self._take(Answer(models=tuple(_read_text("models", name) for name in names)))

    def token_count(self, tokens: int) -> Self:
        """Answer a request that counts tokens. Raises ``ConfigError``."""
        if type(tokens) is not int or tokens < 0:
            raise ConfigError(f"token_count({tokens!r}): must be a number of tokens")
        return self._take(Answer(token_count=tokens))

    def error(
        self,
        status: int,
        message: str = "",
        *,
        type: str | None = None,
        code: str | None = None,
        retry_after: float | str | None = None,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> Self:
        """Answer with an error status, in the provider's own form.

        ``status``: from 400 to 599. ``message``, ``type`` and ``code`` fill the provider's error object.
        ``retry_after`` is in seconds, or the text of the header field. The answer is given ``times`` times. Raises
        ``ConfigError``.
        """
        if not isinstance(status, int) or not 400 <= status < 600:
            raise ConfigError(f"error({status!r}): must be a status from 400 to 599")
        for name, value in (("message", message), ("type", type or ""), ("code", code or "")):
            _read_text(name, value)
        if isinstance(retry_after, str):
            _read_headers({"retry-after": retry_after})
        elif retry_after is not None:
            _read_seconds("retry_after", retry_after)
        error = AnsweredError(status, message, type, code, retry_after, _read_headers(headers))
        return self._take(Answer(error=error), times)

    def _take(self, answer: Answer, times: int = 1) -> Self:
        if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= MOST_TIMES:
            raise ConfigError(
                f"times={times!r}: must be a number from 1 to {MOST_TIMES}; what follows when(...) is given any number "
                "of times"
            )
        reasoning, self._reasoning = self._reasoning, ()
        if reasoning and answer.error is None:
            answer = replace(answer, reasoning=(*reasoning, *answer.reasoning))
        for _ in range(times):
            self._add(replace(answer))  # An object for each time: `Script.left` tells answers apart by identity.
        return self

    def _finish_reasoning(self) -> None:
        """Make an answer of the reasoning that no other answer has followed."""
        if self._reasoning:
            self._take(Answer())


MOST_TIMES = 10_000
"""The greatest value of ``times``, which guards against a list that fills the memory."""


def describe_answer(answer: Answer) -> str:
    """Return an answer as the call that writes it, shortened, for messages."""
    if answer.error is not None:
        return f"error({answer.error.status})"
    if answer.vectors:
        return f"embed() with {count_of(len(answer.vectors), 'vector')}"
    if answer.models:
        return f"models({', '.join(answer.models)})"
    if answer.token_count is not None:
        return f"token_count({answer.token_count})"
    if answer.refusal is not None:
        return f"refuse({_shorten(answer.refusal)})"
    called = ", ".join(call.name for call in answer.calls)
    if answer.calls and not answer.texts:
        return f"tool_call({called})"
    if answer.reasoning and not answer.texts:
        return f"reasoning({_shorten(''.join(answer.reasoning))})"
    return f"reply({_shorten(answer.text)})" + (f" and tool_call({called})" if called else "")


def _shorten(text: str) -> str:
    return compact_json(text if len(text) <= 40 else f"{text[:39]}…")


def _read_calls(calls: Iterable[GivenCall]) -> tuple[AnsweredCall, ...]:
    if not isinstance(calls, Iterable):
        raise ConfigError(f'tool_calls={calls!r}: must be a list of calls, as in [("weather", {{"city": "Rome"}})]')
    return tuple(_read_call(call) for call in calls)


def _read_call(call: GivenCall) -> AnsweredCall:
    if not isinstance(call, (tuple, list)) or len(call) not in (2, 3) or not isinstance(call[0], str) or not call[0]:
        raise ConfigError(
            f'a tool call is a pair of a name and arguments, as in ("weather", {{"city": "Rome"}}); got {call!r}'
        )
    name, arguments, *rest = call
    if not isinstance(arguments, (Mapping, str)):
        raise ConfigError(f"the arguments of {name}: must be a mapping, or a text that is sent as it is")
    text = arguments if isinstance(arguments, str) else _as_json(f"the arguments of {name}", arguments)
    return AnsweredCall(name, text, *(_read_text(f"the id of a call of {name}", each) for each in rest))


def _as_json(what: str, value: Any) -> str:
    try:
        return compact_json(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: not a JSON value: {error}") from error


def _read_text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be a text, not {value!r}")
    return value


def _read_chunks(chunks: Iterable[str]) -> tuple[str, ...]:
    if isinstance(chunks, str) or not isinstance(chunks, Iterable):
        raise ConfigError(f'chunks={chunks!r}: must be a list of texts, as in chunks=["It ", "is"]')
    return tuple(_read_text("chunks", piece) for piece in chunks)


def _read_usage(usage: GivenUsage) -> Any:
    if usage is None or usage is False or isinstance(usage, WrittenUsage):
        return usage
    if isinstance(usage, (tuple, list)) and len(usage) == 2 and all(type(each) is int and each >= 0 for each in usage):
        return WrittenUsage(*usage)
    raise ConfigError(f"usage={usage!r}: must be tokens in and out, as in usage=(12, 3), or False for none")


def _read_finish(finish: Finish | None) -> Finish | None:
    if finish is not None and finish not in FINISHES:
        raise ConfigError(f"finish={finish!r}: must be one of {', '.join(FINISHES)}")
    return finish


def _read_seconds(name: str, seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ConfigError(f"{name}={seconds!r}: must be a number of seconds")
    return float(seconds)


def _read_headers(headers: Mapping[str, str] | None) -> Headers:
    if headers is not None and not isinstance(headers, Mapping):
        raise ConfigError(f'headers={headers!r}: must be names and values, as in headers={{"x-id": "a"}}')
    fields = tuple(headers.items()) if headers else ()
    for name, value in fields:
        is_text = isinstance(name, str) and isinstance(value, (str, int, float))
        if not is_text or not _FIELD_NAME.fullmatch(name.lower()) or not _FIELD_VALUE.fullmatch(str(value)):
            raise ConfigError(f"headers: {name!r}: {value!r} is no header field")
    return tuple((name.lower(), str(value)) for name, value in fields)

"""OpenAI's older completions, without messages, which many other servers still offer.

Source: platform.openai.com/docs/api-reference/completions, and what the openai SDK 3.57 requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, string
from aquila.wire_forms.answer import Answer, Finish, WrittenUsage
from aquila.wire_forms.form import CREATED, Piece, Written, answering_model, write_event, write_events, write_json
from aquila.wire_forms.openai.chat_completions import DONE, count_choices, write_usage
from aquila.wire_forms.openai.openai_common import OpenAIForm, openai_headers, read_model
from aquila.wire_forms.sent import SentMessage, SentRequest, read_json

_FINISH: dict[Finish, str] = {"refusal": "stop", "tool_calls": "stop"}
_OTHER_FORMS = ("/chat/completions", "/fim/completions")
_MOST_PROMPTS = 2048


class Completions(OpenAIForm):
    """``POST …/completions``. It has neither tools nor reasoning. All prompts and choices get the same text."""

    name = "OpenAI completions"
    has_tools = False

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and path.endswith("/completions") and not path.endswith(_OTHER_FORMS)

    def read(self, request: RecordedRequest) -> SentRequest:
        """Return the content of a request, with a message for each prompt; without text if it is given as tokens."""
        raw = read_json(request)
        asked = mapping(raw)
        return SentRequest(
            self.name,
            model=read_model(asked, request),
            messages=tuple(SentMessage("user", string(each)) for each in _prompts_of(asked)),
            is_streamed=asked.get("stream") is True,
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        asked = mapping(sent.raw)
        usage = answer.usage_for(sent.http.size)
        head = {
            "id": f"cmpl-scripted-{number}",
            "object": "text_completion",
            "created": CREATED,
            "model": answering_model(answer, sent),
        }
        count = len(sent.messages) * count_choices(asked.get("n"))
        pieces = answer.texts_with_refusal
        wants_logprobs = type(asked.get("logprobs")) is int
        finish = _FINISH.get(answer.finish_reason, answer.finish_reason)
        if sent.is_streamed:
            wants_usage = mapping(asked.get("stream_options")).get("include_usage") is True
            events = _write_chunks(
                head, count, pieces, finish, usage=usage if wants_usage else None, wants_logprobs=wants_logprobs
            )
            return write_events(list(events), headers=openai_headers(number))
        choices = [_write_choice(index, pieces, finish, wants_logprobs=wants_logprobs) for index in range(count)]
        body = {**head, "choices": choices, **({} if usage is None else {"usage": write_usage(usage)})}
        return write_json(body, headers=openai_headers(number))


def _prompts_of(asked: dict[str, Any]) -> list[Any]:
    """Return the prompts, as texts or tokens. A list of numbers is one prompt."""
    given = asked.get("prompt")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return given[:_MOST_PROMPTS]
    return [given]


def _write_choice(
    index: int, pieces: Sequence[str], finish: str | None, *, wants_logprobs: bool, offset: int = 0
) -> dict[str, Any]:
    logprobs = None
    if wants_logprobs:  # each piece counts as one token with probability 1
        logprobs = {
            "tokens": [*pieces],
            "token_logprobs": [0.0] * len(pieces),
            "top_logprobs": [{piece: 0.0} for piece in pieces],
            "text_offset": [*accumulate(map(len, pieces[:-1]), initial=offset)] if pieces else [],
        }
    return {"text": "".join(pieces), "index": index, "logprobs": logprobs, "finish_reason": finish}


def _write_chunks(
    head: dict[str, Any],
    count: int,
    pieces: Sequence[str],
    finish: str,
    *,
    usage: WrittenUsage | None,
    wants_logprobs: bool,
) -> Iterator[Piece]:
    # With ``include_usage``, OpenAI puts the field into every chunk, as null in all but the last.
    ends = {"usage": None} if usage is not None else {}
    offset = 0
    for piece in pieces:
        for index in range(count):
            choice = _write_choice(index, (piece,), None, wants_logprobs=wants_logprobs, offset=offset)
            # One piece of all choices is sent at the same time, so only the first counts for the times.
            yield write_event({**head, "choices": [choice], **ends}, is_content=index == 0)
        offset += len(piece)
    for index in range(count):
        yield write_event({**head, "choices": [_write_choice(index, (), finish, wants_logprobs=False)], **ends})
    if usage is not None:
        yield write_event({**head, "choices": [], "usage": write_usage(usage)})
    yield DONE

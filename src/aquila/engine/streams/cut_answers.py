"""Answers that were cut off, and are continued by another request. Without I/O.

What a model is asked, so that it goes on, differs between providers. Some continue a conversation that ends with the
assistant's own words (``Prefill``): Mistral and DeepSeek with a field of the message, llama.cpp without, vLLM with
fields of the request. OpenAI's models do not; they are told in words to go on. So words are the default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError
from aquila.events import Usage
from aquila.messages import Message
from aquila.response import Response

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan
    from aquila.engine.calls.options import Options

INSTRUCTION = (
    "Your answer was cut off. Continue it exactly where it ends. Begin with the last word that you wrote, which may be "
    "incomplete: {last_word}\nWrite nothing else again, and no comment."
)
INSTRUCTION_WITHOUT_WORD = (
    "Your answer was cut off. Continue it exactly where it ends. Write nothing of it again, and no comment."
)
_LONGEST_WORD = 40
"""Characters. What is longer is no word: the language writes none apart."""
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Letters of languages that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_NO_SPACE_BEFORE = frozenset(",.;:!?)]}%…")


@dataclass(frozen=True, slots=True)
class Prefill:
    """How to ask a provider that can continue the assistant's last message.

    ``message`` are the fields that this message needs besides (``{"prefix": True}`` for Mistral and DeepSeek,
    ``{"partial": True}`` for Moonshot), ``body`` those of the request
    (``{"continue_final_message": True, "add_generation_prompt": False}`` for vLLM).

    Examples:
        >>> from aquila.huey import Prefill
        >>> mistral = Prefill(message={"prefix": True})
        >>> vllm = Prefill(body={"continue_final_message": True, "add_generation_prompt": False})
        >>> # in a task: for event in follow(stream, resume="continue", continue_by=mistral): ...
    """

    message: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


class CutAnswer:
    """The text of an answer that was cut off, and what a further request adds to it."""

    def __init__(self, text: str, continue_by: str | Prefill | None = None) -> None:
        """``continue_by`` says how the model is asked to go on; see ``aquila.huey.follow``."""
        self.text = text
        self._prefill = continue_by if isinstance(continue_by, Prefill) else None
        # A model that is told in words begins with a word, not with the space before it. So it is asked to write the
        # last word again: only then is it seen whether that was complete.
        self._last_word = "" if self._prefill is not None else _last_word_of(text)
        self._instruction = continue_by if isinstance(continue_by, str) else None
        self._begins_anew = not text[: len(text) - len(self._last_word)].strip()
        self._held: str | None = ""
        """What has come of the continuation and is not handed on yet; None when its beginning is over."""

    def continue_plan(self, plan: CallPlan) -> CallPlan:
        """Return the plan of a call that continues the answer of another."""
        if self._begins_anew:
            return plan
        fields = {**plan.options.provider_options, **(self._prefill.body if self._prefill is not None else {})}
        return dataclasses.replace(
            plan,
            messages=(*plan.messages, *self._added_messages()),
            options=plan.options.with_provider_options(fields),
        )

    def _added_messages(self) -> tuple[Message, ...]:
        if self._prefill is not None:
            # Some providers refuse white space at the end of what they are to continue.
            return (Message("assistant", self.text.rstrip(), extra=dict(self._prefill.message)),)
        if self._instruction is not None:
            instruction = self._instruction.replace("{last_word}", self._last_word)
        elif self._last_word:
            instruction = INSTRUCTION.replace("{last_word}", self._last_word)
        else:
            instruction = INSTRUCTION_WITHOUT_WORD
        return Message("assistant", self.text), Message("user", instruction)

    def join(self, piece: str) -> str:
        """Return what a piece of the continuation adds to the text: not what stands there already."""
        if self._held is None:
            return piece
        self._held += piece
        added = self._join_prefilled(self._held) if self._prefill is not None else self._join_words(self._held)
        if added is None:
            return ""  # more must come before it is seen
        self._held = None
        return added

    def _join_prefilled(self, beginning: str) -> str | None:
        if not beginning.strip():
            return None
        space = self.text[len(self.text.rstrip()) :]
        for length in range(len(space), 0, -1):
            if beginning.startswith(space[-length:]):
                return beginning[length:]
        return beginning

    def _join_words(self, beginning: str) -> str | None:
        word = self._last_word
        if word or self._begins_anew:
            beginning = beginning.lstrip()
        elif self.text[-1:].isspace():
            beginning = beginning.lstrip(" ")
        if not beginning or (word.startswith(beginning) and beginning != word):
            return None
        if beginning.startswith(word):
            return beginning[len(word) :]
        # Another word than before. What was handed out stays as it is.
        return beginning if beginning[0] in _NO_SPACE_BEFORE else f" {beginning}"


def _last_word_of(text: str) -> str:
    """Return what stands after the last white space; nothing where that is no word."""
    word = "" if text[-1:].isspace() else text.rsplit(maxsplit=1)[-1] if text else ""
    return "" if len(word) > _LONGEST_WORD or _WITHOUT_SPACES.search(word) else word


def reject_unresumable(options: Options) -> None:
    """Raise ``ConfigError`` for a call whose answer cannot be continued from its text."""
    reasons = {
        "tools": (bool(options.tools), "what a tool has done and the model was told of is not in the text"),
        "response_format": (
            options.response_format is not None,
            "half a JSON document is not continued, but begun again by a model that must write JSON",
        ),
        "background": (options.background, "the provider goes on with such an answer by itself"),
        "websocket": (options.websocket, "such a conversation is held by its connection"),
    }
    for name, (given, reason) in reasons.items():
        if given:
            raise ConfigError(f"option 'resume' goes with no {name}=: {reason}; leave out one of them")


def whole_response(
    response: Response, text: str, plan: CallPlan, *, usage: Usage, resumed: Mapping[str, Any]
) -> Response:
    """Return the response of a continuation as that of the whole answer.

    ``usage`` is that of the earlier requests, as far as it is known, ``resumed`` is told in ``meta``.
    """
    return dataclasses.replace(
        response,
        text=text,
        usage=usage + response.usage,
        meta={**response.meta, "resumed": dict(resumed)},
        messages=(*plan.messages, Message("assistant", text)),
    )


def stored_response(
    plan: CallPlan, text: str, *, usage: Usage, meta: Mapping[str, Any], resumed: Mapping[str, Any]
) -> Response:
    """Return the response of an answer that was complete before, and is not asked for again."""
    known: Mapping[str, Any] = {
        "ref": plan.ref,
        "model": plan.model,
        "endpoint": plan.endpoint.name,
        "finish_reason": None,
        "id": None,
        "request_id": None,
        "metadata": plan.options.metadata,
        "transport": "",
        "turns": 0,
        "retries": 0,
        "stopped": None,
    }
    messages: Sequence[Message] = (*plan.messages, Message("assistant", text))
    return Response(text=text, usage=usage, meta={**known, **meta, "resumed": dict(resumed)}, messages=tuple(messages))

"""Continues an answer that was cut off, by a further request. Does no I/O.

Providers differ in how a model is made to continue. Some continue a conversation that ends with the assistant's own
words (``Prefill``): Mistral and DeepSeek need a field of the message, vLLM needs fields of the request, llama.cpp
needs nothing. OpenAI's models do not continue them; they are told to continue by an instruction, which is the default.
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
"""Characters. Longer runs without a space are not words: the language does not separate its words."""
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)
"""Letters of languages that put no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_NO_SPACE_BEFORE = frozenset(",.;:!?)]}%…")


@dataclass(frozen=True, slots=True)
class Prefill:
    """How to ask a provider that can continue the assistant's last message to do so.

    ``message`` are additional fields of that message (``{"prefix": True}`` for Mistral and DeepSeek,
    ``{"partial": True}`` for Moonshot), ``body`` additional fields of the request
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
    """The text of an answer that was cut off, and the text that a further request adds to it."""

    def __init__(self, text: str, continue_by: str | Prefill | None = None) -> None:
        """``continue_by`` says how the model is asked to go on; see ``aquila.huey.follow``."""
        self.text = text
        self._prefill = continue_by if isinstance(continue_by, Prefill) else None
        # A model that is instructed to continue begins with a word, never with the space before it, so the join would
        # be ambiguous. It is asked to repeat the last word: only then is it clear whether that word was complete.
        self._last_word = "" if self._prefill is not None else _last_word_of(text)
        self._instruction = continue_by if isinstance(continue_by, str) else None
        self._begins_anew = not text[: len(text) - len(self._last_word)].strip()
        self._held: str | None = ""
        """The text of the continuation that is held back; None once its beginning has been joined."""

    def continue_plan(self, plan: CallPlan) -> CallPlan:
        """Return the plan of a call that continues the answer. ``plan``: that of the call whose answer was cut off."""
        if self._begins_anew:
            return plan
        fields = {**plan.options.provider_options, **(self._prefill.body if self._prefill is not None else {})}
        return dataclasses.replace(
            plan,
            messages=(*plan.messages, *self._added_messages()),
            options=plan.options.with_other("provider_options", fields),
        )

    def _added_messages(self) -> tuple[Message, ...]:
        if self._prefill is not None:
            # Anthropic, for one, refuses a last assistant message that ends with white space.
            return (Message("assistant", self.text.rstrip(), extra=dict(self._prefill.message)),)
        if self._instruction is not None:
            instruction = self._instruction.replace("{last_word}", self._last_word)
        elif self._last_word:
            instruction = INSTRUCTION.replace("{last_word}", self._last_word)
        else:
            instruction = INSTRUCTION_WITHOUT_WORD
        return Message("assistant", self.text), Message("user", instruction)

    def join(self, piece: str) -> str:
        """Return what a piece of the continuation adds to the text, without the repeated last word.

        Empty while it is not clear yet whether the continuation repeats that word.
        """
        if self._held is None:
            return piece
        self._held += piece
        added = self._join_prefilled(self._held) if self._prefill is not None else self._join_words(self._held)
        if added is None:
            return ""
        self._held = None
        return added

    def _join_prefilled(self, beginning: str) -> str | None:
        """Return what a continued message adds to the text; None while that is not clear."""
        if not beginning.strip():
            return None
        space = self.text[len(self.text.rstrip()) :]
        for length in range(len(space), 0, -1):
            if beginning.startswith(space[-length:]):
                return beginning[length:]
        return beginning

    def _join_words(self, beginning: str) -> str | None:
        """Return what an instructed continuation adds to the text; None while that is not clear."""
        word = self._last_word
        if word or self._begins_anew:
            beginning = beginning.lstrip()
        elif self.text[-1:].isspace():
            beginning = beginning.lstrip(" ")
        if not beginning or (word.startswith(beginning) and beginning != word):
            return None
        if beginning.startswith(word):
            return beginning[len(word) :]
        # The model began with another word. The caller has the earlier text already, so it stays.
        return beginning if beginning[0] in _NO_SPACE_BEFORE else f" {beginning}"


def _last_word_of(text: str) -> str:
    """Return the text after the last white space, or an empty text if that is not a word."""
    word = "" if text[-1:].isspace() else text.rsplit(maxsplit=1)[-1] if text else ""
    return "" if len(word) > _LONGEST_WORD or _WITHOUT_SPACES.search(word) else word


def reject_unresumable(options: Options) -> None:
    """Raise ``ConfigError`` for a call whose answer cannot be continued from its text."""
    reasons = {
        "tools": (bool(options.tools), "the text does not say what the tools did and what they told the model"),
        "response_format": (
            options.response_format is not None,
            "a model that must write JSON begins half a document again instead of continuing it",
        ),
        "background": (options.background, "the provider goes on with such an answer by itself"),
        "websocket": (options.websocket, "such a conversation ends with its connection"),
    }
    for name, (given, reason) in reasons.items():
        if given:
            raise ConfigError(f"option 'resume' cannot be combined with {name}=: {reason}; leave out one of them")


def whole_response(
    response: Response, text: str, plan: CallPlan, *, usage: Usage, resumed: Mapping[str, Any]
) -> Response:
    """Return the response of a continuation as the response of the whole answer.

    ``text``: the whole text. ``usage``: the tokens of the earlier requests, as far as they are known. ``resumed``: what
    ``meta["resumed"]`` tells.
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
    """Return the response of an answer that was complete already, so that no request is sent."""
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

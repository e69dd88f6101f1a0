"""OpenAI's embeddings, which many other servers offer, too.

Source: platform.openai.com/docs/api-reference/embeddings. The openai SDK asks for base64, which holds 32-bit floats.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from aquila.cassettes.model import RecordedRequest
from aquila.json_fields import mapping, string
from aquila.wire_forms.answer import Answer
from aquila.wire_forms.form import Written, answering_model, write_json
from aquila.wire_forms.openai.openai_common import OpenAIForm, openai_headers, read_model
from aquila.wire_forms.sent import SentMessage, SentRequest, read_json


class Embeddings(OpenAIForm):
    """``POST …/embeddings``. Vectors are sent as they were written, whatever ``dimensions`` a request asks for."""

    name = "OpenAI embeddings"
    path = "/embeddings"
    kind = "embeddings"

    def read(self, request: RecordedRequest) -> SentRequest:
        """Return the content of a request, with a message for each input; without text if it is given as tokens."""
        raw = read_json(request)
        asked = mapping(raw)
        return SentRequest(
            self.name,
            model=read_model(asked, request),
            messages=tuple(SentMessage("user", string(each)) for each in _inputs_of(asked)),
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        usage = answer.usage_for(sent.http.size)
        packs = mapping(sent.raw).get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": at, "embedding": _pack(vector) if packs else vector}
            for at, vector in enumerate(answer.vectors_for(len(sent.messages)))
        ]
        # OpenAI sends no id, but Mistral's SDK requires one.
        head = {"id": f"embd-scripted-{number}", "object": "list"}
        body: dict[str, Any] = {**head, "data": data, "model": answering_model(answer, sent)}
        if usage is not None:
            body["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        return write_json(body, headers=openai_headers(number))


def _inputs_of(asked: dict[str, Any]) -> list[Any]:
    """Return the inputs, as texts or tokens. A list of numbers is one input."""
    given = asked.get("input")
    if isinstance(given, list) and not (given and isinstance(given[0], int)):
        return given
    return [given]


def _pack(vector: Sequence[float]) -> str:
    numbers = array("f", vector)
    # The API sends little-endian numbers, and array uses the order of the machine.
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()

"""The table of wire forms, and the choice of one for a request."""

from __future__ import annotations

from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.wire_forms.anthropic.anthropic_at_bedrock import AnthropicAtBedrock
from aquila.wire_forms.anthropic.anthropic_messages import AnthropicMessages, AnthropicTokenCount
from aquila.wire_forms.anthropic.anthropic_models import AnthropicModels
from aquila.wire_forms.bedrock import BedrockConverse
from aquila.wire_forms.form import WireForm
from aquila.wire_forms.gemini.gemini_content import GeminiContent, GeminiTokenCount
from aquila.wire_forms.gemini.gemini_embeddings import GeminiEmbeddings
from aquila.wire_forms.gemini.gemini_models import GeminiModels
from aquila.wire_forms.ollama import OllamaChat, OllamaEmbeddings, OllamaGenerate
from aquila.wire_forms.openai.chat_completions import ChatCompletions
from aquila.wire_forms.openai.completions import Completions
from aquila.wire_forms.openai.embeddings import Embeddings
from aquila.wire_forms.openai.models import Models
from aquila.wire_forms.openai.responses import InputTokens, RealtimeQuestions, Responses, StoredResponses
from aquila.wire_forms.sent import SentRequest, read_json

WIRE_FORMS: tuple[WireForm, ...] = (
    ChatCompletions(),
    Completions(),
    Responses(),
    RealtimeQuestions(),
    InputTokens(),
    StoredResponses(),
    Embeddings(),
    AnthropicMessages(),
    AnthropicTokenCount(),
    GeminiContent(),
    GeminiTokenCount(),
    GeminiEmbeddings(),
    OllamaChat(),
    OllamaGenerate(),
    OllamaEmbeddings(),
    BedrockConverse(),
    AnthropicAtBedrock(),
    AnthropicModels(),
    GeminiModels(),
    Models(),  # last, because its path is also that of the two before it, which look at header fields
)
"""The first form that matches a request reads it."""


def find_wire_form(request: RecordedRequest) -> WireForm | None:
    """Return the wire form of a request, or None if it is not known."""
    try:
        path = urlsplit(request.url).path.rstrip("/")
    except ValueError:  # an invalid URL, such as one with an unclosed bracket
        return None
    method = request.method.upper()
    return next((form for form in WIRE_FORMS if form.matches(method, path, request.headers)), None)


def read_request(request: RecordedRequest) -> tuple[WireForm | None, SentRequest]:
    """Return the wire form of a request, or None, and the content of the request; see ``read_sent``."""
    form = find_wire_form(request)
    if form is None:
        return None, SentRequest("", raw=read_json(request), http=request)
    return form, form.read(request)


def read_sent(request: RecordedRequest) -> SentRequest:
    """Return the content of a request. For an unknown form, only ``raw`` and ``http`` are filled in."""
    return read_request(request)[1]

"""What all forms of OpenAI share: errors, names of models, custom tools, and log probabilities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, mappings, string
from aquila.wire_forms.answer import AnsweredError
from aquila.wire_forms.form import WireForm, Written, retry_headers, write_json
from aquila.wire_forms.sent import SentRequest

_AZURE_DEPLOYMENT = re.compile(r"/deployments/([^/?#]+)/")

_USUAL = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "This is not allowed."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("timeout", "timeout", "The request timed out."),
    409: ("invalid_request_error", None, "The request conflicts with another one."),
    413: ("invalid_request_error", None, "The request is too large."),
    422: ("invalid_request_error", None, "The request cannot be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request."),
    502: ("server_error", None, "Bad gateway."),
    503: ("service_unavailable_error", None, "The engine is currently overloaded, please try again later."),
    529: ("service_unavailable_error", None, "The engine is currently overloaded, please try again later."),
}


def openai_headers(number: int) -> Headers:
    """Return the header field with the id that OpenAI gives to a request."""
    return (("x-request-id", f"req_scripted_{number}"),)


def write_openai_error(error: AnsweredError, number: int) -> Written:
    """Return an error in OpenAI's form: ``{"error": {"message", "type", "param", "code"}}``."""
    usual = _USUAL.get(error.status, _USUAL[500 if error.status >= 500 else 400])
    body = {
        "message": error.message or usual[2],
        "type": error.type or usual[0],
        "param": None,
        "code": error.code or usual[1],
    }
    return write_json({"error": body}, status=error.status, headers=(*openai_headers(number), *retry_headers(error)))


class OpenAIForm(WireForm):
    """A wire form of OpenAI's."""

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_openai_error(error, number)


def read_model(asked: dict[str, Any], request: RecordedRequest) -> str:
    """Return the model that a request names: in the body, or at Azure as the deployment in the path."""
    if name := string(asked.get("model")):
        return name
    found = _AZURE_DEPLOYMENT.search(request.url)
    return unquote(found[1]) if found else ""


def custom_tools(sent: SentRequest) -> frozenset[str]:
    """Return the names of the custom tools, whose input is plain text instead of JSON."""
    offered = [tool for tool in mappings(mapping(sent.raw).get("tools")) if tool.get("type") == "custom"]
    return frozenset(string(mapping(tool.get("custom", tool)).get("name")) for tool in offered)


def write_logprobs(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return log probabilities, in which each piece of a text is a token with probability 1."""
    tokens = [{"token": text, "logprob": 0.0, "bytes": list(text.encode("utf-8", "replace"))} for text in texts]
    return [{**token, "top_logprobs": [token]} for token in tokens]

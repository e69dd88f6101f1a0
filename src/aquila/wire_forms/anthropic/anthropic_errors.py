"""Errors in Anthropic's form.

Source: docs.claude.com/en/api/errors, and the error types of the anthropic SDK 2.14.
"""

from __future__ import annotations

from typing import Any

from aquila.cassettes.model import Headers
from aquila.wire_forms.answer import AnsweredError
from aquila.wire_forms.form import WireForm, Written, retry_headers, write_json
from aquila.wire_forms.sent import SentRequest

_USUAL = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    429: ("rate_limit_error", "This request would exceed the rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timeout"),
    529: ("overloaded_error", "Overloaded"),
}


def write_anthropic_error(error: AnsweredError, number: int) -> Written:
    """Return an error in Anthropic's form. Its ``code`` becomes ``error_code`` in the details."""
    usual = _USUAL.get(error.status, _USUAL[500 if error.status >= 500 else 400])
    said: dict[str, Any] = {"type": error.type or usual[0], "message": error.message or usual[1]}
    if error.code is not None:
        said["details"] = {"error_code": error.code}
    headers = request_headers(number)
    body = {"type": "error", "error": said, "request_id": headers[0][1]}
    return write_json(body, status=error.status, headers=(*headers, *retry_headers(error)))


def request_headers(number: int) -> Headers:
    """Return the header field with the id that Anthropic gives to a request."""
    return (("request-id", f"req_scripted_{number}"),)


class AnthropicForm(WireForm):
    """A wire form of Anthropic's."""

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_anthropic_error(error, number)

"""Errors in Google's form.

Source: google.rpc.Code and google/rpc/error_details.proto, and ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

from typing import Any

from aquila.wire_forms.answer import AnsweredError
from aquila.wire_forms.form import WireForm, Written, retry_headers, write_json, write_number
from aquila.wire_forms.sent import SentRequest

_USUAL = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "The model is not found, or is not supported for this method."),
    409: ("ABORTED", "The operation was aborted."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report."),
    501: ("UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_UNKNOWN = ("UNKNOWN", "An unknown error has occurred.")
_DETAIL = "type.googleapis.com/google.rpc."


def write_gemini_error(error: AnsweredError, *, in_array: bool = False) -> Written:
    """Return an error in Google's form. ``in_array``: within a JSON array, as in a stream that is one.

    Its ``type`` becomes the ``status``, its ``code`` the reason in the details, which also hold ``retry_after``.
    """
    usual = _USUAL.get(error.status, _UNKNOWN)
    said: dict[str, Any] = {
        "code": error.status,
        "message": error.message or usual[1],
        "status": error.type or usual[0],
    }
    details: list[dict[str, Any]] = []
    if error.code is not None:
        details.append({"@type": f"{_DETAIL}ErrorInfo", "reason": error.code, "domain": "googleapis.com"})
    if isinstance(error.retry_after, (int, float)):
        details.append({"@type": f"{_DETAIL}RetryInfo", "retryDelay": f"{write_number(error.retry_after)}s"})
    if details:
        said["details"] = details
    body = {"error": said}
    return write_json([body] if in_array else body, status=error.status, headers=retry_headers(error))


class GeminiForm(WireForm):
    """A wire form of Google's."""

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_gemini_error(error)

"""Faults that replace a whole answer: no connection, no answer, or an error status."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Literal, get_args

from aquila.cassettes.model import NO_STATUS, Headers, Interaction, RecordedChunk, RecordedResponse
from aquila.faults.fault import LONGEST, ImpossibleFault
from aquila.wire_forms.answer import Answer, AnsweredError
from aquila.wire_forms.form import retry_headers, write_json, write_number
from aquila.wire_forms.table import find_wire_form, read_sent

RetryAfter = Literal["seconds", "date", "milliseconds", "reset", "retry_info"]
_WITHOUT_BODY = (204, 205, 304)
"""Statuses whose responses have no body in HTTP."""


def connection_refused(interaction: Interaction) -> RecordedResponse:
    """Nothing listens: the connection is refused."""
    return RecordedResponse(NO_STATUS, end="broken", error="ConnectError: [Errno 111] Connection refused")


def connection_reset(interaction: Interaction) -> RecordedResponse:
    """The connection is reset after the request was sent."""
    return RecordedResponse(NO_STATUS, end="broken", error="ReadError: [Errno 104] Connection reset by peer")


def timeout(interaction: Interaction) -> RecordedResponse:
    """No answer begins, until the client's read timeout or the program's own ends the wait."""
    return RecordedResponse(NO_STATUS, end="silent")


def bad_request(interaction: Interaction) -> RecordedResponse:
    """400: the request is not valid."""
    return _write_error(interaction, AnsweredError(400))


def unauthorized(interaction: Interaction) -> RecordedResponse:
    """401: the key is wrong."""
    return _write_error(interaction, AnsweredError(401))


def forbidden(interaction: Interaction) -> RecordedResponse:
    """403: the key may not do this."""
    return _write_error(interaction, AnsweredError(403))


def not_found(interaction: Interaction) -> RecordedResponse:
    """404: there is no such model."""
    return _write_error(interaction, AnsweredError(404))


def request_timeout(interaction: Interaction) -> RecordedResponse:
    """408: the provider gave up waiting for the request."""
    return _write_error(interaction, AnsweredError(408))


def unprocessable(interaction: Interaction) -> RecordedResponse:
    """422: the request cannot be processed."""
    return _write_error(interaction, AnsweredError(422))


def rate_limit(
    interaction: Interaction, *, retry_after: float | None = None, form: RetryAfter = "seconds"
) -> RecordedResponse:
    """429: too many requests. ``retry_after`` is the delay that the provider asks for, in seconds.

    ``form`` is how the delay is expressed: in ``retry-after`` as ``seconds`` or as a ``date``; in ``milliseconds``
    (``retry-after-ms``); only in the provider's own fields about rate limits (``reset``); or only in Google's
    ``retry_info``, which Google also sends with ``seconds``.
    """
    if form not in get_args(RetryAfter):
        raise ImpossibleFault(f"form={form!r} must be one of {', '.join(get_args(RetryAfter))}")
    if form == "retry_info" and not _is_of(interaction, "Gemini"):
        raise ImpossibleFault("RetryInfo is in errors of Google's alone")
    _check_delay(retry_after)
    if form == "seconds":
        return _write_error(interaction, AnsweredError(429, retry_after=retry_after))
    if retry_after is None:
        raise ImpossibleFault(f"form={form!r} says how retry_after= is sent, and that is not given")
    if form == "retry_info":
        response = _write_error(interaction, AnsweredError(429, retry_after=retry_after))
        return replace(response, headers=tuple(each for each in response.headers if each[0] != "retry-after"))
    if form == "date":
        date = formatdate(math.ceil(time.time() + retry_after), usegmt=True)
        return _write_error(interaction, AnsweredError(429, retry_after=date))
    headers: Headers = (("retry-after-ms", write_number(retry_after * 1000)),)
    if form == "reset":
        headers = _reset_fields(interaction, retry_after)
    return _write_error(interaction, AnsweredError(429, headers=headers))


def _check_delay(retry_after: float | None) -> None:
    """Raise ``ImpossibleFault`` for a delay that no provider can ask for."""
    if retry_after is not None and not 0 <= retry_after < LONGEST:
        raise ImpossibleFault(f"retry_after={retry_after!r} must be a number of seconds from 0 to {LONGEST}")


def _reset_fields(interaction: Interaction, seconds: float) -> Headers:
    if _is_of(interaction, "Gemini", "Bedrock", "Ollama"):
        raise ImpossibleFault("the provider has no header fields about rate limits")
    if not _is_of(interaction, "Anthropic"):
        return (("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", f"{write_number(seconds)}s"))
    # Anthropic gives its resets as RFC 3339 times in whole seconds, OpenAI as durations such as "1s".
    moment = datetime.fromtimestamp(math.ceil(time.time() + seconds), UTC)
    reset = moment.isoformat().replace("+00:00", "Z")
    return (("anthropic-ratelimit-requests-remaining", "0"), ("anthropic-ratelimit-requests-reset", reset))


def _is_of(interaction: Interaction, *providers: str) -> bool:
    form = find_wire_form(interaction.request)
    return form is not None and form.name.startswith(providers)


def server_error(interaction: Interaction, *, status: int = 500) -> RecordedResponse:
    """500: the provider failed. ``status`` can be any from 500 to 599."""
    if not 500 <= status < 600:
        raise ImpossibleFault(f"status={status} is no error of a server; give one from 500 to 599")
    return _write_error(interaction, AnsweredError(status))


def overloaded(interaction: Interaction, *, retry_after: float | None = None) -> RecordedResponse:
    """503, or 529 from Anthropic: the provider is overloaded."""
    _check_delay(retry_after)
    status = 529 if _is_of(interaction, "Anthropic") else 503
    return _write_error(interaction, AnsweredError(status, retry_after=retry_after))


def html_page(interaction: Interaction, *, status: int = 502) -> RecordedResponse:
    """502 with an HTML page, as from a proxy in between. ``status=200`` is a page that looks like success."""
    if not 200 <= status < 600 or status in _WITHOUT_BODY:
        raise ImpossibleFault(f"status={status} comes with no page; give another from 200 to 599")
    page = f"<html>\r\n<head><title>{status}</title></head>\r\n<body><h1>{status}</h1></body>\r\n</html>\r\n"
    return RecordedResponse(status, (("content-type", "text/html"),), (RecordedChunk(page.encode()),))


def _write_error(interaction: Interaction, error: AnsweredError) -> RecordedResponse:
    form = find_wire_form(interaction.request)
    if form is not None:
        return form.answer(Answer(error=error), read_sent(interaction.request), 1)
    # The form of the request is not known. Most providers, and all that follow OpenAI, report errors like this.
    body = {"error": {"message": f"status {error.status}", "type": "error", "code": None, "param": None}}
    return write_json(body, status=error.status, headers=(*retry_headers(error), *error.headers)).at_times(Answer())


FAILURES = (
    connection_refused,
    connection_reset,
    timeout,
    bad_request,
    unauthorized,
    forbidden,
    not_found,
    request_timeout,
    unprocessable,
    rate_limit,
    server_error,
    overloaded,
    html_page,
)

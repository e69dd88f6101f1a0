"""Turns errors of the SDK and of HTTP libraries into Aquila's. No other module does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aquila.engine import openai_sdk
from aquila.engine.calls.timeouts import Timeouts
from aquila.errors import (
    AquilaError,
    AuthenticationError,
    BadRequest,
    ConnectionFailed,
    InvalidAnswer,
    InvalidMessage,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestTimeout,
    StreamBroken,
    StreamTimeout,
)
from aquila.transports.requested_delay import LONGEST_DELAY, read_providers_delay

_MAX_SHOWN = 800
"""The greatest number of characters of a provider's message that an error shows."""
_LONGEST_MESSAGE = 2 * _MAX_SHOWN
"""The greatest number of characters of an error's own words and the message."""
_SHORTEST_SECRET = 8
"""The fewest characters of a secret. ``trivial_values`` has the same limit for recordings."""


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """What error messages say about a request. ``secrets`` are values that no message may show.

    Short values are no secrets: users write a word such as ``ollama`` where a server needs no key.
    """

    host: str
    timeouts: Timeouts
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def remove_secrets(self, value: Any) -> Any:
        """Return text or JSON-able values without the secrets."""
        if isinstance(value, str):
            for secret in self.secrets:
                if len(secret) >= _SHORTEST_SECRET:
                    value = value.replace(secret, "[redacted]")
            return value
        if isinstance(value, Mapping):
            return {self.remove_secrets(key): self.remove_secrets(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.remove_secrets(each) for each in value]
        return value


def translate_error(
    error: BaseException, context: ErrorContext, *, begun: bool, request_id: str | None = None
) -> BaseException:
    """Return the error that the caller gets instead of ``error``.

    ``begun``: the answer's headers had arrived. ``request_id``: the provider's id of the request, if it is known.
    An error that comes neither from the SDK nor from an HTTP library is returned unchanged.
    """
    error = _unwrap_transport_error(error)
    if isinstance(error, AquilaError):
        return _fill_in_request(error, context, request_id)
    # The SDK's error becomes the cause of ours, and tracebacks print causes, so a key must not stay there either.
    if isinstance(error, openai_sdk.APIError):
        error.args = tuple(context.remove_secrets(argument) for argument in error.args)
        error.message, error.body = context.remove_secrets(error.message), context.remove_secrets(error.body)
    if isinstance(error, openai_sdk.APIStatusError):
        return error_of_status(
            error.status_code, error.body, context, headers=error.response.headers, request_id=error.request_id
        )
    if isinstance(error, openai_sdk.APITimeoutError):
        return _timeout_error(error, context, begun)
    if isinstance(error, openai_sdk.APIConnectionError):
        return connection_error(error.__cause__ or error, context, begun, request_id)
    if isinstance(error, openai_sdk.APIError):  # an error object inside a stream
        body = error.body if isinstance(error.body, Mapping) else {"message": error.body or error.message}
        return _fill_in_request(error_from_object(body), context, request_id)
    if isinstance(error, UnicodeEncodeError):
        return InvalidMessage(
            f"the request has half of a character, {error.object[error.start]!a}, which UTF-8 cannot encode"
        )
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        return InvalidAnswer(f"{context.host} sent a chunk that is not JSON: {error}", request_id=request_id)
    if _is_of_http_library(error):
        if "Timeout" in type(error).__name__:
            return _timeout_error(error, context, begun)
        return connection_error(error, context, begun, request_id)
    return error


def _is_of_http_library(error: BaseException) -> bool:
    # By name: comparing classes would import libraries that the process may not use.
    return type(error).__module__.partition(".")[0] in ("httpx2", "httpx", "httpcore2", "httpcore")


def _unwrap_transport_error(error: BaseException) -> BaseException:
    """Return the error that a transport raised, where the SDK has wrapped it as a failed connection.

    Versions of the SDK differ: some wrap any exception of a transport, even a cassette miss or a bug, others only
    errors of the HTTP library.
    """
    cause = error.__cause__
    if isinstance(error, openai_sdk.APIConnectionError) and cause is not None and not _is_of_http_library(cause):
        return cause
    return error


# An error inside an answer of status 200 has no status, so its class is found by words in its code. The first row that
# matches wins: "rate_limit" stands before "invalid", because "invalid" is part of many codes.
_CODES: tuple[tuple[tuple[str, ...], type[ProviderError]], ...] = (
    (("rate_limit", "too_many", "insufficient_quota", "429"), RateLimited),
    (("invalid_api_key", "authentication", "permission", "unauthorized", "401", "403"), AuthenticationError),
    (("server_error", "internal", "overloaded", "unavailable", "timeout", "500", "502", "503"), ProviderUnavailable),
    (("invalid", "bad_request", "not_found", "tool_use_failed", "content_filter", "400", "404", "422"), BadRequest),
)  # fmt: skip


def error_from_object(body: Mapping[str, Any]) -> ProviderError:
    """Return the error for an error object that came inside an answer of status 200."""
    inner = body.get("error")
    body = inner if isinstance(inner, Mapping) else body
    code = " ".join(str(body.get(key) or "") for key in ("code", "type", "status_code")).lower()
    kind = next((kind for words, kind in _CODES if any(word in code for word in words)), ProviderError)
    message = body.get("message") or inner or "no message"
    shown = f" ({body['code']})" if body.get("code") else ""
    # Not cut yet: a key without its end would not be found, and its beginning would be shown.
    return kind(f"the provider ended the answer with an error: {message}{shown}", body=dict(body))


def error_of_other_json(answer: Mapping[str, Any], expected: str, missing: str) -> InvalidAnswer:
    """Return the error for an answer that lacks the field ``missing``. Some servers report errors of their own so."""
    shown = json.dumps(answer, ensure_ascii=False)  # not cut yet, as in `error_from_object`
    return InvalidAnswer(f"the answer is JSON but not {expected}: it has no {missing!r}: {shown}", body=dict(answer))


def _fill_in_request(error: AquilaError, context: ErrorContext, request_id: str | None) -> AquilaError:
    """Add the request id to a provider's error, and remove secrets from its texts."""
    if isinstance(error, ProviderError):
        error.request_id = error.request_id or request_id
        error.body = context.remove_secrets(error.body)
        error.args = tuple(_shorten(context.remove_secrets(argument)) for argument in error.args)
    return error


def _shorten(argument: Any) -> Any:
    """Return an argument of an error. A text is cut off, because it may quote a long message of the provider."""
    return argument[:_LONGEST_MESSAGE] if isinstance(argument, str) else argument


def error_of_status(
    status: int, body: Any, context: ErrorContext, *, headers: Mapping[str, str], request_id: str | None = None
) -> ProviderError:
    """Return the error for an answer whose HTTP status reports a failure.

    ``body``: the error object of the answer, a list that holds it, or its text if it is not JSON.
    """
    kind, advice = _class_and_advice(status, headers)
    if isinstance(body, list) and body and isinstance(body[0], Mapping):  # as Gemini's, in a list of one
        body = body[0].get("error") or body[0]
    if isinstance(body, Mapping):
        message = body.get("message") or json.dumps(body, ensure_ascii=False)
        code = body.get("code") or body.get("type")
    else:
        text = context.remove_secrets(body) if isinstance(body, str) else ""
        message, code = _excerpt_of(text, headers.get("content-type", "")), None
    shown = f"{message}" + (f" ({code})" if code else "")
    text = f"{context.host} answered {status}: {context.remove_secrets(shown)[:_MAX_SHOWN]}"
    text += f" [request {request_id}]" if request_id else ""
    return kind(
        f"{text}. {advice}" if advice else text,
        status=status,
        request_id=request_id,
        body=context.remove_secrets(body),
    )


def _class_and_advice(status: int, headers: Mapping[str, str]) -> tuple[type[ProviderError], str]:
    if status in (401, 403):
        return AuthenticationError, "Check the API key: OPENAI_API_KEY, or api_key=, and that base_url= is its provider"
    if status == 429:
        if (read_providers_delay(headers, status) or 0) > LONGEST_DELAY:
            # Without the provider's number, which may differ each time.
            return RateLimited, (
                "Try again later, after the seconds in retry_after of this error: no wait above 2 minutes is retried, "
                "whatever max_retries= is"
            )
        return RateLimited, "Wait and try again, or raise max_retries="
    if status == 408 or status >= 500:
        return ProviderUnavailable, "The same request may succeed later"
    return BadRequest, ""


def _excerpt_of(text: str, content_type: str) -> str:
    if not text.strip():
        return "no body"
    if "html" in content_type or text.lstrip().lower().startswith(("<!doctype", "<html")):
        return "an HTML page instead of JSON (is base_url= right?)"
    return " ".join(text.split())[:200]


PROTOCOL_ERRORS = (AttributeError, KeyError, IndexError, TypeError, OverflowError)
"""The errors that reading an answer raises if a field is missing or has another type."""


def error_of_protocol(error: Exception, context: ErrorContext, api: str) -> InvalidAnswer:
    """Return the error for an answer whose reading raised one of ``PROTOCOL_ERRORS``. ``api``: the endpoint's name."""
    text = context.remove_secrets(str(error))
    # A subclass names the field. The text of these errors themselves says little without their names.
    reason = text if type(error) not in PROTOCOL_ERRORS else f"{type(error).__name__}: {text}"
    made = InvalidAnswer(f"{context.host} sent an answer that is not of the {api} API ({reason})")
    made.__cause__ = error
    return made


def decode_json_answer(body: bytes, headers: Mapping[str, str], context: ErrorContext) -> dict[str, Any]:
    """Return the JSON object that an answer of status 200 holds. Raises ``InvalidAnswer``."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    content_type = headers.get("content-type", "")
    # Secrets are removed before the text is cut: half a key would not be found.
    what = _excerpt_of(context.remove_secrets(body.decode("utf-8", errors="replace")), content_type)
    raise InvalidAnswer(f"{context.host} answered 200 with {content_type or 'no content type'}: {what}", status=200)


def _describe_limit(seconds: float | None) -> str:
    return "its time limit" if seconds is None else f"{seconds:g} s"


def _timeout_error(error: BaseException, context: ErrorContext, begun: bool) -> AquilaError:
    cause = type(error.__cause__ or error).__name__
    if cause == "ConnectTimeout":
        return connect_timeout_error(context)
    if not begun and cause in ("WriteTimeout", "PoolTimeout"):
        return RequestTimeout(
            f"{cause.removesuffix('Timeout').lower()}: the request to {context.host} could not be sent in time"
        )
    return silence_error(context, begun=begun)


def connect_timeout_error(context: ErrorContext) -> RequestTimeout:
    """Return the error for a connection that was not made within ``timeouts.connect``."""
    limit = _describe_limit(context.timeouts.connect)
    return RequestTimeout(f"connect: no connection to {context.host} within {limit}")


def silence_error(context: ErrorContext, *, begun: bool) -> AquilaError:
    """Return the error for a silence that lasted too long. ``begun``: the answer's headers had arrived."""
    limits, host = context.timeouts, context.host
    if begun:
        silence = _describe_limit(limits.idle)
        return StreamTimeout(f"idle: nothing arrived from {host} for {silence}; raise timeout= if it may be slow")
    if limits.read is not None:
        return RequestTimeout(f"read: {host} did not begin to answer within {_describe_limit(limits.read)}")
    return StreamTimeout(
        f"idle: {host} did not begin to answer within {_describe_limit(limits.idle)}; raise timeout= if it may be slow"
    )


def connection_error(cause: BaseException, context: ErrorContext, begun: bool, request_id: str | None) -> ProviderError:
    """Return the error for a connection that was not made, or broke after the answer had ``begun``."""
    reason = f"{type(cause).__name__}: {context.remove_secrets(str(cause))}".removesuffix(": ")
    if begun:
        return StreamBroken(f"the connection to {context.host} ended in mid-stream ({reason})", request_id=request_id)
    return ConnectionFailed(f"no connection to {context.host} ({reason}); check the network and base_url=")

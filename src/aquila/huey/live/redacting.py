"""What is published of arguments and errors: text, without secrets, and of a bounded size."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import traceback
from typing import Any, cast

from huey.api import Task

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.found_secrets import without_numbers
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording import runtime
from aquila.recording.redactors import redactor_for
from aquila.recording.session_factory import match_rules_of

_LONGEST_ARGUMENTS = 16_000
_LONGEST_ERROR = 2_000
_LONGEST_TRACEBACK = 16_000
_PREVIEW = 240


def redact_text(text: str) -> str:
    """Return a text without secrets."""
    return without_numbers(_find_redactor().redact_text(text)) if text else text


def redact_json(text: str) -> str:
    """Return JSON without secrets, those included that only the name of their field tells."""
    if not text:
        return text
    request = RecordedRequest("POST", "http://localhost/", (("content-type", "application/json"),), text.encode())
    return without_numbers(_find_redactor().redact_request(request).body.decode("utf-8", "replace"))


def _find_redactor() -> Redactor:
    settings = runtime.current_settings()
    return redactor_for(match_rules_of(settings), settings.keep_headers)


def describe_arguments(task: Task) -> str:
    """Return the arguments of a task as JSON, by the names of its parameters, secrets included."""
    named: dict[str, Any] = {
        **dict(zip(_parameters_of(cast("Any", type(task))), task.args, strict=False)),
        **task.kwargs,
    }
    if len(task.args) > len(named):
        named = {"args": list(task.args), **task.kwargs}
    try:
        text = json.dumps(named, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        text = repr(named)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_ARGUMENTS else f"{text[:_LONGEST_ARGUMENTS]} …"


@functools.lru_cache(maxsize=1024)
def _parameters_of(kind: Any) -> tuple[str, ...]:
    """Return the names of the parameters that positional arguments go to."""
    declared = getattr(kind, "_aquila_parameters", None)
    function = getattr(kind, "_aquila_function", None)
    if declared is None and function is not None:
        with contextlib.suppress(TypeError, ValueError):
            declared = inspect.signature(function)
    if declared is None:
        return ()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(one.name for one in declared.parameters.values() if one.kind in by_position)


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return an error, with its class, and its traceback."""
    message = redact_text(f"{type(error).__name__}: {error}".removesuffix(": "))
    lines = "".join(traceback.format_exception(error))
    if len(lines) > _LONGEST_TRACEBACK:
        lines = f"…\n{lines[-_LONGEST_TRACEBACK:]}"
    return _shorten(message, _LONGEST_ERROR), redact_text(lines)


def preview(text: str) -> str:
    """Return the beginning of a text."""
    return _shorten(text, _PREVIEW)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"

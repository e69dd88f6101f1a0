"""What is published of arguments and errors: text, without secrets, and of a bounded size."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Callable
from typing import Any, cast

from huey.api import Task

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.found_secrets import without_numbers
from aquila.cassettes.redaction.redactor import Redactor
from aquila.huey.error_texts import UNCUT, redact_long_text, text_of, traceback_of
from aquila.recording import runtime
from aquila.recording.secrets.redactors import redactor_for
from aquila.recording.sessions.session_factory import match_rules_of

_LONGEST_ARGUMENTS = 16_000
_LONGEST_PART = 4 * _LONGEST_ARGUMENTS
"""Characters of one text that are kept until it is stored. One that must be cut is redacted before."""
_MOST_SEARCHED = 4_000_000
"""Characters of texts that must be cut, of one task: what follows so many is not shown."""
_LONGEST_ERROR = 2_000
_LONGEST_TRACEBACK = 16_000
_PREVIEW = 240
_DEEPEST = 20
_NAMED_VALUE = re.compile(
    r"""(?P<before>['"]?(?<!\w)(?P<name>\w++)['"]?\s*[=:]\s*)"""
    r"""(?P<value>'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)|[^\s,()\[\]{}'"]+)"""
)
_NOT_SHOWN = "<arguments that cannot be shown>"


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
    try:
        return _describe_arguments(task)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 -- a ``repr`` may raise anything
        return _NOT_SHOWN


def _describe_arguments(task: Task) -> str:
    named: dict[str, Any] = {
        **dict(zip(_parameters_of(cast("Any", type(task))), task.args, strict=False)),
        **task.kwargs,
    }
    if len(task.args) > len(named):
        named = {"args": list(task.args), **task.kwargs}
    text = json.dumps(_make_plain(named, _Shortener()), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def describe_values(values: dict[str, Any]) -> Any:
    """Return what JSON can say of values that a message held, by their names, without secrets."""
    try:
        told = json.dumps(_make_plain(values, _Shortener()), ensure_ascii=False)
    except Exception:  # noqa: BLE001 -- of what is nested a thousand times there is no ``repr``
        return _NOT_SHOWN
    return json.loads(redact_json(told))  # Names tell of some that they are secrets.


class _Shortener:
    """Cuts the long texts among the arguments of one task, without secrets: half a key is recognized by nothing."""

    def __init__(self) -> None:
        self._left = _MOST_SEARCHED

    def shorten(self, text: str, hide: Callable[[str], str] = str) -> str:
        """Return what ``hide`` makes of a text, or of its beginning. One that is not cut is redacted later."""
        if len(text) <= _LONGEST_PART:
            return hide(text)
        if self._left <= 0:
            return "…"
        self._left -= len(text)
        return hide(redact_long_text(text, _redact_value)[:_LONGEST_PART])


def _redact_value(text: str) -> str:
    return str(json.loads(redact_json(json.dumps(text))))


def _make_plain(value: Any, shortener: _Shortener, depth: int = 0) -> Any:
    """Return what JSON can say of a value, with the names of its fields: they tell which of them are secrets."""
    if isinstance(value, str):
        return shortener.shorten(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth > _DEEPEST:
        return "…"
    if hasattr(value, "_asdict"):  # a named tuple
        value = value._asdict()
    elif not isinstance(value, dict | list | tuple | set | frozenset):
        value = _fields_of(value) or shortener.shorten(repr(value), hide_named_values)
    if isinstance(value, dict):
        return {str(name): _make_plain(one, shortener, depth + 1) for name, one in value.items()}
    return value if isinstance(value, str) else [_make_plain(one, shortener, depth + 1) for one in value]


def _fields_of(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return {name: one for name, one in getattr(value, "__dict__", {}).items() if not name.startswith("_")}


def hide_named_values(text: str) -> str:
    """Return the ``repr`` of an object without the secrets that names in it tell, as in ``User(password='…')``."""
    named = [{found["name"]: found["value"]} for found in _NAMED_VALUE.finditer(text)]
    if not named:
        return text
    clean = iter(json.loads(redact_json(json.dumps(named))))  # all at once: there may be many

    def hide(found: re.Match[str]) -> str:
        value = next(clean)[found["name"]]
        return found[0] if value == found["value"] else f"{found['before']}{value}"

    return _NAMED_VALUE.sub(hide, text)


def redact_arguments(text: str) -> str:
    """Return arguments without secrets, and of a bounded size. No task fails because they cannot be shown."""
    try:
        text = redact_json(text)  # before it is cut: half a key is recognized by nothing
    except Exception:  # noqa: BLE001 -- a rule of the user's may raise anything
        return _NOT_SHOWN
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
    message = redact_long_text(text_of(error, UNCUT), redact_text)
    if not message.startswith(kind := type(error).__name__):  # it is one word, of which nothing is left
        message = f"{kind}:{message}"
    lines = redact_long_text(traceback_of(error, UNCUT), redact_text)
    if len(lines) > _LONGEST_TRACEBACK:
        lines = f"…\n{lines[-_LONGEST_TRACEBACK:]}"
    return _shorten(message, _LONGEST_ERROR), lines


def preview(text: str) -> str:
    """Return the beginning of a text."""
    return _shorten(text, _PREVIEW)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"

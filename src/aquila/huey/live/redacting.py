"""Turns arguments and errors into text that may be published: without secrets, and of a bounded size."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from huey.api import Task

from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.found_secrets import without_numbers
from aquila.cassettes.redaction.redactor import Redactor
from aquila.huey.error_texts import UNCUT, redact_long_text, text_of, traceback_of
from aquila.huey.tasks.task_functions import parameters_of
from aquila.recording import runtime
from aquila.recording.sessions.session_factory import redactor_of

_LONGEST_ARGUMENTS = 16_000
_LONGEST_PART = 4 * _LONGEST_ARGUMENTS
"""Characters of one text that are kept until it is stored. A longer text is redacted before it is cut."""
_MOST_SEARCHED = 4_000_000
"""Characters of too long texts that are redacted for one task. Further ones are not shown, because it would be slow."""
_LONGEST_ERROR = 2_000
_LONGEST_TRACEBACK = 16_000
_PREVIEW = 240
_DEEPEST = 20
# A name and its value in the `repr` of an object, such as `password='…'`, `"token": …` or `Authorization: Bearer …`.
# The possessive `++` and the look-behind keep the search linear.
_NAMED_VALUE = re.compile(
    r"""(?P<before>['"]?(?<!\w)(?P<name>\w++)['"]?\s*[=:]\s*)"""
    r"""(?P<value>'[^']*(?:'|\Z)|"[^"]*(?:"|\Z)|(?:(?i:bearer|basic|token|apikey)\s{1,8})?[^\s,()\[\]{}'"]+)"""
)
_NOT_SHOWN = "<arguments that cannot be shown>"
_TEXT_NOT_SHOWN = "<text that cannot be shown>"


def redact_text(text: str) -> str:
    """Return a text without secrets. Never raises: a text that cannot be redacted is not shown."""
    try:
        return without_numbers(_find_redactor().redact_text(text)) if text else text
    except Exception:  # noqa: BLE001 -- a rule of the user's may raise anything
        return _TEXT_NOT_SHOWN


def redact_json(text: str) -> str:
    """Return JSON without secrets, also without those that are only known by the name of their field."""
    if not text:
        return text
    # Names of fields are looked at in the bodies of requests, so the text becomes the body of one.
    request = RecordedRequest("POST", "http://localhost/", (("content-type", "application/json"),), text.encode())
    return without_numbers(_find_redactor().redact_request(request).body.decode("utf-8", "replace"))


def _find_redactor() -> Redactor:
    settings = runtime.current_settings()
    return redactor_of(settings)


def describe_arguments(task: Task) -> str:
    """Return the arguments of a task as JSON, by the names of its parameters. Secrets are still in it. Never raises.

    Only ``KeyboardInterrupt`` and ``SystemExit`` pass.
    """
    try:
        return _describe_arguments(task)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 -- a ``repr`` may raise anything
        return _NOT_SHOWN


def _describe_arguments(task: Task) -> str:
    names = parameters_of(type(task))
    given = dict(zip(names, task.args, strict=False))  # By their names some secrets are known.
    if others := task.args[len(names) :]:
        given["args"] = others
    text = json.dumps(_make_plain({**given, **task.kwargs}, _Shortener()), ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()


def describe_values(values: dict[str, Any]) -> Any:
    """Return the values of a message as plain data for JSON, by their names and without secrets. Never raises."""
    try:
        # As JSON, because some secrets are only known by their names.
        return json.loads(redact_json(json.dumps(_make_plain(values, _Shortener()), ensure_ascii=False)))
    except Exception:  # noqa: BLE001 -- a value may be nested too deeply for a ``repr``, and a rule may raise anything
        return _NOT_SHOWN


class _Shortener:
    """Cuts the long texts among the arguments of one task, after removing their secrets: no rule recognizes half a key.

    One for each task: it counts how many characters may still be redacted.
    """

    def __init__(self) -> None:
        self._left = _MOST_SEARCHED

    def shorten(self, text: str, hide: Callable[[str], str] = str) -> str:
        """Return what ``hide`` returns for a text, or for its beginning. A text that is not cut is redacted later."""
        if len(text) <= _LONGEST_PART:
            return hide(text)
        if self._left <= 0:
            return "…"
        self._left -= len(text)
        return hide(redact_long_text(text, _redact_value)[:_LONGEST_PART])


def _redact_value(text: str) -> str:
    return str(json.loads(redact_json(json.dumps(text))))


def _make_plain(value: Any, shortener: _Shortener, depth: int = 0) -> Any:
    """Return a value as plain data for JSON, with the names of its fields, by which some secrets are known."""
    if isinstance(value, str):
        return shortener.shorten(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth > _DEEPEST:
        return "…"
    if hasattr(value, "_asdict"):  # A named tuple.
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
    """Return the ``repr`` of an object without the secrets that are known by a name in it: ``User(password='…')``."""
    named = [{found["name"]: found["value"]} for found in _NAMED_VALUE.finditer(text)]
    if not named:
        return text
    clean = iter(json.loads(redact_json(json.dumps(named))))  # All in one call, because there may be many.

    def hide(found: re.Match[str]) -> str:
        value = next(clean)[found["name"]]
        return found[0] if value == found["value"] else f"{found['before']}{value}"

    return _NAMED_VALUE.sub(hide, text)


def redact_arguments(text: str) -> str:
    """Return arguments, as JSON, without secrets and of a bounded size. Never raises."""
    try:
        text = redact_json(text)  # Before it is cut, because no rule recognizes half a key.
    except Exception:  # noqa: BLE001 -- a rule of the user's may raise anything
        return _NOT_SHOWN
    return text if len(text) <= _LONGEST_ARGUMENTS else f"{text[:_LONGEST_ARGUMENTS]} …"


def learn_secrets(task: Task) -> None:
    """Remember the secrets among the arguments of a task, because an error may repeat them. Never raises.

    They are recognized by the names of their fields. From then on they are removed from every text.
    """
    redact_arguments(describe_arguments(task))


def describe_error(error: BaseException) -> tuple[str, str]:
    """Return the text of an error, with its class, and its traceback; both without secrets and of a bounded size."""
    message = redact_long_text(text_of(error, UNCUT), redact_text)
    # A cut may have left out the first word, which is the class.
    if not message.startswith(kind := type(error).__name__):
        message = f"{kind}:{message}"
    lines = redact_long_text(traceback_of(error, UNCUT), redact_text)
    if len(lines) > _LONGEST_TRACEBACK:
        lines = f"…\n{lines[-_LONGEST_TRACEBACK:]}"
    return _shorten(message, _LONGEST_ERROR), lines


def preview_text(text: str) -> str:
    """Return the beginning of a text, up to 240 characters."""
    return _shorten(text, _PREVIEW)


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"

"""The reference to a scope that a task message carries: it says which cassette answers the requests of the task.

It is the value of one reserved keyword argument. It holds the id of a scope and no path, so a worker on another machine
uses its own cassette folder. A context variable or the environment cannot do this: a worker thread would read the value
of whatever test runs when the task does, and a forked worker the value at the time of the fork.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aquila.errors import CassetteRequired, MessageRejected, SessionClosed
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.config import Settings
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), scopes="aquila.recording.scope")

KEY = "__aquila__"
"""The keyword argument. A worker without Aquila fails on it with a TypeError instead of answering from anywhere."""

# The settings that a message may decide. None of them names a host, a folder, a key or code.
_ALLOWED_OPTIONS = (
    "record",
    "match_on",
    "ignore",
    "ignore_query",
    "repeat",
    "record_errors",
    "replay_timing",
    "silence",
)
_ALLOWED_TRANSPORTS = ("replay", "record", "live", "local")

# A reference says which process made it. A fork has the same token and another process id.
_process_token, _process_id = secrets.token_hex(8), os.getpid()

# The text of the reference to each scope, with the settings and the cassette it was made for: a test may enqueue
# thousands of tasks. An entry is replaced when either changes, and goes with its scope.
_reference_texts: WeakKeyDictionary[Scope, tuple[Settings, str | None, str]] = WeakKeyDictionary()


def malformed_reference() -> MessageRejected:
    """Return the error for a message whose reference this version could not have written."""
    return MessageRejected(f"a task carries a malformed reference to a test ({KEY})")


def reference_to_current_scope() -> str | None:
    """Return the reference to the scope in force here, or None where no scope is in force."""
    try:
        scope = find_current_scope()
    except (SessionClosed, CassetteRequired) as error:
        return json.dumps({"refused": str(error)})
    return _reference_to_scope(scope) if scope is not None else None


def find_current_scope() -> Scope | None:
    """Return the scope in force here, which opens that of a running test. Raises what ``current_scope`` raises."""
    if "aquila.recording.scope" not in sys.modules and not runtime.current_run().can_open_scope:
        return None  # No scope can be open, and a producer in production pays for no more than this.
    return scopes.current_scope()


def _reference_to_scope(scope: Scope) -> str:
    if (reason := scope.sessions.refusal) is not None:
        return json.dumps({"refused": reason})
    settings = scope.settings
    known = _reference_texts.get(scope)
    if known is not None and known[0] is settings and known[1] == scope.default_cassette:
        return known[2]
    reference = scope.make_reference()
    options = select_allowed_options(reference.options)
    if options.get("transport") != "record":
        options.pop("record", None)
    fields = {
        "scope": reference.scope,
        "name": reference.name,
        "default": reference.default_cassette,
        "options": options,
        "from": _process_token,
    }
    text = json.dumps(fields, separators=(",", ":"))  # Without spaces: it is part of every message.
    _reference_texts[scope] = settings, scope.default_cassette, text
    return text


def select_allowed_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``options`` that a message may decide."""
    allowed = {name: value for name, value in options.items() if name in _ALLOWED_OPTIONS}
    if options.get("transport") in _ALLOWED_TRANSPORTS:
        allowed["transport"] = options["transport"]
    return allowed


@functools.lru_cache(maxsize=64)  # All tasks of a test carry the same text.
def parse_reference(reference: str) -> Mapping[str, Any]:
    """Return the fields of a reference. Raises ``MessageRejected`` for one that is malformed."""
    try:
        fields = json.loads(reference)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict) and isinstance(fields.get("refused"), str):
        return fields
    if (
        not isinstance(fields, dict)
        or not all(isinstance(fields.get(name), str) for name in ("scope", "name", "from"))
        or not isinstance(fields.get("default"), str | None)
        or not isinstance(fields.get("options"), dict)
    ):
        raise malformed_reference()
    return fields


def was_made_here(reference: Mapping[str, Any]) -> bool:
    """Whether this very process made a reference. A fork of it did not."""
    return reference["from"] == _process_token and os.getpid() == _process_id

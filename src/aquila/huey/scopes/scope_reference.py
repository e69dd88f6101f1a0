"""The reference to a scope in the message of a task. It says which cassette answers the requests of the task.

The reference is the value of one reserved keyword argument: a seal, followed by fields in JSON. It holds the id of a
scope and no path, so a worker on another machine uses its own cassette folder. A context variable or the environment
cannot do this. A worker thread would read the value of whatever test runs when the task executes, and a forked worker
would read the value at the time of the fork.

A message is data, and anybody may have written it. A process that takes part in no test does not look at the reference.
A process that takes part in one accepts the reference where it names a scope of this process. Where it names a scope of
another process, the seal must fit. Even then the reference cannot make a process call a provider or record: see
``joined_scopes``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from aquila.cassettes.storage.scope_ids import is_scope_id
from aquila.errors import CassetteRequired, MessageRejected, SessionClosed
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording import scope_joining
    from aquila.recording.scope import Scope
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.recording: scope as scopes, scope_joining")

KEY = "__aquila__"
"""The keyword argument. A worker without Aquila fails on it with a TypeError, instead of asking a real provider."""

# The settings of the sender that a message carries: how requests are compared. None of these says which provider a
# worker calls, whether it records, or where it writes. Faults only change recorded answers.
_OPTIONS = ("match_on", "ignore", "ignore_query", "normalize", "repeat", "faults")

_LONGEST = 64 * 1024
"""The most characters of a reference."""

# A reference names the process that made it. A fork has the same token but another process id, so both are compared.
_process_token, _process_id = os.urandom(8).hex(), os.getpid()

# A cache of the references to scopes, with the settings and the cassette for which each was made: a test may enqueue
# thousands of tasks. An entry is replaced when either of them changes. The keys are weak, so an entry is gone with its
# scope, and needs no clearing.
_reference_texts: WeakKeyDictionary[Scope, tuple[Settings, str | None, str]] = WeakKeyDictionary()


def malformed_reference() -> MessageRejected:
    """Return the error for a message whose reference is not in the form that Aquila writes."""
    return MessageRejected(f"a task carries a malformed reference to a test ({KEY})")


def reference_to_current_scope() -> str | None:
    """Return the reference to the scope in force here, or None where no scope is in force.

    Where that scope refuses requests, the reference says so: the task must not ask a provider either.
    """
    # Before the first scope the module of scopes is not loaded, and a producer in production must not import it.
    if "aquila.recording.scope" not in sys.modules and not runtime.current_run().can_open_scope:
        return None
    try:
        scope = scopes.current_scope()
    except (SessionClosed, CassetteRequired) as error:
        return _write_reference({"refused": str(error)[: _LONGEST // 8]})
    return _reference_to_scope(scope) if scope is not None else None


def find_current_scope() -> Scope | None:
    """Return the scope in force here, or None. Opens that of a running test. Raises what ``current_scope`` raises."""
    if "aquila.recording.scope" not in sys.modules and not runtime.current_run().can_open_scope:
        return None
    return scopes.current_scope()


def _write_reference(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, separators=(",", ":"))  # Without spaces: it is part of every message.
    return runtime.run_key().make_seal(text) + text


def _reference_to_scope(scope: Scope) -> str:
    if (reason := scope.sessions.refusal) is not None:
        return _write_reference({"refused": reason[: _LONGEST // 8]})
    settings = scope.settings
    known = _reference_texts.get(scope)
    if known is not None and known[0] is settings and known[1] == scope.default_cassette:
        return known[2]
    reference = scope_joining.reference_fields(scope)
    options = reference["options"]
    fields = {
        "scope": reference["scope"],
        "name": reference["name"],
        "default": reference["default_cassette"],
        "transport": settings.transport,
        "options": {name: options[name] for name in _OPTIONS if options.get(name) is not None},
        "from": _process_token,
    }
    if reference["script"] is not None:
        fields["script"] = reference["script"]
    text = _write_reference(fields)
    _reference_texts[scope] = settings, scope.default_cassette, text
    return text


# A cache of the process, bounded and never cleared: all tasks of a test carry the same text, and the fields that it
# stands for never change. Callers must not change them either.
@functools.lru_cache(maxsize=64)
def parse_reference(reference: str) -> Mapping[str, Any]:
    """Return the fields of a reference. Raises ``MessageRejected`` for one that is malformed."""
    try:
        fields = json.loads(reference[runtime.SEAL_LENGTH :]) if len(reference) <= _LONGEST else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise malformed_reference()
    if "refused" in fields:
        if len(fields) == 1 and isinstance(fields["refused"], str):
            return fields
        raise malformed_reference()
    options = fields.get("options")
    if (
        not is_scope_id(fields.get("scope"))
        or not all(isinstance(fields.get(name), str) for name in ("name", "transport", "from"))
        or not all(isinstance(fields.get(name), str | None) for name in ("default", "script"))
        or not isinstance(options, dict)
        or not all(name in _OPTIONS and _is_text_or_texts(value) for name, value in options.items())
    ):
        raise malformed_reference()
    return fields


def _is_text_or_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def has_fitting_seal(reference: str) -> bool:
    """Whether a process of this run has made a reference.

    Where only an environment variable has put this process under test, the process shares a key with no other process,
    and the answer is True for every reference.
    """
    seal, text = reference[: runtime.SEAL_LENGTH], reference[runtime.SEAL_LENGTH :]
    return runtime.run_key().fits(seal, text)


def was_made_here(reference: Mapping[str, Any]) -> bool:
    """Whether this very process has made a reference, given its fields. In a fork of the process this is False."""
    return reference["from"] == _process_token and os.getpid() == _process_id

"""Opening a session: the cassette is found, loaded and indexed; what identifies and what is secret is settled."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aquila import config
from aquila.cassettes.codecs import READ_ONLY_SUFFIXES
from aquila.cassettes.matching.request_key import MatchRules, key_of
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction import fingerprints
from aquila.cassettes.redaction.known_secrets import environment_secrets
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import cassette_path
from aquila.config import DUMMY_KEY
from aquila.errors import CassetteWriteError
from aquila.plugins import has_listeners, plugin_manager
from aquila.recording import runtime
from aquila.recording.session import Session

if TYPE_CHECKING:
    from aquila.recording.scope import Scope


def open_session(scope: Scope, cassette: str, mode: str) -> Session:
    """Open the session of a cassette under a scope's settings. A file that does not exist is an empty cassette."""
    settings = scope.settings
    path = cassette_path(settings.cassette_root(), cassette)
    if mode != "replay" and path.suffix.lower() in READ_ONLY_SUFFIXES:
        raise CassetteWriteError(
            f"cannot record: {path} is of another recorder, and only read. To make it Aquila's: "
            f"aquila cassettes convert {shlex.quote(str(path))} --to yaml --replace"
        )
    rules = match_rules_of(settings)
    session = Session(
        cassette,
        cassette_files.load_cassette_or_empty(path),
        mode=mode,
        rules=rules,
        identify_request=request_identifier(rules),
        redactor=redactor_for(rules, settings.keep_headers),
        explain_miss=lambda explained: scope.explain_miss(session, path, explained),
        repeat_last=settings.repeat == "last",
    )
    return session


@lru_cache(maxsize=32)
def _cached_match_rules(match_on: tuple[str, ...], ignore: tuple[str, ...]) -> MatchRules:
    return MatchRules(match_on=match_on, ignore=ignore)


def match_rules_of(settings: config.Settings) -> MatchRules:
    """What identifies a request under some settings."""
    return _cached_match_rules(settings.match_on, settings.ignore)


def request_identifier(rules: MatchRules) -> Callable[[RecordedRequest], str]:
    """What gives a redacted request its key: a plugin's ``aquila_key`` if it wants to, else the rules."""
    if not has_listeners("aquila_key"):
        return lambda request: key_of(request, rules)
    hook = plugin_manager().hook.aquila_key

    def identify(request: RecordedRequest) -> str:
        value = hook(request=request)
        if value is None:
            return key_of(request, rules)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return "plugin:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    return identify


_CHANGED_BY_EVERY_TEST = ("PYTEST_CURRENT_TEST", "AQUILA_SESSION")
"""Variables that every test changes, and that hold no secret."""

_environment: tuple[tuple[Mapping[Any, Any], ...], dict[str, str]] | None = None


def _find_secrets() -> dict[str, str]:
    """The secrets of the machine, whatever dummies its environment shows; looked for again only when it has changed.

    The dummy itself stands where a recording has a real key, so it is one of them.
    """
    global _environment
    basis = config.copy_environment_without(_CHANGED_BY_EVERY_TEST), runtime.machine, runtime.hidden
    if _environment is None or _environment[0] != basis:
        found = {DUMMY_KEY: "the dummy key"}
        for environment in (os.environ, runtime.hidden, runtime.machine):
            for value, kind in environment_secrets(environment).items():
                found.setdefault(value, kind)
        _environment = basis, found
    return _environment[1]


_redactor: tuple[tuple[object, ...], Redactor] | None = None


def redactor_for(rules: MatchRules, keep_headers: tuple[str, ...] = ()) -> Redactor:
    """The redactor for the secrets of the machine and of the environment now, with the rules that plugins add.

    It keeps the header fields that ``rules`` compare, besides the usual ones and ``keep_headers``.
    """
    global _redactor
    secrets = _find_secrets()
    extra = tuple(rule for added in plugin_manager().hook.aquila_redactors() for rule in added)
    if runtime.fingerprints:
        extra = (fingerprints.fingerprint_rule(tuple(runtime.fingerprints)), *extra)
    basis = (secrets, rules.header_names, keep_headers, extra)
    if _redactor is None or _redactor[0] != basis:
        made = Redactor(
            secrets, extra, request_headers=(*rules.header_names, *keep_headers), response_headers=keep_headers
        )
        _redactor = (basis, made)
    return _redactor[1]

"""Open a session: find and load its cassette, and choose its matching rules and its redactor."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aquila import config
from aquila.cassettes.codecs import READ_ONLY_SUFFIXES
from aquila.cassettes.matching.request_key import DEFAULT_MATCH_ON, MatchRules, address_of, key_at_origin
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.merging import is_failure
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import CassetteWriteError
from aquila.lazy_imports import lazy_modules
from aquila.plugins import has_listeners, plugin_manager
from aquila.recording import redactors
from aquila.recording.client_calls import packages_of_project
from aquila.recording.model_hosts import asks_model
from aquila.recording.session import MissedRequest, Session

if TYPE_CHECKING:
    from aquila.cassettes.matching import miss_message
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), miss_message="aquila.cassettes.matching.miss_message")


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
    stored = cassette_files.load_cassette_or_empty(path, copies_folder=scope.run.layers.copies_folder())
    if mode != "replay" or any(is_failure(each.response) for each in stored.interactions):
        packages_of_project(scope.run.layers.root)  # here, where files may be read, and not in an event loop
    session = Session(
        cassette,
        stored,
        mode=mode,
        rules=rules,
        identify_request=request_identifier(rules),
        takes_other_origins=lambda request: takes_other_origins(request, rules, settings),
        redactor=redactors.redactor_for(rules, settings.keep_headers),
        explain_miss=lambda missed: _explain_miss(scope, session, path, missed),
        repeat_last=settings.repeat == "last",
        compute_keys_later=mode == "replay" and stored.requests_differ and _are_default(rules),
    )
    return session


def addresses_in_cassette(scope: Scope, cassette: str) -> frozenset[str]:
    """Return the addresses (see ``address_of``) of which a cassette of a scope holds recordings."""
    path = cassette_path(scope.settings.cassette_root(), cassette)
    stored = cassette_files.load_cassette_or_empty(path, copies_folder=scope.run.layers.copies_folder())
    return frozenset(address_of(each.request.url) for each in stored.interactions)


def _explain_miss(scope: Scope, session: Session, path: Path, missed: MissedRequest) -> miss_message.Explanation:
    """Explain a miss in a session. ``path`` is the file of its cassette."""
    with suppress(ValueError, OSError):  # the working directory may have been deleted
        path = path.relative_to(Path.cwd())
    shown = str(path)
    return miss_message.explain_miss(
        missed.request,
        recordings=session.cassette.interactions,
        rules=session.rules,
        cassette=shown if path.exists() else f"{shown} (no such file)",
        command=scope.record_command(),
        redactor=session.redactor,
        compares_origin=missed.compares_origin,
        request_number=missed.earlier_count + 1 if missed.recording_count else None,
    )


def _are_default(rules: MatchRules) -> bool:
    """Whether keys are those by which a compiled copy says that requests differ, or finer by their origin."""
    is_default = rules.match_on == DEFAULT_MATCH_ON and not (rules.ignore or rules.ignore_query)
    return is_default and not has_listeners("aquila_key")


@lru_cache(maxsize=32)
def _cached_match_rules(
    match_on: tuple[str, ...], ignore: tuple[str, ...], ignore_query: tuple[str, ...]
) -> MatchRules:
    return MatchRules(match_on=match_on, ignore=ignore, ignore_query=ignore_query)


def match_rules_of(settings: config.Settings) -> MatchRules:
    """Return the rules by which ``settings`` compare requests."""
    return _cached_match_rules(settings.match_on, settings.ignore, settings.ignore_query)


def takes_other_origins(request: RecordedRequest, rules: MatchRules, settings: config.Settings) -> bool:
    """Whether recordings of another scheme, host or port may answer a request, where there are none of its own."""
    if not rules.compares_origin:
        return True
    try:
        parts = urlsplit(request.url)
        return asks_model(parts.hostname or "", parts.port, parts.path, settings)
    except ValueError:  # such as brackets that do not close
        return False


def request_identifier(rules: MatchRules) -> Callable[[RecordedRequest], str]:
    """Return the function that gives a redacted request the key under which its recordings are counted.

    It asks the hook ``aquila_key`` of plugins first: their key says all, the origin too. Where that gives nothing,
    ``rules`` decide.
    """
    if not has_listeners("aquila_key"):
        return lambda request: key_at_origin(request, rules)
    hook = plugin_manager().hook.aquila_key

    def identify(request: RecordedRequest) -> str:
        value = hook(request=request)
        if value is None:
            return key_at_origin(request, rules)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return "plugin:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    return identify

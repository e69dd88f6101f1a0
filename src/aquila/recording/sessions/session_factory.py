"""Open a session: find and load its cassette, and choose its matching rules and its redactor."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.codecs import READ_ONLY_SUFFIXES
from aquila.cassettes.matching.match_rules import DEFAULT_MATCH_ON, MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import cassette_file, is_script
from aquila.errors import CassetteWriteError, ConversationDrifted
from aquila.lazy_imports import lazy_modules
from aquila.plugins import has_listeners, plugin_manager
from aquila.recording.network.model_hosts import is_url_of_model
from aquila.recording.secrets import redactors
from aquila.recording.sessions.client_calls import packages_of_project
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import MissedRequest
from aquila.settings import Settings
from aquila.shell_words import quote_word

if TYPE_CHECKING:
    from aquila.cassettes.matching import miss_message, request_key
    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.recording import scripts
    from aquila.recording.reporting import drift_watch
    from aquila.recording.scope import Scope
    from aquila.recording.sessions import drifted_conversations, miss_explanation
    from aquila.recording.sessions import filters as request_filters
    from aquila.recording.sessions.filters import Filters
    from aquila.recording.storing import recording_age
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.matching: miss_message, request_key",
        "aquila.recording: scripts",
        "aquila.recording.reporting: drift_watch",
        "aquila.recording.sessions: drifted_conversations, filters as request_filters, miss_explanation",
        "aquila.recording.storing: recording_age",
    )


def open_session(scope: Scope, cassette: str, mode: str) -> Session:
    """Open the session of a cassette under a scope's settings. A file that does not exist is an empty cassette."""
    settings = scope.settings
    root = settings.cassette_root()  # a test may change the variable that names it
    file = cassette_file(root, cassette)  # a replay whose requests all hit needs no `Path`
    if is_script(file):
        return _open_script(scope, cassette, Path(file), mode)
    if mode != "replay" and Path(file).suffix.lower() in READ_ONLY_SUFFIXES:
        shown = str(scope.run.layers.shown_path(Path(file)))
        raise CassetteWriteError(
            f"cannot record: {shown} has the format of another recorder, which Aquila only reads. To convert it: "
            f"aquila cassettes convert {quote_word(shown)} --to yaml --replace"
        )
    finds_drift = scope.run.layers.finds_drift and mode == "replay"
    if finds_drift:
        match_on = drift_watch.strict_match_on(match_rules_of(settings).match_on)
        settings = settings.with_options({"match_on": match_on}, source="--aquila-drift")
    rules = match_rules_of(settings)
    stored = _load_stored(scope, file)
    filters = scope.filters
    if finds_drift and filters is not None:
        filters = replace(filters, is_same=None)  # contents are compared, whatever a program compares
    repeat = settings.repeat
    if mode == "replay" and scope.kind in ("task", "fixture") and repeat == "error" and _is_part_of_fixture(scope):
        # It depends on which tests run, in which worker, how often they ask this process for the same.
        repeat = "last"
    session = Session(
        cassette,
        stored,
        mode=mode,
        rules=rules,
        identify_request=_late_identifier(rules, filters, mode),
        takes_other_origins=functools.partial(takes_other_origins, rules=rules, settings=settings),
        redactor=redactors.redactor_for(rules, settings.keep_headers),
        explain_miss=lambda missed: miss_explanation.explain_miss(scope, session, root, Path(file), missed),
        find_drift=_drift_finder(scope, Path(file)) if mode == "missing" else None,
        put_aside=drifted_conversations.keys_put_aside(cassette) if mode == "missing" else frozenset(),
        is_outdated=_find_outdated(settings) if mode == "missing" else None,
        repeat=repeat,
        compute_keys_later=mode == "replay" and filters is None and stored.requests_differ and _are_default(rules),
        filters=filters,
    )
    if session.may_retry:
        # Fills the cache. Later, when a request is decided, reading folders could block an event loop.
        packages_of_project(scope.run.layers.root)
    if finds_drift:
        explain = functools.partial(miss_explanation.explain_miss, scope, session, root, Path(file))
        session.find_stand_in = drift_watch.note_drift(scope, session, explain)
    return session


def _is_part_of_fixture(scope: Scope) -> bool:
    """Whether a scope is that of a child process of a fixture."""
    return not scope.is_owner and scope.kind_of_owner == "fixture"


def _open_script(scope: Scope, name: str, path: Path, mode: str) -> Session:
    """Open the session of a script: it has no recordings, and nothing is recorded into it."""
    rules = match_rules_of(scope.settings)
    session = Session(
        name,
        Cassette(),
        mode=mode,
        rules=rules,
        identify_request=request_identifier(rules),
        redactor=redactors.redactor_for(rules, scope.settings.keep_headers),
        explain_miss=lambda missed: miss_message.Explanation("", None, None),
    )
    session.script = scripts.open_script(scope, name, path)
    return session


def _load_stored(scope: Scope, file: str) -> Cassette:
    return cassette_files.load_cassette_or_empty(file, copies_folder=scope.run.layers.copies_folder())


def _find_outdated(settings: Settings) -> Callable[[Interaction], bool] | None:
    """Return a function that says whether a recording is older than the setting ``max_age``; None without that."""
    most = settings.max_age
    return None if most is None else lambda interaction: recording_age.is_older(interaction.recorded, most)


def addresses_in_cassette(scope: Scope, cassette: str) -> frozenset[str]:
    """Return the addresses (see ``address_within``) of which a cassette of a scope holds recordings."""
    file = cassette_file(scope.settings.cassette_root(), cassette)
    if is_script(file):
        return frozenset()
    stored = _load_stored(scope, file)
    return frozenset(address_within(scope, each.request.url) for each in stored.interactions)


def address_within(scope: Scope, url: str) -> str:
    """Return the address of a URL (see ``address_of``), its path as the settings of a scope normalize it."""
    address, normalizer = request_key.address_of(url), match_rules_of(scope.settings).normalizer
    if normalizer is None:
        return address
    origin = request_key.origin_of(url)
    return origin + normalizer.mask_text(address.removeprefix(origin))


def _drift_finder(scope: Scope, path: Path) -> Callable[[Session, MissedRequest], ConversationDrifted | None]:
    """Return the ``find_drift`` of a session (see ``Session``). ``path`` is the file of its cassette."""

    def compare(session: Session, missed: MissedRequest) -> miss_message.Explanation:
        return miss_explanation.compare_in_session(scope, session, path, missed, "")

    return functools.partial(drifted_conversations.find_drift, scope, compare)


def rules_decide(filters: Filters | None) -> bool:
    """Whether rules say which requests are the same, and neither a plugin nor a function of the program."""
    return not has_listeners("aquila_key") and (filters is None or filters.is_same is None)


def _are_default(rules: MatchRules) -> bool:
    """Whether keys differ wherever ``Cassette.requests_differ`` says that they do: it knows the default rules only."""
    is_default = rules.match_on == DEFAULT_MATCH_ON and not (rules.ignore or rules.ignore_query or rules.normalize)
    return is_default and not has_listeners("aquila_key")


# Pure, and `MatchRules` is frozen. Parsing paths and patterns takes longer than most replays; a run has few settings.
@functools.lru_cache(maxsize=32)
def _cached_match_rules(
    match_on: tuple[str, ...], ignore: tuple[str, ...], ignore_query: tuple[str, ...], normalize: tuple[str, ...]
) -> MatchRules:
    return MatchRules(match_on=match_on, ignore=ignore, ignore_query=ignore_query, normalize=normalize)


def match_rules_of(settings: Settings) -> MatchRules:
    """Return the rules by which ``settings`` compare requests."""
    return _cached_match_rules(settings.match_on, settings.ignore, settings.ignore_query, settings.normalize)


def redactor_of(settings: Settings) -> Redactor:
    """Return the redactor for what is recorded and shown under ``settings``."""
    return redactors.redactor_for(match_rules_of(settings), settings.keep_headers)


def takes_other_origins(request: RecordedRequest, rules: MatchRules, settings: Settings) -> bool:
    """Whether recordings of another scheme, host or port may answer a request, where there are none of its own."""
    if not rules.compares_origin:
        return True
    try:
        return is_url_of_model(request.url, settings)
    except ValueError:  # such as brackets that do not close
        return False


def _late_identifier(rules: MatchRules, filters: Filters | None, mode: str) -> Callable[[RecordedRequest], str]:
    """Return what ``request_identifier`` returns; in a replay, without loading the module that computes keys.

    Most requests of a replay need no key.
    """
    if mode == "replay" and rules_decide(filters):
        return lambda request: request_key.key_at_origin(request, rules)
    return request_identifier(rules, filters)


def request_identifier(rules: MatchRules, filters: Filters | None = None) -> Callable[[RecordedRequest], str]:
    """Return the function that gives a redacted request the key under which its recordings are counted.

    If ``filters`` compare requests, they alone decide, also about the origin. Else a key from the hook ``aquila_key``
    decides alone. Where there is neither, ``rules`` decide.
    """
    if filters is not None and filters.is_same is not None:
        return request_filters.ComparedRequests(filters.is_same).identify
    if not has_listeners("aquila_key"):
        return functools.partial(request_key.key_at_origin, rules=rules)
    hook = plugin_manager().hook.aquila_key

    def identify(request: RecordedRequest) -> str:
        value = hook(request=request)
        if value is None:
            return request_key.key_at_origin(request, rules)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return "plugin:" + hashlib.sha256(text.encode()).hexdigest()[:32]

    return identify

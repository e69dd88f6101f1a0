"""Opening a session: the cassette is found, loaded and indexed."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from aquila import config
from aquila.cassettes import store
from aquila.cassettes.key import MatchRules
from aquila.cassettes.names import cassette_path
from aquila.cassettes.redaction import Redactor
from aquila.cassettes.session import Session

if TYPE_CHECKING:
    from aquila.cassettes.scope import Scope


def open_session(scope: Scope, cassette: str, mode: str) -> Session:
    """Open the session of a cassette under a scope's settings. A file that does not exist is an empty cassette."""
    settings = scope.settings
    path = cassette_path(settings.cassette_root(), cassette)
    session = Session(
        cassette,
        store.load_or_empty(path),
        mode=mode,
        rules=rules_of(settings),
        redactor=redactor(),
        explain=lambda explained: scope.explain(session, path, explained),
        repeat_last=settings.repeat == "last",
    )
    return session


@lru_cache(maxsize=32)
def _rules(match_on: tuple[str, ...], ignore: tuple[str, ...]) -> MatchRules:
    return MatchRules(match_on=match_on, ignore=ignore)


def rules_of(settings: config.Settings) -> MatchRules:
    """What identifies a request under some settings."""
    return _rules(settings.match_on, settings.ignore)


_redactor: tuple[dict[str, str], Redactor] | None = None


def redactor() -> Redactor:
    """The redactor for the secrets that are in the environment now."""
    global _redactor
    environment = dict(os.environ)
    if _redactor is None or _redactor[0] != environment:
        _redactor = (environment, Redactor.from_environment(environment))
    return _redactor[1]

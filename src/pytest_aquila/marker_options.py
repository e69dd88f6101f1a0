"""Reads the cassette and the settings of a test from its markers. Checks rules of comparison and names of transports.

This module is loaded by the first test that opens a scope, and by a run that has any setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila import errors
from aquila.config import DEFAULTS
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.settings import Settings, parse_option
from pytest_aquila import node_ids
from pytest_aquila.options import LIVE, MARKER

if TYPE_CHECKING:
    from aquila.cassettes.redaction import request_headers
    from aquila.recording import scope_settings
    from aquila.recording.sessions import session_factory
    from aquila.transports import transport_names
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.redaction: request_headers",
        "aquila.recording: scope_settings",
        "aquila.recording.sessions: session_factory",
        "aquila.transports: transport_names",
    )


def options_of(item: pytest.Item) -> tuple[str | None, dict[str, Any]]:
    """Return the cassette and the settings that the markers of a test give. The closest marker wins.

    Raises ``UnknownOption`` or ``ConfigError`` for names and values that are not settings.
    """
    cassette: str | None = None
    # One pass over the markers for both kinds, because this runs twice for each test.
    markers = [marker for marker in item.iter_markers() if marker.name in (MARKER, LIVE)]
    if not markers:
        return None, {}
    test = node_ids.id_of(item)
    is_live = any(marker.name == LIVE for marker in markers)
    if is_live and any(marker.name == MARKER for marker in markers):
        raise errors.ConfigError(
            f"{test}: @pytest.mark.{MARKER} and @pytest.mark.{LIVE} contradict each other: the one is for a "
            "test that a cassette answers, the other for one that reaches the provider. Take one of them away"
        )
    options: dict[str, Any] = {"transport": "live"} if is_live else {}
    for marker in reversed([marker for marker in markers if marker.name == MARKER]):
        given = dict(marker.kwargs)
        named = given.pop("cassette", cassette)
        names = marker.args or (named,)
        if len(names) > 1 or not isinstance(names[0], str | None):
            raise errors.ConfigError(
                f"{test}: {_MARK} takes one cassette name and settings by keyword, not {', '.join(map(repr, names))}"
            )
        (cassette,) = names
        for name, value in given.items():
            options[name] = parse_option(name, value, source=f"{test}: {_MARK}", others=("cassette",))
    scope_settings.check_scope_options(options, runtime.current_settings(), source=test)
    if "transport" in options or "upstream" in options:
        transport_names.check_transports(options, source=f"{test}: {_MARK}")
    if not _RULES.isdisjoint(options):
        check_rules(runtime.current_settings().with_options(options, source=test))
    return cassette, options


_MARK = f"@pytest.mark.{MARKER}"
_RULES = frozenset({"match_on", "ignore", "ignore_query", "normalize", "keep_headers"})


def check_rules(settings: Settings) -> None:
    """Raise ``ConfigError`` for wrong rules of comparison, and for wrong names of header fields to keep.

    They are checked early, because later they would break the report of a test.
    """
    if settings.keep_headers:
        request_headers.check_header_names(settings.keep_headers, "keep_headers")
    if any(getattr(settings, name) != DEFAULTS[name] for name in _RULES):
        session_factory.match_rules_of(settings)

"""``--aquila-drift``: replay by method and path alone, and list what would miss if contents were compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila import config
    from aquila.recording import drift_watch, session_factory
    from aquila.recording.scope import Scope
    from pytest_aquila.reporting import Totals
else:
    lazy_modules(
        globals(),
        config="aquila.config",
        drift_watch="aquila.recording.drift_watch",
        session_factory="aquila.recording.session_factory",
    )


def watch_scope(scope: Scope) -> None:
    """Compare the contents of a scope's requests, although its settings do not."""
    default = config.Settings().match_on
    strict = scope.settings.with_options({"match_on": default}, source="--aquila-drift")
    rules = session_factory.match_rules_of(strict)
    scope.sessions.watch_drift(
        drift_watch.DriftWatch(
            rules,
            command=scope.record_command(),
            takes_other_origins=lambda request: session_factory.takes_other_origins(request, rules, strict),
        )
    )


def write_report(terminal: pytest.TerminalReporter, totals: Totals, target: str) -> None:
    """List what was found, and write it where ``target`` says."""
    for test, cassette, method, url, _ in totals.drifted:
        terminal.write_line(f"aquila: {test}: {method} {url} is not in {cassette} any more", yellow=True)
    count = len(totals.drifted)
    changed = "1 request has" if count == 1 else f"{count} requests have"
    terminal.write_line(f"aquila: {changed} no recording with the same content")
    if target != "-":
        names = ("test", "cassette", "method", "url", "text")
        rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in totals.drifted]
        Path(target).write_text(json.dumps(rows, indent=1), encoding="utf-8")

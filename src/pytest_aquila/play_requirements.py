"""Demands on a test that passes: to play every recording and no old one, use every scripted answer, meet every fault.

``scope_ends`` decides which demands the settings make. Most runs make none, and never load this module.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.plurals import number_of
from aquila.recording.sessions.played_recordings import describe_unplayed

if TYPE_CHECKING:
    from aquila.recording.reporting import played_answers
    from aquila.recording.scope import Scope
    from aquila.recording.storing import recording_age
else:
    lazy_modules(globals(), "aquila.recording.reporting: played_answers", "aquila.recording.storing: recording_age")


def demand_faults_are_met(scope: Scope) -> None:
    """Fail if a fault of a scope was met by no request."""
    plan = scope.faults.plan
    if plan is None:
        return
    scope.faults.collect_met(plan)
    if message := plan.explain_unmet():
        more = "\nThe good answer is recorded now, so run it once more" if scope.settings.transport == "record" else ""
        pytest.fail(f"{message}{more}", pytrace=False)


def demand_scripts_are_used(scope: Scope) -> None:
    """Fail or warn, as the settings demand, if no request asked for a scripted answer of a scope."""
    for script in (*([scope.scripts.written] if scope.scripts.is_written else ()), *scope.scripts.from_files.values()):
        _demand_script_is_used(scope, script)


def _demand_script_is_used(scope: Scope, script: Any) -> None:
    left = script.left
    if not left or (demand := script.unused or scope.settings.unused) == "ignore":
        return
    shown = "".join(f"\n  {answer}" for answer in left[:20]) + (f"\n  and {len(left) - 20} more" if left[20:] else "")
    message = f"{number_of(len(left), 'scripted answer was', 'scripted answers were')} not asked for:{shown}"
    if demand == "warn":
        warnings.warn(pytest.PytestWarning(message), stacklevel=1)
        return
    in_a_test, in_a_file = 'aquila_script.unused = "ignore" in the test', "`unused: ignore` in a script's file"
    pytest.fail(f"{message}\nIf that is meant, say so: {in_a_test}, or {in_a_file}", pytrace=False)


def fail_for_unplayed(scope: Scope) -> None:
    """Fail if a scope did not play every recording of the cassette that it owns."""
    if scope.default_cassette is None or not scope.owns_cassette:
        return
    if scope.settings.transport == "replay":
        # A test that makes no request any more has played nothing.
        scope.sessions.session_for(scope.default_cassette, "replay")
    if scope.child_messages.files.may_have_rows:
        played_answers.adopt_plays(scope, scope.child_messages.take_plays(scope.id, again=True))
    for session in scope.sessions.opened_for(scope.default_cassette):
        if session.mode == "replay" and session.plays.unplayed:
            whole, parts = describe_unplayed(session.plays.unplayed, session.plays.conversations)
            one = len(whole) == 1
            texts = [f"recording{'' if one else 's'} {', '.join(map(str, whole))}"] * bool(whole) + parts
            were = "was" if one and not parts else "were"
            pytest.fail(
                f"cassette {session.name}: {' and '.join(texts)} {were} not played (aquila_unplayed = fail). "
                f"Record it again: {scope.record_command(everything=bool(parts))}",
                pytrace=False,
            )


def fail_for_outdated(scope: Scope, most: float) -> None:
    """Fail if a played recording is older than ``most`` days, also one that was played in a block within the scope."""
    played = [
        (interaction.recorded, session.name)
        for session in scope.sessions.opened()
        for interaction in session.plays.in_order()
    ]
    played += [(report.oldest, ", ".join([name for _, name in report.cassettes])) for report in scope.block_reports]
    known = [(recorded, name) for recorded, name in played if recording_age.is_older(recorded, most)]
    if known:
        recorded, name = min(known)
        pytest.fail(
            f"cassette {name}: a recording of {recorded} is {recording_age.describe_age(recorded)}, and may be "
            f"{most:g} days old (aquila_max_age, aquila_outdated = fail). Record again what is old: "
            f"{scope.record_command()}",
            pytrace=False,
        )

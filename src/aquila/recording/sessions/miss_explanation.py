"""The text of a miss: how the request differs from the recordings, and what else may be the reason.

``cassettes.matching.miss_message`` writes the comparison. The rest comes from recordings that wait in pending files or
in the journals of interrupted runs, from cassettes of renamed and of other tests, from scripts, and from conversations
that drift in their middle.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.matching.miss_message import Explanation, compare_with_recordings
from aquila.cassettes.storage.names import name_of_file
from aquila.recording import runtime, scripts
from aquila.recording.reporting import other_tests, renamed_tests
from aquila.recording.sessions import drifted_conversations
from aquila.recording.sessions.session_factory import rules_decide
from aquila.recording.storing import interrupted_runs, pending_recordings
from aquila.setting_lines import AS_ARGUMENTS

if TYPE_CHECKING:
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest


def name_settings_file(run: runtime.Run) -> str:
    """Return the name of the file with the settings of a run, as in ``setting_lines``, for the advice of a miss.

    The process itself, outside of pytest and of a command of Aquila, reads none.
    """
    reads_none = run is runtime.process_run() and not run.layers.under_pytest
    return AS_ARGUMENTS if reads_none else run.layers.settings_file


def explain_miss(scope: Scope, session: Session, root: Path, path: Path, missed: MissedRequest) -> Explanation:
    """Return the text of a miss in a replay. ``path`` is the file of its cassette, in the cassette folder ``root``."""
    unknown = None
    if not drifted_conversations.is_always_repeated(scope):  # else it makes no difference to what is to be typed
        unknown = drifted_conversations.find_unknown_id(scope, session, missed.request)
    if unknown is None or drifted_conversations.will_repeat(scope, unknown):
        explained = compared = compare_in_session(scope, session, path, missed, scope.record_command())
        pending, is_answered = pending_recordings.describe_pending(scope, session, missed)
        if not is_answered:  # else the pending file is the remedy
            explained = renamed_tests.mention_rename(compared, scope, session, root, path, missed)
            if explained is compared:
                explained = other_tests.mention_other_test(explained, scope, session, root, path, missed)
        if not path.exists():
            explained = other_tests.mention_outer_folder(explained, scope, session, root, path)
            if other_tests.is_written(scope, name_of_file(root, path)):
                explained = scripts.mention_similar_script(explained, scope, path)
            if scope.scripts.is_written:  # it may be the script that lacks an answer
                explained = scripts.mention_script(explained, scope, session, missed)
        explained = interrupted_runs.mention_interrupted(explained, scope, session, missed)
        return replace(explained, text=explained.text + pending)
    explained = compare_in_session(scope, session, path, missed, "")
    return drifted_conversations.add_reason(explained, scope, session, unknown)


def compare_in_session(scope: Scope, session: Session, path: Path, missed: MissedRequest, command: str) -> Explanation:
    """Say how a request differs from the recordings. ``command`` is what to type to record it."""
    if not path.exists() and session.cassette.interactions and path.with_suffix("").is_file():
        path = path.with_suffix("")  # vcrpy's `birds.json`, beside which `birds.json.yaml` would be written
    shown = str(scope.run.layers.shown_path(path))
    return compare_with_recordings(
        missed.request,
        recordings=session.cassette.interactions,
        rules=session.rules,
        cassette=shown if path.exists() else f"{shown} (no such file)",
        command=command,
        redactor=session.redactor,
        compares_origin=missed.compares_origin,
        request_number=missed.earlier_count + 1 if missed.recording_count else None,
        advises_settings=rules_decide(scope.filters),
        settings_file=name_settings_file(scope.run),
    )

"""The scripts of the scopes of a run and those in files, and how its other processes ask them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import cassette_path, names_script
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.scope import Scope
from aquila.recording.secrets import outgoing
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.settings import Settings

if TYPE_CHECKING:
    from aquila import temporary_folders
    from aquila.cassettes.matching.miss_message import Explanation
    from aquila.cassettes.model import Interaction
    from aquila.recording.reporting import exchange_watch
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import MissedRequest
    from aquila.scripting import script_file, shared_script
    from aquila.scripting.shared_script import AnswersRequests, RemoteScript, ScriptServer, SharedAnswer
else:
    lazy_modules(
        globals(),
        "aquila: temporary_folders",
        "aquila.recording.reporting: exchange_watch",
        "aquila.scripting: script_file, shared_script",
    )


class SharedScripts:
    """The server that other processes ask about the scripts of a run, which owns this object and closes the server."""

    server: ScriptServer | None = None  # a default of the class; `token_for_children` sets it on the object


def is_scripted(cassette: str | None, settings: Settings) -> bool:
    """Whether the cassette of that name is a script."""
    return cassette is not None and names_script(settings.cassette_root(), cassette)


def is_answered_by_hand(scope: Scope) -> bool:
    """Whether only scripts answer the requests of a scope."""
    cassette = scope.default_cassette
    return scope.scripts.is_written if cassette is None else scope.scripts.names_script(cassette)


def token_for_children(scope: Scope) -> str:
    """Return the token with which other processes ask the scripts of ``scope``. The first call starts the server."""
    if scope.scripts.token is not None:  # children of a process that has joined a scope ask the owner, too
        return scope.scripts.token
    run = scope.run
    shared = run.state_of(SharedScripts)
    if shared.server is None or not shared.server.is_reachable:
        # Kept: this process may have another folder for temporary files when its children, or its threads, ask.
        runtime.run_key().meeting_place = meeting_place()
        server = shared_script.ScriptServer(
            runtime.run_key().key,
            lambda *asked: _find_script(run, *asked),
            lambda told: _note_answer(run, told),
            runtime.run_key().meeting_place,
        )
        shared.server = run.hold(contextlib.closing(server))
    return shared.server.token


def meeting_place() -> str:
    """Return the folder in which other processes find the scripts of this one. Raises ``OSError`` if there is none."""
    known = runtime.run_key().meeting_place
    return known if known is not None and os.path.isdir(known) else temporary_folders.temporary_root()


def _find_script(run: runtime.Run, scope_id: str, cassette: str | None) -> AnswersRequests | None:
    """Return the script that another process asks for. Raises ``LookupError`` for a scope that has ended."""
    scope = run.scopes.find(scope_id)
    if scope is None:
        raise LookupError(scope_id)
    if cassette is None:
        return scope.scripts.written or scope.scripts.lent
    return open_script(scope, cassette, cassette_path(scope.settings.cassette_root(), cassette))


def _note_answer(run: runtime.Run, told: SharedAnswer) -> None:
    """Let the report of a run know what its script has answered another process."""
    scope = run.scopes.find(told.scope)
    if run.exchange_watch is not None and scope is not None:
        interaction = replace(told.interaction, upstream="script")
        decision = ReplayDecision(interaction, RecordingPlayed("script", 0, 0), told.last, told.fault)
        run.exchange_watch.note_answer_elsewhere(scope, decision, told.job)


def open_script(scope: Scope, cassette: str, path: Path) -> AnswersRequests:
    """Return the script in the file of a cassette: one object for all requests within a scope.

    In another process than the owner's, return what asks the owner, if this process has its token. Raises what
    ``load_script`` raises.
    """
    token = None if scope.is_owner else _token_of_parent(scope)
    if token is not None:
        return _remote_script(token, scope, cassette)
    known = scope.scripts.from_files.get(cassette)
    # `setdefault`: of two threads that load it at once, both get the script that was stored first, with one count.
    return known if known is not None else scope.scripts.from_files.setdefault(cassette, script_file.load_script(path))


def mention_script(explained: Explanation, scope: Scope, session: Session, missed: MissedRequest) -> Explanation:
    """Add to the explanation of a miss which answers are left in the script of ``scope``, and how to add one."""
    script = scope.scripts.written
    if script is None:
        return explained
    with contextlib.suppress(Exception):  # a function of the test may raise anything, and another process be gone
        told = script.explain(session.redactor.redact_request(missed.request))
        # The part about the request is in the explanation already.
        added = session.redactor.redact_text(f"\n\nNor does the script answer it:\n\n{told.partition(chr(10) * 2)[2]}")
        return replace(explained, text=explained.text + added)
    return explained


def mention_similar_script(explained: Explanation, scope: Scope, path: Path) -> Explanation:
    """Add to the explanation of a miss which script has a name like that of its cassette, ``path``, if one has."""
    near = script_file.find_similar_script(path)
    if near is None:
        return explained
    return replace(explained, text=f"{explained.text}\n\nDid you mean the script {scope.run.layers.shown_path(near)}?")


def join_script(scope: Scope, token: str) -> None:
    """Let a joined scope ask the script of the process that owns it."""
    scope.scripts.use_joined(_remote_script(token, scope), token)


def script_of_parent(scope: Scope) -> AnswersRequests:
    """Return the script of a scope in a process that was forked within it: one that asks the parent process."""
    return _remote_script(_token_of_parent(scope) or "", scope)


def _remote_script(token: str, scope: Scope, cassette: str | None = None) -> RemoteScript:
    return shared_script.RemoteScript(
        runtime.run_key().key,
        token,
        scope.id,
        cassette,
        find_job=_find_job,
        make_note=_make_note,
        meeting_place=runtime.run_key().meeting_place,
    )


def _token_of_parent(scope: Scope) -> str | None:
    if scope.scripts.token is not None:
        return scope.scripts.token
    server = scope.run.state_of(SharedScripts).server  # what a fork has of it
    return server.token if server is not None else None


def _find_job() -> str:
    """Return the id of the job that runs in this context, in a run that reports; else the empty text."""
    return exchange_watch.current_job.get() if _is_reported() else ""


def _make_note(interaction: Interaction) -> Interaction | None:
    """Return an exchange for the report, redacted here: the parent may not know the secrets of this process."""
    return outgoing.run_redactor().redact_interaction(interaction) if _is_reported() else None


def _is_reported() -> bool:
    run = runtime.current_run()
    return run.tells_jobs or run.exchange_watch is not None

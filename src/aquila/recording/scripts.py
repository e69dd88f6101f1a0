"""The scripts of the scopes of a run, those in files, and what its other processes see of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import cassette_path, is_script
from aquila.config import Settings
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime, under_test
from aquila.recording.scope import Scope

if TYPE_CHECKING:
    from aquila.scripting import script_file, shared_script
    from aquila.scripting.shared_script import AnswersRequests, ScriptServer
else:
    lazy_modules(
        globals(),
        script_file="aquila.scripting.script_file",
        shared_script="aquila.scripting.shared_script",
    )


class SharedScripts:
    """The server that other processes ask about the scripts of a run, which owns this object."""

    server: ScriptServer | None = None


def is_scripted(cassette: str | None, settings: Settings) -> bool:
    """Whether the cassette of that name is a script."""
    return cassette is not None and is_script(cassette_path(settings.cassette_root(), cassette))


def is_answered_by_hand(scope: Scope) -> bool:
    """Whether nothing but scripts answers the requests of a scope."""
    return scope.has_script if scope.default_cassette is None else scope.names_script(scope.default_cassette)


def token_for_children(scope: Scope) -> str:
    """Return the token with which other processes ask the scripts of ``scope``. The first call starts the server."""
    if scope.script_token is not None:  # what this process has joined, its children ask, too
        return scope.script_token
    run = scope.run
    shared = run.state_of(SharedScripts)
    if shared.server is None:
        server = shared_script.ScriptServer(under_test.run_key().key, lambda *asked: _find_script(run, *asked))
        shared.server = run.hold(contextlib.closing(server))
    return shared.server.token


def _find_script(run: runtime.Run, scope_id: str, cassette: str | None) -> AnswersRequests | None:
    """Return what another process asks for. Raises ``LookupError`` for a scope that has ended."""
    scope = run.scopes.find(scope_id)
    if scope is None:
        raise LookupError(scope_id)
    if cassette is None:
        return scope.script
    return open_script(scope, cassette, cassette_path(scope.settings.cassette_root(), cassette))


def open_script(scope: Scope, cassette: str, path: Path) -> AnswersRequests:
    """Return the script in the file of a cassette: the same for all that asks within a scope.

    Another process than that of the scope asks there, if it was told how. Raises what ``load_script`` raises.
    """
    token = None if scope.is_owner else _token_of_parent(scope)
    if token is not None:
        return shared_script.RemoteScript(under_test.run_key().key, token, scope.id, cassette)
    known = scope.file_scripts.get(cassette)
    return known if known is not None else scope.file_scripts.setdefault(cassette, script_file.load_script(path))


def join_script(scope: Scope, token: str) -> None:
    """Let a scope that was joined ask the process that wrote its script."""
    scope.script_token = token
    scope.use_script(shared_script.RemoteScript(under_test.run_key().key, token, scope.id))


def script_of_parent(scope: Scope) -> AnswersRequests:
    """Return the script of a scope in a process that was forked within it: its parent decides."""
    return shared_script.RemoteScript(under_test.run_key().key, _token_of_parent(scope) or "", scope.id)


def _token_of_parent(scope: Scope) -> str | None:
    if scope.script_token is not None:
        return scope.script_token
    server = scope.run.state_of(SharedScripts).server  # what a fork has of it
    return server.token if server is not None else None

"""How another process joins a scope: the reference that it gets, and the part of the scope that it opens with that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.cassettes.storage.scope_ids import checked_scope_id
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple
from aquila.recording import runtime
from aquila.recording.scope import Scope

if TYPE_CHECKING:
    from aquila.recording import scripts
    from aquila.settings import Settings
else:
    lazy_modules(globals(), "aquila.recording: scripts")


class ScopeReference(NamedTuple):
    """What another process needs to join a scope. Small, and without a path: each side has its own cassette folder."""

    scope: str
    name: str
    default_cassette: str | None
    options: Mapping[str, Any] = {}
    models_only: bool = False
    script: str | None = None
    """The token with which other processes ask its script, if it has one."""


def reference_fields(scope: Scope, *, recording: bool = True, settings: Settings | None = None) -> dict[str, Any]:
    """Return the fields of the ``ScopeReference`` by which another process joins ``scope``.

    ``recording`` says that the other process surely records if the transport is ``record``. ``settings`` are those in
    force in the scope, if the caller has them.
    """
    # A dict, because each test with a cassette describes its scope for child processes, and few have any.
    settings = scope.settings if settings is None else settings
    if recording and settings.transport == "record":
        scope.recording.open_journal()  # the owner's journal marks the scope as alive
    options = {**scope.own_settings.options, "transport": settings.transport, "record": settings.record}
    if (plan := scope.faults.plan) is not None:
        options["faults"] = plan.text
    has_script = scope.scripts.lent is not None or scope.scripts.may_answer(scope.default_cassette, settings)
    return {
        "scope": scope.id,
        "name": scope.name,
        "default_cassette": scope.default_cassette,
        "options": options,
        "models_only": scope.models_only,
        "script": scripts.token_for_children(scope) if has_script else None,
    }


def join_scope(reference: ScopeReference, *, command: str = "") -> Scope:
    """Return the scope of a reference: the one of this process, or a new part of another process's scope.

    ``command`` is what to type to record again what that scope runs, if it is known. Raises ``ConfigError`` if the
    reference names no id.
    """
    found = runtime.current_run().scopes.find(checked_scope_id(reference.scope))
    if found is not None:
        return found
    scope = Scope(
        kind="task",
        name=reference.name,
        command=command,
        default_cassette=reference.default_cassette,
        models_only=reference.models_only,
        options=reference.options,
        joined_id=reference.scope,
    )
    if reference.script is not None:
        scripts.join_script(scope, reference.script)
    scope.run.scopes.announce(scope)
    return scope

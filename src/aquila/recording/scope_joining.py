"""How another process joins a scope: the reference that it is sent, and the scope that it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aquila.cassettes.storage.scope_ids import checked_scope_id
from aquila.lazy_imports import lazy_modules
from aquila.recording.scope import Scope, find_scope

if TYPE_CHECKING:
    from aquila.recording import scripts
else:
    lazy_modules(globals(), scripts="aquila.recording.scripts")


@dataclass(frozen=True, slots=True)
class ScopeReference:
    """What another process needs to join a scope. Small, and without a path: each side has its own cassette folder.

    Raises ``ConfigError`` if ``scope`` is no id.
    """

    scope: str
    name: str
    default_cassette: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    models_only: bool = False
    script: str | None = None
    """The token with which other processes ask its script, if it has one."""

    def __post_init__(self) -> None:
        checked_scope_id(self.scope)

    @classmethod
    def of(cls, scope: Scope) -> ScopeReference:
        """Return the reference to a scope of this process, which may record from now on."""
        return cls(**scope.reference_fields())


def join_scope(reference: ScopeReference, *, command: str = "") -> Scope:
    """Return the scope of a reference: the one of this process, or a new part of another process's scope.

    ``command`` is what to type to record again what that scope runs, if it is known.
    """
    found = find_scope(reference.scope)
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

"""The scope that a task executes in: the one its reference names, one of its own, or one that refuses its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aquila.huey.joined_scopes import JoinedScopes
from aquila.huey.scope_reference import parse_reference, was_made_here
from aquila.huey.scope_sharing import share_counts, store_misses
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), scopes="aquila.recording.scope")

_NOT_EXECUTED = object()  # A task that was revoked or has expired has no outcome.


def enter_task_scope(huey: Any, task: Any) -> tuple[Scope, int] | None:
    """Put the scope of a task that came over the wire in force in this context, which is the task's own.

    Returns the arguments for ``leave_task_scope``: the scope and how many misses it has. None where no scope is needed.
    """
    reference = task._aquila_scope
    scope = (
        _find_scope_without_reference(task)
        if reference is None
        else _find_scope(huey, task, parse_reference(reference))
    )
    if scope is None:
        return None
    scopes.bind_scope(scope)
    return scope, len(scope.misses)


def leave_task_scope(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """End what ``enter_task_scope`` began. ``known`` is how many misses the scope had then."""
    if not scope.is_owner:
        store_misses(huey, task, scope, known)
    elif scope.kind == "task":
        scope.close(passed=getattr(task, "_aquila_error", _NOT_EXECUTED) is None)


def _find_scope(huey: Any, task: Any, reference: Mapping[str, Any]) -> Scope:
    if "refused" in reference:
        return make_refusing_scope(task, reference["refused"])
    run = runtime.current_run()
    scope = run.scopes.find(reference["scope"])
    if scope is None and was_made_here(reference):
        return make_refusing_scope(
            task,
            f"{reference['name'] or 'the scope that'} enqueued it and has ended: let the test drain the queue, or end "
            "its consumer, before it returns",
        )
    if scope is None:
        scope = run.state_of(JoinedScopes).join_scope(huey, reference)
    elif not scope.is_owner:
        share_counts(huey, scope)
    if not scope.is_owner:
        # A test may take its cassette after it has enqueued a task.
        scope.use_cassette(reference["default"], owned=False)
    return scope


def _find_scope_without_reference(task: Any) -> Scope | None:
    if runtime.current_settings().transport not in ("replay", "record"):
        return None
    if runtime.is_under_pytest():
        return make_refusing_scope(
            task,
            "it carries no reference to a test: enqueue it within one, through a Huey of aquila.huey or one that was "
            "instrumented; execute periodic tasks with run_periodic",
        )
    return _make_scope(kind="task", name=repr(task))


def make_refusing_scope(task: Any, reason: str) -> Scope:
    """Return a scope that refuses every request of a task. ``reason`` completes "the task ..., and"."""
    return _make_scope(kind="task", name=f"{task.name} ({task.id})", default_cassette="none", refusal=reason)


def _make_scope(**options: Any) -> Scope:
    return scopes.Scope(**options)

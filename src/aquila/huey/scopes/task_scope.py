"""The scope in which a task executes: the one that its reference names, its own, or one that refuses requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila.errors import ConfigError, MessageRejected
from aquila.huey.scopes.joined_scopes import JoinedScopes
from aquila.huey.scopes.scope_reference import has_fitting_seal, parse_reference, was_made_here
from aquila.huey.scopes.scope_sharing import share_counts, store_misses
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.faults import parsing as fault_parsing
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(globals(), "aquila.faults: parsing as fault_parsing", "aquila.recording: scope as scopes")

_NOT_EXECUTED = object()  # In the place of an outcome: the task was revoked, or has expired.

WITH_CASSETTE = ("replay", "record")
"""The transports under which a task without a reference needs a scope, too."""


def enter_task_scope(huey: Any, task: Any, run: runtime.Run) -> tuple[Scope, int] | None:
    """Put the scope of a task that came over the wire in force in this context, which belongs to the task alone.

    Returns the last two arguments for ``leave_task_scope``: the scope, and how many misses it has if another process
    owns it. Returns None where no scope is needed, or where nothing is to be done at its end.
    """
    reference = task._aquila_scope
    if reference is not None:
        # The usual case in a test. Whether a scope is this process's own is asked once: that is a system call.
        own = run.scopes.find(parse_reference(reference).get("scope"))
        if own is not None and own.is_owner:
            scopes.bound_scope.set(own)
            return (own, 0) if own.kind == "task" else None
    scope = _find_scope_without_reference(task) if reference is None else _find_scope(huey, task, reference, run)
    if scope is None:
        return None
    scopes.bound_scope.set(scope)  # Never reset: the context ends with the execution.
    if not scope.is_owner:
        return scope, len(scope.misses.hear())  # only later misses, which are of this task, are told to the owner
    return (scope, 0) if scope.kind == "task" else None


def leave_task_scope(huey: Any, task: Any, scope: Scope, known: int) -> None:
    """End what ``enter_task_scope`` has begun. ``known`` is how many misses the scope had then.

    The misses of a scope of another process are stored for its owner; a scope of the task itself is closed.
    """
    if not scope.is_owner:
        store_misses(huey, task, scope, known)
    elif scope.kind == "task":
        scope.close(passed=getattr(task, "_aquila_error", _NOT_EXECUTED) is None)


def _find_scope(huey: Any, task: Any, reference: str, run: runtime.Run) -> Scope:
    """Return the scope for a reference that names none of this process's own."""
    fields = parse_reference(reference)
    if "refused" in fields:
        return make_refusing_scope(task, fields["refused"])
    scope = run.scopes.find(fields["scope"])
    if scope is None and was_made_here(fields):
        return make_refusing_scope(
            task,
            f"{fields['name'] or 'the scope that'} enqueued it and has ended: let the test drain the queue, or end "
            "its consumer, before it returns",
        )
    if not has_fitting_seal(reference):
        return make_refusing_scope(
            task,
            "its reference to a test was not made by the run that this process belongs to: another run uses the same "
            "queue, or somebody else wrote the message",
        )
    if scope is None:
        try:
            scope = run.state_of(JoinedScopes).join_scope(huey, fields)
        except (MessageRejected, ConfigError) as error:
            return make_refusing_scope(task, str(error))
    else:
        share_counts(huey, scope)
    # A test may choose its cassette after it has enqueued a task, so the message of a later task may name another one.
    scope.use_cassette(fields["default"], owned=False)
    try:
        _follow_faults(scope, fields["options"].get("faults"))
    except ConfigError as error:
        return make_refusing_scope(task, str(error))
    return scope


def _follow_faults(scope: Scope, faults: str | None) -> None:
    """Put the faults that were in force where a task was enqueued in force in its scope.

    The faults of a block begin and end with the block, so tasks of one test may come with different ones. Raises
    ``ConfigError`` for faults that cannot be read.
    """
    if scope.settings.faults != faults:
        if faults is not None:
            fault_parsing.read_faults(faults)
        scope.override_settings({"faults": faults}, source="a message")


def _find_scope_without_reference(task: Any) -> Scope | None:
    if runtime.current_settings().transport not in WITH_CASSETTE:
        return None
    if runtime.is_under_pytest():
        return make_refusing_scope(
            task,
            "it carries no reference to a test: enqueue it within one, through a Huey of aquila.huey or one that was "
            "instrumented; execute periodic tasks with run_periodic",
        )
    return scopes.Scope(kind="task", name=repr(task))


def make_refusing_scope(task: Any, reason: str) -> Scope:
    """Return a scope that refuses every request of a task. ``reason`` completes "the task ..., and"."""
    return scopes.Scope(
        kind="task",
        name=f"{task.name} ({task.id})",
        default_cassette="none",
        options={"transport": "replay"},  # In a process that is live nothing would ask the scope otherwise.
        refusal=reason,
    )

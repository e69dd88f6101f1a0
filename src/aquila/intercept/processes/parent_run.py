"""Joins the run of the parent process in a child: the child's side of ``child_processes``."""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from aquila.config import SettingsLayers
from aquila.intercept import activation
from aquila.intercept.processes.child_processes import VARIABLE
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime, under_test
from aquila.recording.environment import find_own_variables

if TYPE_CHECKING:
    from aquila.intercept.queues import parent_queues
    from aquila.recording import scope_joining
    from aquila.recording.reporting import child_messages, play_log
    from aquila.recording.scope import Scope
    from aquila.recording.storing import record_budget
else:
    lazy_modules(
        globals(),
        "aquila.intercept.queues: parent_queues",
        "aquila.recording: scope_joining",
        "aquila.recording.reporting: child_messages, play_log",
        "aquila.recording.storing: record_budget",
    )


class _Joined:
    """What this process has joined: the variables that described it, its run, and the holder of its guard."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.run: runtime.Run | None = None
        self.guard: object | None = None


class _Parent(NamedTuple):
    """The run of the parent, as ``AQUILA_RUN`` describes it."""

    layers: SettingsLayers
    key: str
    fingerprints: Sequence[str] = ()
    scope: dict[str, Any] | None = None
    command: str = ""
    """The command that records again, for messages."""
    messages: Sequence[str] | None = None
    """Where to leave messages for the parent; see ``Run.messages``."""
    plays: bool = False
    """Whether the parent wants messages about played recordings."""
    budget: str | None = None
    """The path of the file that counts the recorded requests of the run."""
    jobs: bool = False
    """Whether the parent wants messages about executed tasks."""
    meeting_place: str | None = None
    """The folder in which the processes of the run find each other."""
    shows_end: str | None = None
    """The kind of the scope's owner, if this process can see when the scope ends."""


_TEXT = (str, NoneType)
_KINDS: dict[str, Any] = {
    "key": str,
    "fingerprints": list,
    "scope": (dict, NoneType),
    "command": str,
    "messages": (list, NoneType),
    "plays": bool,
    "budget": _TEXT,
    "jobs": bool,
    "meeting_place": _TEXT,
    "shows_end": _TEXT,
}
"""The types that each field may have."""


def join_parent_run() -> None:
    """Join the run that ``AQUILA_RUN`` describes, and apply this process's own ``AQUILA_UNDER_TEST``.

    If the first is damaged, all connections to other machines are refused. Raises ``SystemExit`` if this fails: the
    process must not go on without the guard of its parent.
    """
    try:
        _join_parent_run()
    except Exception as error:
        raise SystemExit(f"aquila: the guard of the test run could not be put in force here: {error!r}") from error


def join_again() -> None:
    """Leave the run that this process inherited by a fork, and join the one that the variables describe now.

    Raises ``SystemExit`` if this fails, as ``join_parent_run`` does.
    """
    joined = runtime.process_run().state_of(_Joined)
    if _variables() == joined.variables:
        return
    run, guard = joined.run, joined.guard
    joined.run = joined.guard = None
    if run is not None:
        run.__exit__()
    if "aquila.intercept.queues.parent_queues" in sys.modules:
        parent_queues.leave_testing_mode()
    join_parent_run()
    if guard is not None:  # only now, so that a guard is in force all the time
        activation.interception().withdraw_guard(guard)


def _variables() -> dict[str, str]:
    """Return the variables that tell a process its run and its settings."""
    names = [*find_own_variables(), "PYTEST_CURRENT_TEST"]
    return {name: value for name in names if (value := os.environ.get(name)) is not None}


def _join_parent_run() -> None:
    joined = runtime.process_run().state_of(_Joined)
    joined.variables = _variables()
    is_under_test = under_test.is_set_by_environment()
    if is_under_test:  # as in pytest, no request goes live unless the environment of this process asks for it
        runtime.process_run().layers = SettingsLayers(Path(), defaults={"transport": "replay"}, under_pytest=True)
    text = os.environ.get(VARIABLE)
    parent = read_parent_variable(text, is_under_test=is_under_test) if text else None
    if parent is not None:
        _enter_run_of(parent)
    elif is_under_test:
        runtime.run_key().accepts_all = True
    elif text:
        _refuse_everything()
    else:
        return
    if text and "AQUILA_QUEUES" in os.environ:  # checked here, so that other runs need not load the module
        parent_queues.join_testing_mode()
    joined.guard = activation.install_guard()


def read_parent_variable(text: str, *, is_under_test: bool) -> _Parent | None:
    """Return the run in ``text``, the value of ``AQUILA_RUN``; None if it is damaged.

    ``is_under_test``: ``AQUILA_UNDER_TEST`` says that this process is under test.
    """
    try:
        inherited = json.loads(text)
        around = inherited["around"] | ({"under_pytest": True} if is_under_test else {})
        fields = {name: value for name, value in inherited.items() if name in _KINDS}
        parent = _Parent(SettingsLayers.from_plain_data(around), **fields)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    is_whole = all(isinstance(value, _KINDS[name]) for name, value in fields.items())
    is_whole = is_whole and (parent.messages is None or list(map(type, parent.messages)) == [str, str, str])
    return parent if is_whole else None


def _enter_run_of(parent: _Parent) -> None:
    runtime.run_key().key, runtime.run_key().meeting_place = parent.key, parent.meeting_place
    runtime.machine_keys().fingerprints = parent.fingerprints
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or None
    joining = None if parent.scope is None else _ParentScope(parent, parent.scope)
    run = runtime.Run(parent.layers)
    if parent.messages:
        root, mark, identity = parent.messages
        run.messages = root, mark, identity
    if joining is not None and child_messages.messages_folder(run) is not None:
        if parent.shows_end is not None:
            run.state_of(child_messages.ChildMessages).look_for_open_scopes(run)
        run.tells_jobs = parent.jobs
        if parent.plays:
            run.play_log = play_log.PlayLog()
    if parent.budget:
        run.state_of(record_budget.RecordBudget).path = parent.budget
    _enter(run)
    run.hold(run.running_test(test, joining))


def _enter(run: runtime.Run) -> None:
    """Enter a run that lasts as long as this process, unless it joins another one: see ``join_again``."""
    run.__enter__()
    runtime.process_run().state_of(_Joined).run = run


def _refuse_everything() -> None:
    """Begin a run like that of a test without a cassette. This process cannot change its settings."""
    closed = {"transport": "replay", "guard": "all", "ignore_hosts": ()}
    run = runtime.Run(SettingsLayers(Path(), command_line=closed, under_pytest=True))
    _enter(run)
    run.hold(run.running_test(f"unknown, because {VARIABLE}, set by the parent process, is damaged", None))


class _ParentScope:
    """Joins the scope of ``parent`` that ``reference`` names when something first needs a scope."""

    def __init__(self, parent: _Parent, reference: dict[str, Any]) -> None:
        self._parent = parent
        self._reference = reference
        self._scope: Scope | None = None

    def __call__(self) -> Scope:
        # Under the lock, so that two threads that need it first get the same scope. Two scopes would count plays
        # separately, and both would get the first recording of a request.
        with runtime.current_run().lock:
            if self._scope is None:
                reference = scope_joining.ScopeReference(**self._reference)
                self._scope = scope_joining.join_scope(reference, command=self._parent.command)
                if self._parent.shows_end is not None:
                    self._scope.follow_owner(self._parent.shows_end)
                atexit.register(self._scope.close)
            return self._scope

"""The run of the parent process, joined by a child: the child's side of ``child_processes``."""

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
from aquila.intercept.child_processes import VARIABLE
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime, under_test
from aquila.recording.environment import find_own_variables

if TYPE_CHECKING:
    from aquila.intercept import parent_queues
    from aquila.recording import scope_joining
    from aquila.recording.reporting import child_misses, play_log
    from aquila.recording.scope import Scope
    from aquila.recording.storing import record_budget
else:
    lazy_modules(
        globals(),
        parent_queues="aquila.intercept.parent_queues",
        child_misses="aquila.recording.reporting.child_misses",
        play_log="aquila.recording.reporting.play_log",
        record_budget="aquila.recording.storing.record_budget",
        scope_joining="aquila.recording.scope_joining",
    )


class _Joined:
    """What this process has joined: the variables that said so, the run that it began, and what holds its guard."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.run: runtime.Run | None = None
        self.guard: object | None = None


class _Parent(NamedTuple):
    """What ``AQUILA_SESSION`` says of the run of the parent. The fields have the names that they have there."""

    layers: SettingsLayers
    key: str
    fingerprints: Sequence[str] = ()
    scope: dict[str, Any] | None = None
    command: str = ""
    messages: Sequence[str] | None = None
    """Where to leave messages for it; see ``Run.messages``."""
    plays: bool = False
    """Whether the parent wants to know what is played."""
    budget: str | None = None
    """The file in which what is recorded is counted."""
    jobs: bool = False
    """Whether the parent wants to know which tasks are executed."""
    meeting_place: str | None = None
    """The folder in which the processes of the run find each other."""
    shows_end: str | None = None
    """The kind of the scope, if this process can see when it ends."""


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
"""What each field may be."""


def join_parent_run() -> None:
    """Do in this process what its parent's ``AQUILA_SESSION`` says, and what its own ``AQUILA_UNDER_TEST`` does.

    Where the first is damaged, everything that leaves this machine is refused. If this fails, the process ends: it must
    not go on without the guard of its parent.
    """
    try:
        _join_parent_run()
    except Exception as error:
        raise SystemExit(f"aquila: the guard of the test run could not be put in force here: {error!r}") from error


def join_again() -> None:
    """Join what the variables say now in place of what this process had joined, as the fork of one that had.

    If this fails, the process ends, as with ``join_parent_run``.
    """
    joined = runtime.process_run().state_of(_Joined)
    if _variables() == joined.variables:
        return
    run, guard = joined.run, joined.guard
    joined.run = joined.guard = None
    if run is not None:
        run.__exit__()
    if "aquila.intercept.parent_queues" in sys.modules:
        parent_queues.leave_testing_mode()
    join_parent_run()
    if guard is not None:  # only now, so that there is one all the while
        activation.interception().withdraw_guard(guard)


def _variables() -> dict[str, str]:
    """The variables by which a process knows what it takes part in, and under which settings."""
    names = [*find_own_variables(), "PYTEST_CURRENT_TEST"]
    return {name: value for name in names if (value := os.environ.get(name)) is not None}


def _join_parent_run() -> None:
    joined = runtime.process_run().state_of(_Joined)
    joined.variables = _variables()
    told = under_test.is_set_by_environment()
    if told:  # as pytest does: nothing goes live unless the environment of this process asks for it
        runtime.process_run().layers = SettingsLayers(Path(), defaults={"transport": "replay"}, under_pytest=True)
    stamp = os.environ.get(VARIABLE)
    parent = read_parent_variable(stamp, told=told) if stamp else None
    if parent is not None:
        _enter_run_of(parent)
    elif told:
        runtime.run_key().accepts_all = True
    elif stamp:
        _refuse_everything()
    else:
        return
    if stamp and "AQUILA_QUEUES" in os.environ:  # asked here, so that other runs need not load the module
        parent_queues.join_testing_mode()
    joined.guard = activation.install_guard()


def read_parent_variable(stamp: str, *, told: bool) -> _Parent | None:
    """Read the value of the variable. None if it is damaged."""
    try:
        inherited = json.loads(stamp)
        around = inherited["around"] | ({"under_pytest": True} if told else {})
        fields = {name: value for name, value in inherited.items() if name in _KINDS}
        parent = _Parent(SettingsLayers.from_plain_data(around), **fields)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    is_whole = all(isinstance(value, _KINDS[name]) for name, value in fields.items())
    return parent if is_whole and (parent.messages is None or list(map(type, parent.messages)) == [str, str]) else None


def _enter_run_of(parent: _Parent) -> None:
    runtime.run_key().key, runtime.run_key().meeting_place = parent.key, parent.meeting_place
    runtime.machine_keys().fingerprints = parent.fingerprints
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or None
    joining = (
        _ParentScope(parent.scope, parent.command, shows_end=parent.shows_end) if parent.scope is not None else None
    )
    run = runtime.Run(parent.layers)
    if parent.messages:
        run.messages = parent.messages[0], parent.messages[1]
    if joining is not None and (folder := child_misses.misses_folder(run)) is not None:
        run.tells_jobs = parent.jobs
        if parent.plays:
            run.play_log = play_log.PlayLog(folder)
    if parent.budget:
        run.state_of(record_budget.RecordBudget).path = parent.budget
    _enter(run)
    run.hold(run.running_test(test, joining))


def _enter(run: runtime.Run) -> None:
    """Enter a run that lasts as long as this process, unless it joins another one: see ``join_again``."""
    run.__enter__()
    runtime.process_run().state_of(_Joined).run = run


def _refuse_everything() -> None:
    """Begin a run like that of a test without a cassette, whose settings nothing of this process can change."""
    closed = {"transport": "replay", "guard": "all", "ignore_hosts": ()}
    run = runtime.Run(SettingsLayers(Path(), command_line=closed, under_pytest=True))
    _enter(run)
    run.hold(run.running_test(f"unknown, because {VARIABLE}, set by the parent process, is damaged", None))


class _ParentScope:
    """Joins the parent's scope when something asks for a scope. ``command`` records again what runs there.

    ``shows_end`` is its kind, if this process can see when it ends.
    """

    def __init__(self, reference: dict[str, Any], command: str, *, shows_end: str | None = None) -> None:
        self._reference = reference
        self._command = command
        self._shows_end = shows_end
        self._scope: Scope | None = None

    def __call__(self) -> Scope:
        # Under the lock, as the scope of a test opens, so that two threads that both ask first get one scope.
        # With two scopes, each would have play counts of its own, and get the first recording of a request.
        with runtime.current_run().lock:
            if self._scope is None:
                reference = scope_joining.ScopeReference(**self._reference)
                self._scope = scope_joining.join_scope(reference, command=self._command)
                if self._shows_end is not None:
                    self._scope.follow_owner(self._shows_end)
                atexit.register(self._scope.close)
            return self._scope

"""Refuses the requests of a child process after the scope in which it was started has ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aquila.errors import LiveCallRefused, SessionClosed

if TYPE_CHECKING:
    from aquila.recording.scope import Scope


def require_open(scope: Scope) -> Scope:
    """Return a scope of another process that is open there. Else raises ``SessionClosed`` and tells the test run."""
    messages = scope.child_messages
    if not scope.shows_its_end or messages.is_open(scope.id):
        return scope
    starts = "a pool starts its workers with its first tasks"
    match scope.kind_of_owner:
        case "block":
            advice = f"No other block answers them: start the process within the block; {starts}"
        case "fixture":
            advice = (
                "Nothing answers them any more: end the process in the teardown of the fixture, and by hand if its run "
                "was killed"
            )
        case _:
            advice = (
                "No other test answers them: start the process in each test that uses it, or in a fixture that the "
                f"tests share; {starts}"
            )
    process = f"process {os.getpid()}, a child of {os.getppid()}"  # who killed the run has to end it by its number
    text = (
        f"{scope.name or scope.id} has ended, and a process that it started is still making requests ({process}). "
        f"{advice}"
    )
    messages.tell_refusal(LiveCallRefused(text), scope.run.test_name)  # no recording would answer it
    raise SessionClosed(text)

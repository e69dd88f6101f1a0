"""Refuses the requests of a child process after the scope in which it was started has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.errors import SessionClosed
from aquila.recording.reporting.child_misses import ChildMisses

if TYPE_CHECKING:
    from aquila.recording.scope import Scope


def require_open(scope: Scope) -> Scope:
    """Return a scope of another process that is open there. Else raises ``SessionClosed`` and tells the test run."""
    misses = scope.run.state_of(ChildMisses)
    if not scope.shows_its_end or misses.is_open(scope.id):
        return scope
    if scope.kind_of_owner == "block":
        other, where = "block", "within the block"
    else:
        other, where = "test", "in each test that uses it, or in a fixture that the tests share"
    text = (
        f"{scope.name or scope.id} has ended, and a process that it started is still making requests. No other {other} "
        f"answers them: start the process {where}; a pool starts its workers with its first tasks"
    )
    misses.tell_refusal(text, scope.run.test_name)  # no recording would answer it
    raise SessionClosed(text)

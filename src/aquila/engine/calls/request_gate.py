"""What stands between a call and the provider where somebody counts the requests of many: a task of a queue, for one.

The engine knows no queue. Whoever makes calls puts a gate in force in its context; every request asks it first.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class RequestGate(Protocol):
    """What requests of a context pass."""

    @property
    def longest_wait(self) -> float:
        """The seconds for which a call may wait. Where it is asked to wait longer it fails: its caller comes back."""
        ...


_gate: ContextVar[RequestGate | None] = ContextVar("aquila_request_gate", default=None)


def current_gate() -> RequestGate | None:
    """Return the gate in force here, or None."""
    return _gate.get()


def set_gate(gate: RequestGate | None) -> None:
    """Put a gate in force in this context, and in those that are copied from it."""
    _gate.set(gate)

"""Admits the requests of a call where requests of many callers are counted together, as those of a queue's tasks.

The engine knows no queue. Whoever makes calls puts a gate in force in its context; every request asks it first. A gate
may ask a storage: that takes a moment in which an event loop stands still, as it does for telemetry hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aquila.events import Usage


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """What a gate is told of a request.

    ``call`` names the call, which may send the same request again; ``transport`` is the name of its route, ``account``
    tells the keys of callers apart without holding one, ``body`` is what is sent, and ``longest_answer`` the highest
    number of tokens that the answer may have, or None.
    """

    call: str
    host: str
    model: str
    transport: str
    account: str
    body: Mapping[str, Any]
    longest_answer: int | None = None


class AdmittedRequest(Protocol):
    """A request that a gate has let through. ``headers`` are sent with it."""

    headers: Mapping[str, str]

    def settle(self, usage: Usage | None, error: BaseException | None) -> None:
        """The request has ended, with these tokens or this error; with neither if they are not known. Never raises."""
        ...


class RequestGate(Protocol):
    """What requests of a context pass."""

    @property
    def longest_wait(self) -> float:
        """The seconds for which a call may wait. Where it is asked to wait longer it fails: its caller comes back."""
        ...

    def admit(self, request: OutgoingRequest, waited: float) -> AdmittedRequest | float:
        """Let a request through, or return the seconds after which to ask again.

        ``waited`` is how long it has been waiting. Raises what the call is to fail with: what must not be sent, or is
        to wait too long.
        """
        ...


class GateOwner(Protocol):
    """Executes code in a context of its own, and makes the gate for its requests when the first one is sent."""

    @property
    def request_gate(self) -> RequestGate:
        """The gate, made when it is first asked for."""
        ...


_gate: ContextVar[RequestGate | None] = ContextVar("aquila_request_gate", default=None)
"""The gate in force. It belongs to the context in which it was set, and goes with that."""
gate_owner: ContextVar[Any] = ContextVar("aquila_gate_owner", default=None)
"""The ``GateOwner`` whose code runs here. Its gate is in force unless another was put in force since."""


def current_gate() -> RequestGate | None:
    """Return the gate in force here, or None."""
    gate = _gate.get()
    if gate is None and (owner := gate_owner.get()) is not None:
        own: RequestGate = owner.request_gate
        return own
    return gate


def set_gate_owner(owner: GateOwner) -> None:
    """Put the gate of ``owner`` in force in this context, without making it."""
    gate_owner.set(owner)
    if _gate.get() is not None:
        _gate.set(None)


def set_gate(gate: RequestGate | None) -> None:
    """Put a gate in force in this context, and in those that are copied from it."""
    _gate.set(gate)

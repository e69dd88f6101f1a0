"""Admits the requests of a call where the requests of many callers count together, as those of a queue's tasks do.

The engine knows no queue. A caller puts a gate in force in its context, and every request asks it first. A gate may
ask a storage, which blocks the event loop for a moment, as telemetry hooks do.
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
    """A request that a gate is asked to admit.

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
    """A request that a gate has admitted. ``headers`` are sent with it."""

    headers: Mapping[str, str]

    def settle(self, usage: Usage | None, error: BaseException | None) -> None:
        """Note that the request has ended, with these tokens or this error; None where unknown. Never raises."""
        ...


class RequestGate(Protocol):
    """Decides when a request of a context may be sent."""

    @property
    def longest_wait(self) -> float:
        """The seconds for which a call may wait. Where it would wait longer it fails, and its caller retries later."""
        ...

    def counts(self, request: OutgoingRequest) -> bool:
        """Say whether ``admit`` counts a request at a moment, so that it must be able to leave at once."""
        ...

    def admit(self, request: OutgoingRequest, waited: float) -> AdmittedRequest | float:
        """Admit a request, or return the seconds after which to ask again.

        ``waited``: the seconds that it has waited. Raises the error of the call if the request must not be sent, or
        would wait too long.
        """
        ...


class GateOwner(Protocol):
    """Executes code in a context of its own, and makes the gate for its requests when the first one is sent."""

    @property
    def request_gate(self) -> RequestGate:
        """The gate, made when it is first asked for."""
        ...


_gate: ContextVar[RequestGate | None] = ContextVar("aquila_request_gate", default=None)
"""The gate in force. It is set by ``set_gate`` and never reset: it ends with the context in which it was set."""
gate_owner: ContextVar[Any] = ContextVar("aquila_gate_owner", default=None)
"""The ``GateOwner`` whose code runs in this context. Its gate is in force unless ``set_gate`` was called later."""


def current_gate() -> RequestGate | None:
    """Return the gate in force here, or None."""
    gate = _gate.get()
    if gate is None and (owner := gate_owner.get()) is not None:
        own: RequestGate = owner.request_gate
        return own
    return gate


def set_gate_owner(owner: GateOwner) -> None:
    """Put the gate of ``owner`` in force in this context; the first request makes the gate."""
    gate_owner.set(owner)
    if _gate.get() is not None:
        _gate.set(None)


def set_gate(gate: RequestGate | None) -> None:
    """Put a gate in force in this context, and in those that are copied from it."""
    _gate.set(gate)

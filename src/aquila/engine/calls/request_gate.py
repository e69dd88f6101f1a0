"""Gates delay requests that count against limits shared by many callers, such as the tasks of a queue.

The engine knows no queue. A caller puts a gate in force in its context, and the loop asks the gate before it sends a
request. A gate may ask a storage. That blocks the event loop for a moment, as telemetry hooks do.
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

    - ``call``: the reference of the call, which may send the same request again.
    - ``transport``: the name of the call's route.
    - ``account``: differs from key to key, and does not reveal the key.
    - ``body``: what is sent.
    - ``longest_answer``: the highest number of tokens that the answer may have; None without a limit.
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
        """Note that the request has ended. Never raises.

        ``usage``: the tokens that it took, None if unknown. ``error``: the error that ended it, if one did.
        """
        ...


class RequestGate(Protocol):
    """Decides when a request of a context may be sent."""

    @property
    def longest_wait(self) -> float:
        """The seconds for which a call may wait. A call that would wait longer fails, and its caller retries later."""
        ...

    def counts(self, request: OutgoingRequest) -> bool:
        """Return whether ``admit`` counts a request at that moment. Such a request must then be sent without delay."""
        ...

    def admit(self, request: OutgoingRequest, waited: float) -> AdmittedRequest | float:
        """Admit a request, or return the seconds after which to ask again.

        ``waited``: the seconds that it has waited. Raises the error of the call if the request must not be sent, or
        would wait too long.
        """
        ...


class GateOwner(Protocol):
    """Runs code in a context of its own, and makes the gate for its requests when the first one is sent."""

    @property
    def request_gate(self) -> RequestGate:
        """The gate, made when it is first asked for."""
        ...


_gate: ContextVar[RequestGate | None] = ContextVar("aquila_request_gate", default=None)
"""The gate in force, as ``set_gate`` has set it. It ends with the context, or when a ``set_gate_owner`` comes later."""
gate_owner: ContextVar[Any] = ContextVar("aquila_gate_owner", default=None)
"""The ``GateOwner`` whose code runs in this context. Its gate is in force unless ``set_gate`` was called later.

``aquila.huey`` also reads it as the task that is executing, because only its tasks own a gate.
"""


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

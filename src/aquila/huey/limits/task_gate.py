"""The gate that every request of a task passes on its way to the provider."""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aquila.engine.calls.request_gate import OutgoingRequest
from aquila.engine.calls.retry import TOO_BUSY
from aquila.errors import ConfigError, LimitReached
from aquila.events import Usage
from aquila.huey import state as shared_state
from aquila.huey.limits import budgets
from aquila.huey.limits.counting import AdmissionRequest, LimitTurn
from aquila.huey.limits.rescheduling import has_waited, read_refusal
from aquila.huey.scopes.clock_of_test import find_skipped_moment
from aquila.lazy_imports import lazy_modules
from aquila.recording.under_test import is_under_test

if TYPE_CHECKING:
    from aquila.huey.limits import idempotency, provider_pauses, shared_limits
    from aquila.huey.limits.budgets import Cap, Reservation
    from aquila.huey.limits.idempotency import RequestNumbers
    from aquila.huey.limits.settings import Limits
    from aquila.huey.limits.shared_limits import Counter, HeldCapacity
    from aquila.huey.state import SharedState
else:
    lazy_modules(globals(), "aquila.huey.limits: idempotency, provider_pauses, shared_limits")

logger = logging.getLogger("huey.aquila")

# Pauses are kept without being asked for, so a storage that does not answer for a moment must not fail a call.
_PAUSE_UNKNOWN = "the storage does not say whether %s asked for a pause: the request does not wait for one"
_REPLAYED = frozenset({"replay", "script"})
"""Transports that ask no provider. Their requests are not counted, so that a replay does not wait."""


class TaskGate:
    """The gate of one execution of a task, or of a block outside of tasks.

    ``task`` is None outside of tasks. ``wait`` is for how many seconds a call waits for its turn; None for as long as
    the ``Rescheduling`` of the Huey says.
    """

    __slots__ = ("_huey", "_numbers", "_task", "_wait")

    # One gate for each execution: `_numbers`, its only mutable state, must begin anew with each.

    def __init__(self, huey: Any, task: Any = None, wait: float | None = None) -> None:
        self._huey = huey
        self._task = task
        self._wait = wait
        self._numbers: RequestNumbers | None = None

    @property
    def longest_wait(self) -> float:
        """For how many seconds a call waits in its worker. If its turn comes later, its task is rescheduled."""
        if self._wait is not None:
            return self._wait
        rules = self._huey.rescheduling
        return math.inf if rules is None or self._huey.immediate else float(rules.longest_wait)

    @property
    def _longest_pause(self) -> float:
        rules = self._huey.rescheduling
        return math.inf if rules is None else float(rules.longest_delay)

    def counts(self, request: OutgoingRequest) -> bool:
        """Say whether a limit counts a request. Budgets are not asked: their periods are long."""
        limits: Limits = self._huey.limits
        return self._is_held(request, limits) and bool(self._counters_for(request, limits))

    def admit(self, request: OutgoingRequest, waited: float) -> GateAdmission | float:
        """Let a request through, or return after how many seconds to ask again.

        ``waited`` is for how many seconds the request has waited at this gate. Raises ``LimitReached`` where its turn
        comes after ``longest_wait``, ``BudgetExceeded`` where a budget has no room, and ``ConfigError`` where a budget
        of money has no price for the model.
        """
        # The order matters. A pause counts nothing, so it comes first. What limits have counted can be taken back, so
        # a budget, which may refuse for good, comes last.
        limits: Limits = self._huey.limits
        if not self._is_held(request, limits):
            return GateAdmission(request, self._headers_for(request))
        has_turn = waited > 0 or has_waited(self._task)
        counters = self._counters_for(request, limits)
        caps = (*limits.caps, *getattr(self._task, "_aquila_caps", ()))
        state = self._find_state(request, needed=bool(counters or caps))
        if state is None:
            return GateAdmission(request, self._headers_for(request))
        moment = self._find_moment(waited)
        delay, answer = self._pause(state, request, moment)
        if delay:
            reason = f"{request.host} asked for a pause" + (f" ({answer})" if answer else "")
            return self._wait_or_leave(delay, waited, reason, limit=request.host)
        if not counters and not caps:
            return GateAdmission(request, self._headers_for(request), state, longest_pause=self._longest_pause)
        clock = state.now()
        now = max(clock, moment)
        held: HeldCapacity | None = None
        if counters:
            wanted = AdmissionRequest(
                estimate_input(request.body) + (request.longest_answer or 0),
                uuid.uuid4().hex,
                limits.lease,
                has_turn,
                # A task comes back for any turn, and a call for one within its wait.
                patience=math.inf if self._wait is None else self._wait - waited,
                ahead=now - clock,
                is_bounded=request.longest_answer is not None,
            )
            found = shared_limits.acquire(state, counters, wanted, now)
            if isinstance(found, LimitTurn):
                reason = f"the limit {found.rule.text!r} is reached"
                return self._wait_or_leave(found.at - found.asked, waited, reason, limit=found.rule.text)
            held = found
        try:
            spending = self._reserve(state, caps, limits, request, now) if caps else None
        except BaseException:  # Also an interrupt: a slot that is not given back is taken until its lease is over.
            if held is not None:
                held.take_back()
            raise
        if held is not None:
            held.begin()
        return GateAdmission(request, self._headers_for(request), state, held, spending, self._longest_pause)

    def _reserve(
        self, state: SharedState, caps: Sequence[Cap], limits: Limits, request: OutgoingRequest, now: float
    ) -> Reservation:
        price = budgets.find_price(caps, limits.prices, request.model)
        # The length of an answer is known only where it is bounded. Tokens beyond the estimate are counted afterwards.
        usage = Usage(input_tokens=estimate_input(request.body), output_tokens=request.longest_answer or 0)
        task_id = None if self._task is None else self._task.id
        return budgets.reserve_amounts(state, caps, price, usage, task_id=task_id, now=now)

    def _headers_for(self, request: OutgoingRequest) -> Mapping[str, str]:
        if self._task is None or not request.call:
            return {}
        if self._numbers is None:
            self._numbers = idempotency.RequestNumbers()
        key = idempotency.key_of_request(self._task.id, self._numbers, request.call, request.body)
        return {idempotency.HEADER: key}

    def _is_held(self, request: OutgoingRequest, limits: Limits) -> bool:
        """Whether a request is held to limits, budgets and pauses at all."""
        return limits.counts_in_tests or not (request.transport in _REPLAYED or is_under_test())

    def _counters_for(self, request: OutgoingRequest, limits: Limits) -> list[Counter]:
        counters = []
        own: Any = getattr(self._task, "_aquila_rules", ())
        for rules, owner in ((limits.rules, ""), (own, self._task.name if own else "")):
            fitting = [rule for rule in rules if rule.applies_to(request.host, request.model)]
            if fitting:
                counters += shared_limits.counters_of(fitting, owner)
        return counters

    def _find_state(self, request: OutgoingRequest, *, needed: bool) -> SharedState | None:
        # Where only pauses would be looked up, the call goes on without them: silently where Aquila does not know the
        # kind of the storage (`ConfigError`), and with a warning where the storage does not answer.
        try:
            return shared_state.state_of(self._huey)
        except Exception as error:
            if needed:
                raise
            if not isinstance(error, ConfigError):
                logger.warning(_PAUSE_UNKNOWN, request.host, exc_info=True)
            return None

    def _find_moment(self, waited: float) -> float:
        """Return the moment at which a test executes a task: that of its clock, or that for which the task is due.

        In seconds since the epoch, with what the request has waited. 0 outside of tests, and where a test has neither.
        """
        moment = max(find_skipped_moment(), self._find_due_moment())
        return moment and moment + waited

    def _find_due_moment(self) -> float:
        """Return for when a test has scheduled the task, in seconds since the epoch; 0 if for no time."""
        due = getattr(self._task, "eta", None)
        if due is None or not is_under_test():
            return 0.0
        moment: datetime.datetime = due.replace(tzinfo=datetime.UTC if self._huey.utc else None)
        return moment.timestamp()

    def _pause(self, state: SharedState, request: OutgoingRequest, moment: float) -> tuple[float, str]:
        """Return for how many seconds a request waits because of a pause, and what the provider has answered."""
        if self._huey.rescheduling is None or self._huey.immediate:
            return 0.0, ""
        try:
            return provider_pauses.find_pause(state, request, moment)
        except Exception:  # The storage does not answer. See `_PAUSE_UNKNOWN`.
            logger.warning(_PAUSE_UNKNOWN, request.host, exc_info=True)
            return 0.0, ""

    def _wait_or_leave(self, delay: float, waited: float, reason: str, *, limit: str) -> float:
        delay = max(delay, 0.01)  # Seconds. With 0 the caller would ask again in a busy loop.
        if waited + delay <= self.longest_wait:
            return delay
        # A test may execute a task before it is due. Its turn was counted from when it is due, and it comes back by the
        # clock: without the difference it would come back too early, again and again.
        delay += max(0.0, self._find_due_moment() - max(time.time(), find_skipped_moment()))
        raise LimitReached(f"{reason}: the turn of this request comes in {delay:.1f} s", limit=limit, retry_after=delay)


@dataclass(slots=True)
class GateAdmission:
    """A request that was let through.

    ``headers`` are sent with it. ``held`` is what it holds of limits, and ``spending`` what it holds of budgets. If the
    provider refuses the request, other requests pause for ``longest_pause`` seconds at most.
    """

    request: OutgoingRequest
    headers: Mapping[str, str]
    state: SharedState | None = None
    held: HeldCapacity | None = None
    spending: Reservation | None = None
    longest_pause: float = math.inf

    def settle(self, usage: Usage | None, error: BaseException | None) -> None:
        """Count what the request took: the ``usage`` of its answer, or nothing where the provider refused it.

        ``usage`` is None where it is not known, and ``error`` where there was none. Never raises: an answer that has
        arrived must not be lost because counting fails.
        """
        if self.state is None:
            return
        # A provider that refuses has taken no tokens. Of a broken connection that is not known: what was reserved stays
        # counted.
        status, retry_after = read_refusal(error)
        refused = status is not None and status >= 400
        try:
            # Each step is taken although another one fails: a slot that was never freed would be renewed for ever. The
            # steps run in reverse order: the slot is freed last, so that the next request finds the pause.
            with contextlib.ExitStack() as steps:
                if self.held is not None:
                    tokens = usage.total_tokens if usage is not None else 0 if refused else None
                    steps.callback(self.held.settle, tokens, usage.output_tokens if usage is not None else None)
                if self.spending is not None and (usage is not None or refused):
                    steps.callback(self.spending.settle, usage or Usage())
                if status in TOO_BUSY and retry_after is not None:
                    seconds = min(retry_after, self.longest_pause)
                    # Counted from the clock that a test has put forward, not from when the task is due: the task comes
                    # back by that clock.
                    moment = find_skipped_moment()
                    steps.callback(provider_pauses.note_pause, self.state, self.request, seconds, moment, error)
        except Exception:
            logger.warning("the tokens of a request could not be counted", exc_info=True)


_BYTES = 4
"""Bytes of text in a token, as a rule of thumb. The estimate is corrected when the answer reports its usage."""
_MEDIA = 1000
"""Tokens of an image, a sound or a file."""
_LONG = 2000  # Characters. A longer text without a space in its first ones is base64 data of a file.
# Fields that the model never reads as tokens.
_NOT_READ = frozenset({"model", "metadata", "user", "stream", "stream_options", "store", "service_tier"})


def estimate_input(body: Mapping[str, Any]) -> int:
    """Return about how many tokens a model will read in the JSON body of a request, at least 1."""
    size = sum(_size_of(value) for name, value in body.items() if name not in _NOT_READ)
    return max(1, round(size / _BYTES))


def _size_of(value: Any) -> int:
    if isinstance(value, str):
        if value.startswith("data:") or (len(value) > _LONG and " " not in value[:_LONG]):
            return _MEDIA * _BYTES
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return sum(_size_of(each) + len(str(name)) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return sum(map(_size_of, value))
    if isinstance(value, (bytes, bytearray)):
        return _MEDIA * _BYTES
    return 0 if value is None else 4  # A number or a truth value: about one token.

"""What a run asked and what answered, request by request, for its report. Only a run that writes a report notes it.

A request is noted by its route, or by the code that answers a handshake. The notes of a scope are handed to the report
when the scope ends, so that memory does not grow with the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aquila.fork_locks import renewed_in_child
from aquila.recording.secrets import outgoing

if TYPE_CHECKING:
    from pathlib import Path

    from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
    from aquila.cassettes.redaction.redactor import Redactor
    from aquila.errors import UnansweredRequest
    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.scope import Scope
    from aquila.recording.sessions.session import Session
    from aquila.recording.sessions.session_decisions import Decision, ReplayDecision

current_exchange: ContextVar[WatchedExchange | None] = ContextVar("aquila_exchange", default=None)
"""The request that is being answered in this context. The route sets it around the answer, and resets it."""

current_job: ContextVar[str] = ContextVar("aquila_watched_job", default="")
"""The id of the job that runs in this context, "" outside of a job. Set by the execution of a task."""


MOST_ELSEWHERE = 16 * 1024 * 1024
"""Bytes of requests and answers of other processes that are held for a scope until it ends."""


@dataclass(slots=True, eq=False)
class WatchedExchange:
    """A request, as it was sent, and what became of it.

    ``asked``, ``first_byte`` and ``ended`` are seconds of ``time.perf_counter``. ``decision`` is that of a cassette,
    with its ``session``, or of a script. ``response`` is an answer from elsewhere, and ``source`` says from where.
    ``interaction`` is a recording of ``cassette`` that another process has played, or, in a block of its own, that of
    ``place``: a file, and a number from 0. ``problem`` says why nothing answered. ``address`` is the method and URL
    where the request itself is not kept.
    """

    scope: Scope | None = None
    request: RecordedRequest | None = None
    asked: float = 0.0
    first_byte: float | None = None
    ended: float | None = None
    decision: Decision | None = None
    session: Session | None = None
    source: str = ""
    response: RecordedResponse | None = None
    interaction: Interaction | None = None
    cassette: str = ""
    place: tuple[Path, int] | None = None
    problem: UnansweredRequest | None = None
    address: str = ""
    error: str = ""
    job: str = ""
    is_cut: bool = False
    """Whether its test was interrupted."""
    left_out: int = 0
    """How many bytes of a live answer, or messages of a conversation, came after the part that was kept."""
    repeats: list[UnansweredRequest] = field(default_factory=list)
    """Further misses of the same request: a client that tries again."""
    redactors: list[Redactor] = field(default_factory=list)
    """The redactors of the times at which something was noted: the environment may have other secrets later."""

    def remember_secrets(self) -> None:
        """Keep the redactor of this moment for the report."""
        redactor = outgoing.run_redactor()
        if not any(redactor is known for known in self.redactors):
            self.redactors.append(redactor)


class ExchangeWatch:
    """Notes the requests of one run. Any thread may ask, and any may end a scope.

    ``take_in`` is called with what was noted in a scope, the scope, and its report when the scope ends. What was noted
    in no scope comes with None for both. ``take_job`` is called with each job that was executed.
    """

    def __init__(
        self,
        take_in: Callable[[Sequence[WatchedExchange], Scope | None, ScopeReport | None], None],
        take_job: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._take_in = take_in
        self.take_job = take_job
        self._open: list[WatchedExchange] = []  # what was not handed on yet; `end_scope` and `end_test` remove from it
        self._held: dict[Scope, int] = {}
        """How many bytes of answers to other processes are held, by scope. ``end_scope`` removes an entry."""
        # Guards both; never held while `take_in` runs, which may take long.
        self._lock = renewed_in_child(threading.Lock())

    def begin(
        self,
        scope: Scope | None,
        request: RecordedRequest | None = None,
        decision: Decision | None = None,
        session: Session | None = None,
    ) -> WatchedExchange:
        """Note a request that was just made, and, for a handshake, what was decided about it."""
        asked, job = time.perf_counter(), current_job.get()
        exchange = WatchedExchange(scope, request, asked, decision=decision, session=session, job=job)
        exchange.remember_secrets()
        with self._lock:
            self._open.append(exchange)
        return exchange

    def note_decision(
        self, decision: Decision, session: Session | None = None, request: RecordedRequest | None = None
    ) -> None:
        """Note what was decided about the request that is being answered here. ``request`` is as it was compared."""
        exchange = current_exchange.get()
        if exchange is not None:
            exchange.decision, exchange.session = decision, session or exchange.session
            exchange.request = request or exchange.request

    def note_problem(self, scope: Scope | None, problem: UnansweredRequest) -> None:
        """Note that nothing answers the request that is being answered here; without such a request, a new one."""
        exchange = current_exchange.get()
        if exchange is None:
            exchange = self.begin(scope)
        if exchange.problem is None:
            exchange.problem = problem
        else:
            exchange.repeats.append(problem)

    def note_play_elsewhere(self, scope: Scope, cassette: str, interaction: Interaction) -> None:
        """Note a recording that another process has played in a scope of this one."""
        exchange = self.begin(scope)
        exchange.cassette, exchange.interaction = cassette, interaction

    def note_block_play_elsewhere(self, path: Path, number: int, interaction: Interaction) -> None:
        """Note a recording that another process has played in a block of its own: its ``number``, from 0, in a file."""
        exchange = self.begin(None)
        exchange.place, exchange.interaction = (path, number), interaction

    def note_answer_elsewhere(self, scope: Scope, decision: ReplayDecision, job: str = "") -> None:
        """Note an answer that another process got in a scope of this one. ``job`` is the id of the job that asked, or
        "".

        Once ``MOST_ELSEWHERE`` bytes are held for the scope, only the address is kept.
        """
        request, response = decision.interaction.request, decision.interaction.response
        exchange = self.begin(scope)
        exchange.job = job
        with self._lock:
            held = self._held.get(scope, 0) + request.size + sum(len(each.data) for each in response.chunks)
            if held <= MOST_ELSEWHERE:
                self._held[scope] = held
        if held <= MOST_ELSEWHERE:
            exchange.request, exchange.decision = request, decision
        else:
            exchange.source = decision.interaction.upstream
            parts = urlsplit(request.url)
            exchange.address = f"{request.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            exchange.error = (
                f"not kept: other processes were answered more than {MOST_ELSEWHERE >> 20} MiB in this test before"
            )

    def end_scope(self, scope: Scope, report: ScopeReport) -> None:
        """Hand on what was noted in a scope, which has ended."""
        with self._lock:
            self._held.pop(scope, None)
        self._take_in(self._take(lambda each: each.scope is scope), scope, report)

    def end_test(self, *, cuts: bool = False) -> None:
        """Hand on what was noted while a test ran in no scope that ends with it: in none, or in a shared one.

        ``cuts`` says that the test was interrupted, so that its own scope has not ended.
        """
        taken = self._take(lambda each: cuts or _ends_with_no_test(each))
        for each in taken:
            each.is_cut = cuts
        self._take_in(taken, None, None)

    def _take(self, belongs: Callable[[WatchedExchange], bool]) -> list[WatchedExchange]:
        with self._lock:
            taken: list[WatchedExchange] = []
            kept: list[WatchedExchange] = []
            for each in self._open:  # `belongs` is called once for each: a scope may end in another thread meanwhile
                (taken if belongs(each) else kept).append(each)
            self._open = kept
        return taken


def _ends_with_no_test(exchange: WatchedExchange) -> bool:
    scope = exchange.scope
    if scope is None or scope.closed or scope.kind == "fixture":
        return True
    # A block that is open at the end of a test belongs to a shared fixture.
    return scope.kind == "block" and exchange.ended is not None

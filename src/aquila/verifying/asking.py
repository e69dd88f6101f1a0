"""Sends the requests of a plan: a few conversations at a time, and within one its requests in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.recording.secrets.outgoing import run_redactor
from aquila.transports.asking_again import UpstreamTrouble, ask_again
from aquila.transports.upstreams import find_upstream
from aquila.verifying.credentials import KeyNotSet, SignedRequest, VerifyingKeys, with_keys
from aquila.verifying.live_ids import LostId, map_ids, replace_ids
from aquila.verifying.planning import Place, Plan, PlannedQuestion

AT_ONCE = 4
"""The greatest number of requests that are under way at the same time."""

_LEAST_PATIENCE = 120.0
"""The shortest silence, in seconds, after which a request is given up: a model may think for long."""

_SECONDS_TO_CTRL_C = 0.5

_GIVEN_UP = "interrupted before it was answered"


@dataclass(frozen=True, slots=True)
class AskedOutcome:
    """The outcome of a question: an answer, or the problem.

    ``was_sent``: the request was sent. ``is_verifiable`` is false if it was not and never can be; if only a key is
    missing, it is true.
    """

    question: PlannedQuestion
    answer: RecordedResponse | None = None
    problem: str = ""
    is_verifiable: bool = True
    was_sent: bool = True


@dataclass(frozen=True, slots=True)
class Answers:
    """The outcomes of a plan, in its order. ``interrupted``: the user ended it with Ctrl-C."""

    outcomes: list[AskedOutcome]
    interrupted: bool


def ask_questions(plan: Plan, machine: VerifyingKeys, tell_progress: Callable[[int, int], None]) -> Answers:
    """Ask all questions of a plan and return the outcome of each.

    ``machine``: the keys of this machine. ``tell_progress`` is called after each question that was sent, with their
    number so far and the number of all questions. Ctrl-C ends it: requests under way are abandoned, and the rest is not
    sent.
    """
    questions = plan.questions
    waiting: queue.SimpleQueue[list[PlannedQuestion]] = queue.SimpleQueue()
    for conversation in plan.conversations:
        waiting.put(list(conversation))
    news: queue.SimpleQueue[bool] = queue.SimpleQueue()  # of each outcome, whether its question was sent
    stopped = threading.Event()
    # The worker threads fill it directly, each place once. Passed through the queue, an outcome could be lost if Ctrl-C
    # interrupts this thread between taking and storing it.
    found: dict[Place, AskedOutcome] = {}

    def take(outcome: AskedOutcome) -> None:
        found[outcome.question.place] = outcome
        news.put(outcome.was_sent)

    try:
        for number in range(min(AT_ONCE, len(plan.conversations))):
            # A daemon thread, so that after Ctrl-C the process does not wait for requests under way.
            threading.Thread(
                target=_work, args=(waiting, take, machine, stopped), name=f"aquila-verify-{number}", daemon=True
            ).start()
        reported = sent = 0
        while reported < len(questions):
            with suppress(queue.Empty):
                was_sent = news.get(timeout=_SECONDS_TO_CTRL_C)  # on Windows Ctrl-C interrupts no endless wait
                reported += 1
                if was_sent:
                    sent += 1
                    tell_progress(sent, len(questions))
    except KeyboardInterrupt:
        stopped.set()
    outcomes = [found.get(each.place, AskedOutcome(each, problem=_GIVEN_UP)) for each in questions]
    return Answers(outcomes, stopped.is_set())


def _work(
    waiting: queue.SimpleQueue[list[PlannedQuestion]],
    take: Callable[[AskedOutcome], None],
    machine: VerifyingKeys,
    stopped: threading.Event,
) -> None:
    while not stopped.is_set():
        try:
            conversation = waiting.get_nowait()
        except queue.Empty:
            return
        _Conversation(machine, stopped).ask(conversation, take)


class _Conversation:
    """Asks the questions of one conversation, in which later requests name ids from earlier answers.

    One worker thread owns it, with the ids so far and the questions that were answered.
    """

    def __init__(self, machine: VerifyingKeys, stopped: threading.Event) -> None:
        self._machine = machine
        self._stopped = stopped
        self._ids: dict[str, str | None] = {}
        self._answered: set[Place] = set()

    def ask(self, questions: list[PlannedQuestion], take: Callable[[AskedOutcome], None]) -> None:
        for question in questions:
            if self._stopped.is_set():
                return
            try:
                outcome = self._ask(question, names_ids=len(questions) > 1)
            # A user's transport may raise anything, also what pytest.skip() raises, which is no `Exception`. Without an
            # outcome for each question, `ask_questions` would wait for ever.
            except BaseException as error:  # noqa: BLE001
                outcome = AskedOutcome(question, problem=f"{type(error).__name__}: {error}")
            take(outcome)

    def _ask(self, question: PlannedQuestion, *, names_ids: bool) -> AskedOutcome:
        if any(giver not in self._answered for giver in question.givers):
            problem = "it continues a conversation in which an earlier request has failed"
            return AskedOutcome(question, problem=problem, is_verifiable=False, was_sent=False)
        try:
            request = replace_ids(question.request, self._ids) if question.givers else question.request
            if question.upstream != "local":
                needs_key = find_upstream(question.upstream).needs_key
                is_stored = question.played.request is None
                request = with_keys(request, self._machine, needs_key=needs_key, is_stored=is_stored)
            patience = max(_LEAST_PATIENCE, question.recorded.response.ended / 1000 * 4)
            answer = ask_again(request, question.upstream, seconds=patience)
        except (LostId, SignedRequest) as error:
            return AskedOutcome(question, problem=str(error), is_verifiable=False, was_sent=False)
        except KeyNotSet as error:
            return AskedOutcome(question, problem=str(error), was_sent=False)
        except UpstreamTrouble as error:
            return AskedOutcome(question, problem=str(error))
        if answer.status < 400:
            self._answered.add(question.place)
            if names_ids:
                self._ids |= map_ids(question.recorded, answer)
        return AskedOutcome(question, _redact(answer, request))


def _redact(answer: RecordedResponse, sent: RecordedRequest) -> RecordedResponse:
    """Return an answer without secrets. It may repeat the key that was sent, which only ``sent`` holds."""
    return replace(answer, chunks=run_redactor().redact_interaction(Interaction(sent, answer)).response.chunks)

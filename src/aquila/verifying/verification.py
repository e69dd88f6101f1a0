"""One verification: what was asked again, and the result for each recording.

``announce_plan`` says what will be sent. ``verify_answers`` sends it and returns a ``Verification``, which ``report``
shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from aquila.cassettes.answers.answer_content import model_of_answer
from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.errors import CassetteCorrupt
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.reporting.play_log import PlayedRecording
from aquila.recording.reporting.played_answers import count_tokens
from aquila.recording.sessions.filters import ResponseFilter
from aquila.verifying.asking import AskedOutcome, ask_questions
from aquila.verifying.comparison import AnswerComparison, compare_answers
from aquila.verifying.credentials import read_machine
from aquila.verifying.planning import Plan, SetAside

Result = Literal["same", "note", "critical", "not asked", "not verifiable", "skipped"]
"""The result for a recording.

``same``, ``note`` and ``critical``: the live answer has the same shape, another one that programs tolerate, or one that
breaks them. ``not asked``: the upstream could not be asked, or had trouble. ``not verifiable``: the request cannot be
repeated, or the answers cannot be compared. ``skipped``: it was not meant to be asked.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The status of an answer, the tokens that it reports, its time in milliseconds, and the model that it names."""

    status: int
    tokens: int
    milliseconds: int
    model: str


@dataclass(frozen=True, slots=True)
class VerifiedRecording:
    """A recording and its result.

    ``reason`` says why it was not compared; ``then`` and ``now`` measure both answers.
    """

    played: PlayedRecording
    recorded: Interaction | None
    result: Result
    reason: str = ""
    comparison: AnswerComparison = AnswerComparison()
    then: Measured | None = None
    now: Measured | None = None

    @property
    def number(self) -> int:
        """The number of the recording in its cassette, from 1."""
        return self.played.number + 1

    @property
    def was_answered(self) -> bool:
        """Whether it was compared with a live answer."""
        return self.result in ("same", "note", "critical")


@dataclass(frozen=True, slots=True)
class Verification:
    """The results for all recordings that a run has played. ``interrupted``: the user ended it early."""

    recordings: Sequence[VerifiedRecording]
    interrupted: bool = False

    def count_of(self, result: Result) -> int:
        """Return how many recordings have this result."""
        return sum(each.result == result for each in self.recordings)

    @property
    def is_critical(self) -> bool:
        """Whether something has changed that breaks programs."""
        return self.count_of("critical") > 0

    @property
    def asked_in_vain(self) -> bool:
        """Whether something was to be asked and no question got an answer."""
        answered = any(each.was_answered for each in self.recordings)
        return not answered and self.count_of("not asked") > 0


def announce_plan(plan: Plan) -> str:
    """Return a line that says what a plan will send: how many requests, about how many tokens, and to which hosts."""
    questions = plan.questions
    tokens = sum(each.tokens for each in questions)
    places: Counter[str] = Counter()
    for each in questions:
        host = urlsplit(each.request.url).hostname or "?"
        places[host if each.upstream == "live" else f"the upstream {each.upstream}"] += 1
    requests = count_of(len(questions), "request")
    hosts = ", ".join(name if len(places) == 1 else f"{name} ({count})" for name, count in places.most_common())
    about = f" (about {tokens:,} tokens)" if tokens else ""
    return f"{requests}{about} to {hosts}" if questions else "nothing to ask"


def verify_answers(plan: Plan, tell_progress: Callable[[int, int], None]) -> Verification:
    """Ask the questions of a plan and compare the answers. ``tell_progress``: see ``ask_questions``."""
    machine = read_machine(runtime.current_settings().dummy_keys)
    answers = ask_questions(plan, machine, tell_progress)
    rows = [*map(_compare, answers.outcomes), *map(_set_aside, plan.aside)]
    rows.sort(key=lambda each: (str(each.played.path), each.played.number))
    return Verification(rows, answers.interrupted)


def _compare(outcome: AskedOutcome) -> VerifiedRecording:
    question = outcome.question
    then = _measure(question.recorded)
    if outcome.answer is None:
        result: Result = "not asked" if outcome.is_verifiable else "not verifiable"
        return VerifiedRecording(question.played, question.recorded, result, outcome.problem, then=then)
    answer, reason = _filter(outcome.answer, question.played.change_response)
    if answer is None:
        return VerifiedRecording(question.played, question.recorded, "not verifiable", reason, then=then)
    try:
        comparison = compare_answers(question.recorded, answer)
    except RecursionError:
        reason = "its answer is nested too deeply to be compared"
        return VerifiedRecording(question.played, question.recorded, "not verifiable", reason, then=then)
    if comparison.trouble:
        return VerifiedRecording(question.played, question.recorded, "not asked", comparison.trouble, then=then)
    severities = {each.severity for each in comparison.findings}
    result = "critical" if "critical" in severities else "note" if severities else "same"
    now = _measure(replace(question.recorded, response=outcome.answer))
    return VerifiedRecording(question.played, question.recorded, result, "", comparison, then, now)


def _filter(answer: RecordedResponse, change: ResponseFilter | None) -> tuple[RecordedResponse | None, str]:
    """Apply to a live answer the filter that changed the recorded one.

    Returns the answer, or None if it cannot be compared; and the reason for that.
    """
    if change is None:
        return answer, ""
    try:
        return change(answer), "the filter of its test stores no such answer"
    except Exception as error:  # noqa: BLE001 - a user's function may raise anything; the others are still compared
        return None, f"the filter of its test raised {type(error).__name__} for the live answer"


def _set_aside(each: SetAside) -> VerifiedRecording:
    result: Result = "skipped" if each.is_skipped else "not verifiable"
    then = None if each.recorded is None else _measure(each.recorded)
    return VerifiedRecording(each.played, each.recorded, result, each.reason, then=then)


def _measure(interaction: Interaction) -> Measured:
    response = interaction.response
    try:
        model = model_of_answer(response.body)
    except CassetteCorrupt:  # the file of a large body is missing; then nothing is asked
        model = ""
    return Measured(response.status, count_tokens(interaction), response.ended, model)

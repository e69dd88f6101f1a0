"""Judges the run of a test under a fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from aquila.cassettes.answers.answer_content import read_answer
from aquila.recording.reporting.wire_watch import Attempt
from aquila.wildcards import fits_pattern

Verdict: TypeAlias = Literal["held", "clear", "changed", "accepted", "hangs", "leaks"]
Ending: TypeAlias = Literal["passed", "raised", "asserted", "unanswered", "silent", "hung"]
"""How the test ended: it passed; an exception of client or program; its own assertion; a request that nothing answers;
a silence that nothing ended; or not at all."""

CUTS = frozenset({"cut_stream", "end_early", "stall", "truncated_json", "finish_length"})
_TAKES_CONTENT = CUTS | {
    "abnormal_close",
    "dropped_event",
    "garbage",
    "html_page",
    "empty_answer",
    "content_filter",
    "refusal",
    "error_event",
}
"""Faults that remove a part of a good answer's content."""

_CUT_OFF = (
    *("length", "max_tokens", "max_output_tokens", "incomplete", "content_filter", "content_filtered"),
    *("model_length", "model_context_window_exceeded"),  # of Mistral; of Anthropic and Bedrock
)
_REFUSED = ("refusal", "guardrail_intervened", "safety", "prohibited_content", "blocklist", "recitation", "spii")
"""How answers end that are not whole, in the words of all providers, in small letters."""

PERMANENT_FAILURES = frozenset({400, 401, 403, 404, 422})
"""Statuses that a request gets again whenever it is repeated."""

MOST_ATTEMPTS = 10
"""More attempts than this at one request are reported as ``retry_storm``."""

_ABOUT_WAITS = frozenset({"ignored_retry_after", "no_backoff"})
_NO_WAIT = 0.1
_PATIENCE = 0.9
"""The part of a requested delay that must have passed: clocks differ, and clients round."""

SERIOUS: dict[str, str] = {
    "accepted": "passes, though a part of the answer is missing and nothing noticed it",
    "hangs": "does not end",
    "leaks": "leaves threads, sockets or tasks behind",
    "ignored_retry_after": "asked again before the time that the provider named",
    "retried_hopeless": "asked again what cannot succeed",
    "retry_storm": f"asked more than {MOST_ATTEMPTS} times",
    "no_backoff": "asked again and again without a wait",
    "took_truncated": "took a truncated answer for a whole one",
    "no_read_timeout": "waits for ever where nothing comes: no read time-out",
}
"""The findings that make a run fail unless they are allowed, each with its meaning."""


@dataclass
class FaultedRun:
    """What was observed in one run of a test under a fault.

    ``detail`` says in a few words how it ended. ``has_noticed``: the program executed code that it does not execute if
    answers are complete, or met an exception. ``fakes_waits``: the test replaces functions that wait.
    ``leaks`` names what is left behind. ``good`` counts the requests, by their keys, that get a good answer without the
    fault. ``not_whole`` counts those of them whose answer is a refusal, or cut off, even so.
    """

    ending: Ending
    detail: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    has_noticed: bool = False
    fakes_waits: bool = False
    leaks: list[str] = field(default_factory=list)
    good: Counter[str] = field(default_factory=Counter)
    not_whole: Counter[str] = field(default_factory=Counter)

    @property
    def has_met(self) -> bool:
        """Whether a request met the fault, and its answer was read as far as the fault."""
        shows = self.has_noticed or self.ending != "passed"
        return any(attempt.fault and (shows or not _is_unread(attempt)) for attempt in self.attempts)


_SEEN_FROM_START = frozenset(
    {"refusal", "empty_answer", "html_page", "one_byte", "one_piece", "other_chunks", "split_events", "slow"}
)
"""Faults that a caller sees who reads only the beginning of an answer."""


def _is_unread(attempt: Attempt) -> bool:
    """Whether a caller left an answer before its end, and so may not have reached the fault."""
    return attempt.reading == "left" and 0 < attempt.status < 400 and _name_of(attempt.fault) not in _SEEN_FROM_START


@dataclass(frozen=True)
class Judgement:
    """The ``verdict`` on a test under a fault, and its ``findings``: names of ``SERIOUS``, each with details."""

    test: str
    fault: str
    verdict: Verdict
    detail: str = ""
    findings: tuple[tuple[str, str], ...] = ()

    def as_plain_data(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"findings": [{"name": name, "detail": detail} for name, detail in self.findings]}


def judge_run(test: str, fault: str, run: FaultedRun) -> Judgement:
    """Return the judgement of a run: its verdict, and what the program did on the wire."""
    verdict, detail = _find_verdict(run)
    findings: list[tuple[str, str]] = []
    if verdict in ("accepted", "hangs"):
        findings.append((verdict, detail))
    if run.leaks:
        findings.append(("leaks", ", ".join(run.leaks)))
        if verdict not in ("accepted", "hangs"):
            verdict, detail = "leaks", ", ".join(run.leaks)
    if verdict == "accepted" and any(_name_of(attempt.fault) in CUTS for attempt in _find_lost_answers(run)):
        findings.append(("took_truncated", ""))
    findings += _wire_behaviour(run)
    return Judgement(test, fault, verdict, detail, tuple(findings))


def is_whole(answer: bytes) -> bool:
    """Whether the model has not refused an answer, and the provider has not cut it off, as far as its body says."""
    choices = read_answer(answer).choices.values()
    return not any(choice.is_refused or choice.finish.lower() in (*_CUT_OFF, *_REFUSED) for choice in choices)


def _name_of(fault: str) -> str:
    return fault.partition("(")[0]


def _find_verdict(run: FaultedRun) -> tuple[Verdict, str]:
    if run.ending in ("hung", "silent"):
        return "hangs", run.detail
    if run.ending == "raised":
        return "clear", run.detail
    if run.ending != "passed":
        return "changed", run.detail
    lost = _find_lost_answers(run)
    if not lost:
        return "held", ""
    if run.has_noticed:
        return "held", "without the answer: the program noticed"
    what = "an answer is" if len(lost) == 1 else f"{len(lost)} answers are"
    return "accepted", f"passes, although {what} not whole"


def _find_lost_answers(run: FaultedRun) -> list[Attempt]:
    """Return the answers that lacked something and were not replaced by a good answer to the same request.

    A request that is sent several times needs as many good answers as without the fault, whichever of them get one. The
    fault takes nothing from a program that deals with a refusal, or with an answer that was cut off.
    """
    lost: list[Attempt] = []
    for key, usual in (run.good - run.not_whole).items():
        asked = [attempt for attempt in run.attempts if attempt.key == key]
        lacking = [attempt for attempt in asked if _lacks_content(attempt)]
        missing = usual - (len(asked) - len(lacking))
        if lacking and lacking[-1] is asked[-1]:
            missing = max(missing, 1)
        lost += lacking[max(0, len(lacking) - missing) :] if missing > 0 else []
    return lost


def _lacks_content(attempt: Attempt) -> bool:
    if not attempt.fault or _is_unread(attempt):
        return False
    return attempt.status >= 400 or attempt.status == 0 or _name_of(attempt.fault) in _TAKES_CONTENT


def _wire_behaviour(run: FaultedRun) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for key in dict.fromkeys(attempt.key for attempt in run.attempts if attempt.fault):
        asked = [attempt for attempt in run.attempts if attempt.key == key]
        usual = run.good[key] or 1
        if len(asked) > MOST_ATTEMPTS * usual:
            found.setdefault("retry_storm", f"{len(asked)} requests")
        if usual > 1:
            # The program sends the same request several times even without the fault. Only the additional requests of
            # one asker are retries.
            asked = _most_of_one_asker(asked) if len(asked) > usual else []
        for name, detail in _find_repeated_attempts(asked):
            if not (run.fakes_waits and name in _ABOUT_WAITS):
                found.setdefault(name, detail)
    for attempt in run.attempts:
        if attempt.is_silent and attempt.fault and attempt.read_limit is None and run.ending in ("hung", "silent"):
            found.setdefault("no_read_timeout", "")
    yield from found.items()


def _most_of_one_asker(asked: Sequence[Attempt]) -> list[Attempt]:
    askers = Counter(attempt.asker for attempt in asked)
    if len(askers) == 1:
        return []  # one asker sent all of them in turn, so retries cannot be told from the others
    [(most, _)] = askers.most_common(1)
    return [attempt for attempt in asked if attempt.asker == most]


def _find_repeated_attempts(asked: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    """Yield the findings about repeated attempts at one request."""
    are_hasty = []
    for failed, again in pairwise(asked):
        if not failed.fault:
            continue
        waited = max(0.0, again.at - failed.ended)
        if failed.status in PERMANENT_FAILURES and failed.credentials == again.credentials:
            yield "retried_hopeless", f"after {failed.status}"
        if failed.retry_after is not None and waited < failed.retry_after * _PATIENCE:
            yield "ignored_retry_after", f"{waited:.1f} s instead of {failed.retry_after:g} s"
        if failed.status == 0 or failed.status >= 400:
            # A back-off may begin with a very short sleep, which is a wait all the same.
            are_hasty.append(waited < _NO_WAIT and again.slept <= failed.slept)
    if any(first and second for first, second in pairwise(are_hasty)):
        yield "no_backoff", f"{len(asked)} requests"


def is_allowed(judgement: Judgement, finding: str, allowed: Iterable[Allowance]) -> bool:
    """Whether one of ``allowed`` covers a finding."""
    return any(each.covers(judgement, finding) for each in allowed)


@dataclass(frozen=True)
class Allowance:
    """An accepted finding: patterns for the test, the fault, and the finding."""

    test: str
    fault: str
    finding: str

    @classmethod
    def parse(cls, line: str) -> Allowance:
        """Read a line ``TEST FAULT FINDING``. Raises ``ValueError`` with a text that says how to write it."""
        words = line.rsplit(None, 2)
        if len(words) != 3:
            raise ValueError("write a test, a fault and a finding, such as: tests/test_app.py::* end_early accepted")
        if "*" not in words[2] and words[2] not in SERIOUS:
            raise ValueError(f"{words[2]!r} is none of {', '.join(SERIOUS)}")
        return cls(*words)

    def covers(self, judgement: Judgement, finding: str) -> bool:
        """Whether this covers a finding. ``took_truncated`` follows from ``accepted``, so it is covered with that."""
        # Only ``*`` is special in a pattern, because the ids of tests contain brackets.
        names = {finding, {"took_truncated": "accepted"}.get(finding, finding)}
        faults = {_name_of(judgement.fault), judgement.fault.replace(" ", "")}
        return (
            fits_pattern(judgement.test, self.test)
            and any(fits_pattern(each, self.fault) for each in faults)
            and any(fits_pattern(each, self.finding) for each in names)
        )

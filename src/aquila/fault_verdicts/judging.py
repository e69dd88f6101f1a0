"""What a run of a test under a fault comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from aquila.recording.network.wildcards import fits_pattern
from aquila.recording.reporting.wire_watch import Attempt

Verdict: TypeAlias = Literal["held", "clear", "changed", "accepted", "hangs", "leaks"]
Ending: TypeAlias = Literal["passed", "raised", "asserted", "unanswered", "silent", "hung"]
"""How the test ended: an exception of client or program, its own assertion, a request that nothing answers, a silence
that nothing ended, or not at all."""

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
"""Faults that leave out a part of what a good answer says."""

HOPELESS = frozenset({400, 401, 403, 404, 422})
"""Failures that the same request will meet again."""

MOST_ATTEMPTS = 10
"""More attempts at one request are a storm."""

_ABOUT_WAITS = frozenset({"ignored_retry_after", "no_backoff"})
_NO_WAIT = 0.1
_PATIENCE = 0.9
"""The part of a wait that was asked for which must have passed: clocks differ, and clients round."""

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
"""What makes a run fail unless it is allowed, each with what it means."""


@dataclass
class FaultedRun:
    """One run of a test under a fault, as it was seen.

    ``detail`` says how it ended, in a few words. ``has_noticed`` says that the program executed what it does not
    execute when answers are whole, or met an exception. ``fakes_waits`` says that the test replaces its waits.
    ``leaks`` names what is left. ``good`` has the keys of the requests that get a good answer without the fault, each
    as often as it is then asked.
    """

    ending: Ending
    detail: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    has_noticed: bool = False
    fakes_waits: bool = False
    leaks: list[str] = field(default_factory=list)
    good: Counter[str] = field(default_factory=Counter)

    @property
    def has_met(self) -> bool:
        """Whether a request met the fault, as far as its answer was read."""
        shows = self.has_noticed or self.ending != "passed"
        return any(attempt.fault and (shows or not _is_unread(attempt)) for attempt in self.attempts)


_THROUGHOUT = frozenset(
    {"refusal", "empty_answer", "html_page", "one_byte", "one_piece", "other_chunks", "split_events", "slow"}
)
"""Faults of good answers that whoever reads their beginning meets."""


def _is_unread(attempt: Attempt) -> bool:
    """Whether a caller left an answer, and may never have come to where the fault is."""
    return attempt.reading == "left" and 0 < attempt.status < 400 and _name_of(attempt.fault) not in _THROUGHOUT


@dataclass(frozen=True)
class Judgement:
    """``verdict`` on a test under a fault, and what else was seen: names of ``SERIOUS``, each with particulars."""

    test: str
    fault: str
    verdict: Verdict
    detail: str = ""
    findings: tuple[tuple[str, str], ...] = ()

    def as_plain_data(self) -> dict[str, Any]:
        """Return it as JSON values."""
        findings = [{"name": name, "detail": detail} for name, detail in self.findings]
        return {
            "test": self.test,
            "fault": self.fault,
            "verdict": self.verdict,
            "detail": self.detail,
            "findings": findings,
        }


def judge(test: str, fault: str, run: FaultedRun) -> Judgement:
    """Return the verdict on a run, and what the program did on the wire."""
    verdict, detail = _find_verdict(run)
    findings: list[tuple[str, str]] = []
    if verdict in ("accepted", "hangs"):
        findings.append((verdict, detail))
    if run.leaks:
        findings.append(("leaks", ", ".join(run.leaks)))
        if verdict not in ("accepted", "hangs"):
            verdict, detail = "leaks", ", ".join(run.leaks)
    if verdict == "accepted" and any(_name_of(attempt.fault) in CUTS for attempt in _lost(run)):
        findings.append(("took_truncated", ""))
    findings += _wire_behaviour(run)
    return Judgement(test, fault, verdict, detail, tuple(findings))


def _name_of(fault: str) -> str:
    return fault.partition("(")[0]


def _find_verdict(run: FaultedRun) -> tuple[Verdict, str]:
    if run.ending in ("hung", "silent"):
        return "hangs", run.detail
    if run.ending == "raised":
        return "clear", run.detail
    if run.ending != "passed":
        return "changed", run.detail
    lost = _lost(run)
    if not lost:
        return "held", ""
    if run.has_noticed:
        return "held", "without the answer: the program noticed"
    return "accepted", f"passes, and of {len(lost)} answer{'s' if len(lost) > 1 else ''} something is missing"


def _lost(run: FaultedRun) -> list[Attempt]:
    """The answers that were read with something missing, and that no good answer to the same request made up for.

    What is asked several times needs as many good answers as without the fault, whoever gets which.
    """
    lost: list[Attempt] = []
    for key, usual in run.good.items():
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
            # The same is asked several times anyway, at once or in turn: what one asker asks beyond that is a retry.
            asked = _most_of_one_asker(asked) if len(asked) > usual else []
        for name, detail in _repetition(asked):
            if not (run.fakes_waits and name in _ABOUT_WAITS):
                found.setdefault(name, detail)
    for attempt in run.attempts:
        if attempt.is_silent and attempt.fault and attempt.read_limit is None and run.ending in ("hung", "silent"):
            found.setdefault("no_read_timeout", "")
    yield from found.items()


def _most_of_one_asker(asked: Sequence[Attempt]) -> list[Attempt]:
    askers = Counter(attempt.asker for attempt in asked)
    if len(askers) == 1:
        return []  # in turn: nobody can tell which of them are retries
    [(most, _)] = askers.most_common(1)
    return [attempt for attempt in asked if attempt.asker == most]


def _repetition(asked: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    """Judge the attempts at one request."""
    are_hasty = []
    for failed, again in pairwise(asked):
        if not failed.fault:
            continue
        waited = max(0.0, again.at - failed.ended)
        if failed.status in HOPELESS and failed.credentials == again.credentials:
            yield "retried_hopeless", f"after {failed.status}"
        if failed.retry_after is not None and waited < failed.retry_after * _PATIENCE:
            yield "ignored_retry_after", f"{waited:.1f} s instead of {failed.retry_after:g} s"
        if failed.status == 0 or failed.status >= 400:
            are_hasty.append(waited < _NO_WAIT and again.slept <= failed.slept)  # a back-off may begin with little
    if any(first and second for first, second in pairwise(are_hasty)):
        yield "no_backoff", f"{len(asked)} requests"


def is_allowed(judgement: Judgement, finding: str, allowed: Iterable[Allowance]) -> bool:
    """Whether one of ``allowed`` is about a finding."""
    return any(each.covers(judgement, finding) for each in allowed)


@dataclass(frozen=True)
class Allowance:
    """What is accepted: patterns of a test, of a fault, and of a finding."""

    test: str
    fault: str
    finding: str

    @classmethod
    def parse(cls, line: str) -> Allowance:
        """Read ``TEST FAULT FINDING``. Raises ``ValueError``."""
        words = line.rsplit(None, 2)
        if len(words) != 3:
            raise ValueError("write a test, a fault and a finding, such as: tests/test_app.py::* end_early accepted")
        if "*" not in words[2] and words[2] not in SERIOUS:
            raise ValueError(f"{words[2]!r} is none of {', '.join(SERIOUS)}")
        return cls(*words)

    def covers(self, judgement: Judgement, finding: str) -> bool:
        """Whether it is about a finding. What follows from one that is allowed is allowed with it."""
        # Only `*` is special in a pattern: ids of tests have brackets.
        names = {finding, {"took_truncated": "accepted"}.get(finding, finding)}
        faults = {_name_of(judgement.fault), judgement.fault.replace(" ", "")}
        return (
            fits_pattern(judgement.test, self.test)
            and any(fits_pattern(each, self.fault) for each in faults)
            and any(fits_pattern(each, self.finding) for each in names)
        )

"""Compares a recorded answer with a live one to the same request: refusals, shapes, and texts."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from aquila.cassettes.model import Interaction, RecordedResponse
from aquila.plurals import count_of
from aquila.verifying.answers import AnswerText, find_error, read_answer_text, read_values
from aquila.verifying.sdk_types import sdk_type_for
from aquila.verifying.shapes import ShapeChange, compare_shapes, shape_of

Severity = Literal["critical", "note"]
FindingKind = Literal["refused", "accepted", "shape"]
Likeness = Literal[
    "identical", "reworded", "text gone", "text new", "other tool calls", "other finish reason", "not comparable"
]

_MOST_WORDS = 4000
_LONGEST_MESSAGE = 300

_STATUSES_OF_TROUBLE = frozenset({401, 402, 407, 408, 409, 425, 429})
"""Statuses about the key, the account or the load, and not about the request."""

_TROUBLE_CODES = (
    "server_error",
    "api_error",
    "overloaded",
    "rate_limit",
    "insufficient_quota",
    "unavailable",
    "timeout",
    "internal",
)
"""Words in the code of an error within an answer that mean trouble of the server, and not a refusal.

They are looked for in the message only if the error has no code.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One change. ``path`` is a place in the answer, or empty for the whole answer."""

    kind: FindingKind
    severity: Severity
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """How a live answer differs from the recorded one.

    ``likeness`` compares the content, and ``similarity`` is the share of words that are the same, from 0 to 1.
    ``trouble`` says why the answers cannot be compared: the upstream had trouble or refused the key; empty otherwise.
    """

    findings: tuple[Finding, ...] = ()
    likeness: Likeness = "not comparable"
    similarity: float | None = None
    detail: str = ""
    trouble: str = ""


def compare_answers(recorded: Interaction, live: RecordedResponse) -> AnswerComparison:
    """Compare a recording with a live answer to the same request."""
    then_body, now_body = recorded.response.body, live.body
    form, now = read_values(now_body)
    if _is_status_of_trouble(live.status):
        return AnswerComparison(trouble=f"the upstream answered {_describe_refusal(live.status, now)}")
    was_error, is_error = recorded.response.status >= 400, live.status >= 400
    if is_error and not was_error:
        return AnswerComparison(
            (Finding("refused", "critical", "", f"refused: {_describe_refusal(live.status, now)}"),)
        )
    if was_error and not is_error:
        text = f"answered {live.status}, but the recording is a refusal ({recorded.response.status})"
        return AnswerComparison((Finding("accepted", "critical", "", text),))
    recorded_form, then = read_values(then_body)
    if not was_error and (error := find_error(now)) is not None and find_error(then) is None:
        described = _describe_error(error)
        if _is_trouble(error):
            return AnswerComparison(trouble=f"the upstream answered {described}")
        return AnswerComparison((Finding("refused", "critical", "", f"refused within the answer: {described}"),))
    was_left = recorded.response.was_left  # the recording is only the beginning, so the rest is not new
    if form != recorded_form and not (was_left and recorded_form != "events"):  # a beginning may have another form
        text = f"the body is {_NAMES[form]}, was {_NAMES[recorded_form]}"
        return AnswerComparison((Finding("shape", "critical", "", text),))
    if "bytes" in (form, recorded_form):
        return _compare_bytes(recorded.response, live)
    findings: list[Finding] = []
    if recorded.response.status != live.status:
        findings.append(Finding("shape", "note", "", f"status {live.status}, was {recorded.response.status}"))
    text_then, text_now = read_answer_text(then_body), read_answer_text(now_body)
    sdk = sdk_type_for(urlsplit(recorded.request.url).path, streamed=form == "events")
    changes = compare_shapes(shape_of(then), shape_of(now), sdk)
    same_kind = _has_same_kind(text_then, text_now)
    for change in _merge_repetitions(changes):
        if change.is_critical or not (change.depends and (not same_kind or (was_left and change.what != "gone"))):
            findings.append(_finding_of(change))
    if was_left:
        return AnswerComparison(tuple(findings), detail="the recording ends where its caller left the answer")
    return _compare_texts(text_then, text_now, findings)


_NAMES = {"json": "one JSON value", "events": "a stream of events", "bytes": "no JSON"}


_REPEATED = re.compile(r"<response\.\w+>\.(?=response\.)")
"""The events of the Responses API that hold the whole response: those at its beginning and at its end."""


def _merge_repetitions(changes: Iterable[ShapeChange]) -> Iterable[ShapeChange]:
    """Return each change once, although several events of a stream hold the same object."""
    return dict.fromkeys(change._replace(path=_REPEATED.sub("", change.path)) for change in changes)


def _finding_of(change: ShapeChange) -> Finding:
    return Finding("shape", "critical" if change.is_critical else "note", change.path, change.text)


def _has_same_kind(then: AnswerText, now: AnswerText) -> bool:
    """Whether two answers are of one kind: both with text or both without, the same tools and finish reasons."""
    return (bool(then.text), set(then.call_names), then.finish) == (bool(now.text), set(now.call_names), now.finish)


def _compare_texts(then: AnswerText, now: AnswerText, findings: Sequence[Finding]) -> AnswerComparison:
    found = tuple(findings)
    if then.call_names != now.call_names:
        detail = f"{', '.join(now.call_names) or 'none'}, was {', '.join(then.call_names) or 'none'}"
        return AnswerComparison(found, "other tool calls", detail=detail)
    if then.finish != now.finish:
        detail = f"{', '.join(now.finish) or 'none'}, was {', '.join(then.finish) or 'none'}"
        return AnswerComparison(found, "other finish reason", detail=detail)
    different = [name for (name, old), (_, new) in zip(then.calls, now.calls, strict=True) if not _same_json(old, new)]
    if different:
        return AnswerComparison(found, "other tool calls", detail=f"other arguments of {', '.join(different)}")
    if then.text == now.text:
        return AnswerComparison(found, "identical", 1.0)
    old_words, new_words = len(then.text.split()), len(now.text.split())
    if not then.calls and bool(old_words) != bool(new_words):  # what a model says beside a call comes and goes
        detail = f"{_words(new_words)}, was {_words(old_words)}"
        return AnswerComparison(found, "text gone" if old_words else "text new", 0.0, detail)
    return AnswerComparison(found, "reworded", _similarity(then.text, now.text))


def _words(count: int) -> str:
    return count_of(count, "word") if count else "none"


def _compare_bytes(then: RecordedResponse, now: RecordedResponse) -> AnswerComparison:
    old, new = (each.first_header("content-type").partition(";")[0].strip() for each in (then, now))
    if old != new and old and new:
        return AnswerComparison((Finding("shape", "critical", "", f"the content type is {new}, was {old}"),))
    return AnswerComparison((), "identical" if then.body == now.body else "not comparable")


def _same_json(old: str, new: str) -> bool:
    try:
        return bool(json.loads(old) == json.loads(new))
    except (ValueError, RecursionError):
        return old == new


def _similarity(then: str, now: str) -> float:
    """Return the share of words that two texts have in common, in the same order, from 0 to 1."""
    old, new = then.split()[:_MOST_WORDS], now.split()[:_MOST_WORDS]
    return round(difflib.SequenceMatcher(None, old, new, autojunk=False).ratio(), 3)


def _describe_refusal(status: int, values: Sequence[Any]) -> str:
    error = find_error(values)
    return f"{status} {_describe_error(error)}".rstrip() if error is not None else str(status)


def _is_trouble(error: dict[str, Any]) -> bool:
    kind = error.get("type")
    code = str(error.get("code") or (kind != "error" and kind) or error.get("message"))  # `error` is an event's type
    if code.isdecimal():  # the status that the answer would have had, if it had not begun
        return _is_status_of_trouble(int(code))
    return any(word in code.lower() for word in _TROUBLE_CODES)


def _is_status_of_trouble(status: int) -> bool:
    return status in _STATUSES_OF_TROUBLE or status >= 500


def _describe_error(error: dict[str, Any]) -> str:
    words = [str(error[name]) for name in ("code", "type") if error.get(name)][:1]
    if error.get("param"):
        words.append(f"({error['param']})")
    message = " ".join(str(error.get("message") or "").split())[:_LONGEST_MESSAGE]
    return ": ".join(part for part in (" ".join(words), message) if part)

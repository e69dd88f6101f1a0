"""What is shown of a proposal, without secrets: facts, fields, and the changed words of prompt and answer."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aquila.cassettes.answers.answer_content import model_of_answer
from aquila.cassettes.answers.answer_text import status_of
from aquila.cassettes.matching.difference import ABSENT, dump_json
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Headers, Interaction
from aquila.cassettes.web_socket_frames.frame import frames_of
from aquila.recording.reporting.played_answers import count_tokens
from aquila.review.proposals import KINDS, Proposal, ProposalKind, answer_fields, differences_of
from aquila.review.texts import has_messages, tell_answer, tell_prompt
from aquila.run_report.word_diff import Change, Steps, word_changes
from aquila.wire_forms.table import read_sent

TITLES: dict[ProposalKind, str] = {
    "new": "new recording",
    "prompt": "changed prompt",
    "answer": "changed answer",
    "details": "only times, ids, token counts or headers changed",
    "gone": "would vanish",
}
"""The names of the kinds, for people."""

WORDS: dict[ProposalKind, tuple[str, str]] = {
    "new": ("new recording", "new recordings"),
    "prompt": ("changed prompt", "changed prompts"),
    "answer": ("changed answer", "changed answers"),
    "details": ("with other times, ids, token counts or headers", "with other times, ids, token counts or headers"),
    "gone": ("recording gone", "recordings gone"),
}
"""The same, where several are counted, in the singular and the plural."""

_MOST_FIELDS = 50
_IN_MESSAGES = ("messages", "input", "contents", "prompt", "system", "instructions", "systemInstruction")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that differs. ``was`` or ``now`` is None if the field is missing there."""

    path: str
    was: str | None
    now: str | None

    def compare_words(self, steps: Steps | None = None) -> list[Change]:
        """Return the words that changed. ``steps``: the limit of work, shared by all comparisons of one view."""
        return word_changes(self.was or "", self.now or "", steps)


@dataclass(frozen=True, slots=True)
class ProposalView:
    """What is shown of a proposal. ``prompt`` and ``answer`` are words that are the same, removed or added.

    ``facts`` are lines about the recordings, as name, before, now. ``fields`` are other differences, in the request and
    in an answer whose text is the same; ``left_out`` is the number of further ones that are not shown. ``steps`` limits
    the work of comparing words.
    """

    kind: ProposalKind
    request: str
    facts: list[tuple[str, str, str]] = field(default_factory=list)
    fields: list[FieldChange] = field(default_factory=list)
    left_out: int = 0
    prompt: list[Change] = field(default_factory=list)
    answer: list[Change] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)

    @property
    def title(self) -> str:
        """The kind of the change, in words."""
        return TITLES[self.kind]

    def as_json(self) -> dict[str, Any]:
        """Return everything but the kind as JSON values."""
        return {name: each for name, each in dataclasses.asdict(self).items() if name not in ("kind", "steps")}


def describe_kinds(proposals: Iterable[Proposal]) -> str:
    """Return how many proposals there are of each kind, in words: ``1 new recording, 2 changed answers``."""
    counts = Counter(each.kind for each in proposals)
    counted = [f"{counts[kind]:,} {WORDS[kind][counts[kind] > 1]}" for kind in KINDS if counts[kind]]
    return ", ".join(counted) or "the same recordings"


def view_proposal(proposal: Proposal, clean: Callable[[Interaction], Interaction], rules: MatchRules) -> ProposalView:
    """Return what is shown of a proposal. ``clean`` returns a copy of a recording without secrets."""
    was = clean(proposal.was) if proposal.was is not None else None
    now = clean(proposal.now) if proposal.now is not None else None
    shown = now or was
    if shown is None:
        raise ValueError("a proposal has a recording")
    steps = Steps()
    prompts = _compare_texts(was, now, tell_prompt, steps)
    answers = _compare_texts(was, now, tell_answer, steps)
    fields: list[FieldChange] = []
    if was is not None and now is not None:
        fields = [*_request_fields(was, now, rules, prompts), *_answer_fields(was, now, answers)]
        fields += _header_fields("request", was.request.headers, now.request.headers)
        fields += _header_fields("answer", was.response.headers, now.response.headers)
    parts = urlsplit(shown.request.url)
    return ProposalView(
        proposal.kind,
        f"{shown.request.method} {parts.hostname or ''}{parts.path}",
        list(_facts(was, now)),
        fields[:_MOST_FIELDS],
        max(0, len(fields) - _MOST_FIELDS),
        prompts,
        answers,
        steps,
    )


def _compare_texts(
    was: Interaction | None, now: Interaction | None, tell: Callable[[Interaction], str], steps: Steps
) -> list[Change]:
    if was is not None and now is not None:
        return word_changes(tell(was), tell(now), steps)
    only = was or now
    text = tell(only) if only is not None else ""
    return [("added" if was is None else "removed", text)] if text else []


def _facts(was: Interaction | None, now: Interaction | None) -> Iterator[tuple[str, str, str]]:
    for name, tell in _FACTS:
        before, after = (tell(each) if each is not None else "" for each in (was, now))
        if before or after:
            yield name, before, after


def _model_answering(interaction: Interaction) -> str:
    model = interaction.model or model_of_answer(interaction.response.body)
    return " ".join(filter(None, (interaction.upstream, model)))


def _tokens(interaction: Interaction) -> str:
    return f"{count_tokens(interaction):,}" if count_tokens(interaction) else ""


_FACTS: tuple[tuple[str, Callable[[Interaction], str]], ...] = (
    ("model", lambda one: read_sent(one.request).model),
    ("answered by", _model_answering),
    ("status", status_of),
    ("tokens", _tokens),
    ("took", lambda one: f"{one.response.ended / 1000:.1f} s" if one.response.ended else ""),
    ("recorded", lambda one: one.recorded),
)


def _request_fields(
    was: Interaction, now: Interaction, rules: MatchRules, prompt: list[Change]
) -> Iterator[FieldChange]:
    """Yield the differing fields of the request, without those that the words of the prompt show."""
    shows_words = any(kind != "same" for kind, _ in prompt) and (
        frames_of(was) is not None or (has_messages(read_sent(was.request)) and has_messages(read_sent(now.request)))
    )
    for each in differences_of(was, now, rules.without_placeholders()):
        root = each.path.partition(".")[0].partition("[")[0]
        is_fact = each.in_body and each.path == "model"
        if not is_fact and not (shows_words and each.in_body and root in _IN_MESSAGES):
            yield FieldChange(each.path, _show(each.recorded), _show(each.now))


def _show(value: Any) -> str | None:
    if value is ABSENT:
        return None
    return value if isinstance(value, str) else dump_json(value)


def _answer_fields(was: Interaction, now: Interaction, answer: list[Change]) -> Iterator[FieldChange]:
    """Yield the differing fields of answers with the same text."""
    if any(kind != "same" for kind, _ in answer):
        return
    one, other = answer_fields(was), answer_fields(now)
    for path in dict.fromkeys((*one, *other)):
        if one.get(path) != other.get(path):
            yield FieldChange(f"answer {path}", one.get(path), other.get(path))


def _header_fields(side: str, was: Headers, now: Headers) -> Iterator[FieldChange]:
    one, other = dict(was), dict(now)
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            yield FieldChange(f"{side} header {name}", one.get(name), other.get(name))

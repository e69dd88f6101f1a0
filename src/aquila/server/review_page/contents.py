"""The contents of a review's page, as JSON values without secrets; and the page itself, which holds no data."""

from __future__ import annotations

import functools
import importlib.resources
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from aquila.recording.secrets import outgoing
from aquila.review.reviewing import Item, Outcome, Review
from aquila.review.tested_by import TestPlace
from aquila.review.views import TITLES, ProposalView
from aquila.run_report.page import join_scripts, policy_for, read_parts

PARTS = importlib.resources.files(__package__) / "parts"  # which may be in an archive


class Reading(NamedTuple):
    """Functions that read what is shown: ``view`` of a question, without secrets, and ``find_tests`` of its cassette.

    ``tell_besides`` returns lines about other things, such as tests without recordings.
    """

    view: Callable[[Item], ProposalView]
    find_tests: Callable[[Item], Sequence[TestPlace]]
    tell_besides: Callable[[], Iterable[str]] = tuple


class Page(NamedTuple):
    """The page, and the Content-Security-Policy under which it runs."""

    html: str
    policy: str


@functools.cache
def write_page() -> Page:
    """Return the page, which is the same for each review. It loads its data with the token in its address."""
    parts = {name: (PARTS / name).read_text(encoding="utf-8") for name in ("review.html", "review.css", "review.js")}
    style = f"{read_parts('base.css', 'drift.css')}\n{parts['review.css']}"
    script = join_scripts("elements.js", "drift.js", more=parts["review.js"])
    policy = policy_for(script, style, more="connect-src 'self'")
    html = parts["review.html"].replace("@@policy@@", escape(policy)).replace("@@style@@", style)
    return Page(html.replace("@@script@@", script), f"{policy}; frame-ancestors 'none'")


def describe_review(review: Review, outcomes: Sequence[Outcome], besides: Iterable[str] = ()) -> dict[str, Any]:
    """Return short descriptions of all questions with their decisions, the last outcomes, and further lines."""
    items = review.items
    sizes = Counter(item.proposal.group for item in items)
    chains = Counter(item.proposal.chain for item in items)
    clean, redact = outgoing.redact_label, outgoing.redact_outgoing
    return {
        "items": [
            {
                "id": item.id,
                "cassette": clean(item.cassette.name),
                "number": item.proposal.number,
                "kind": item.proposal.kind,
                "title": TITLES[item.proposal.kind],
                "group": item.proposal.group,
                "size": sizes[item.proposal.group],
                "chain": chains[item.proposal.chain] if item.proposal.chain else 1,
                "choice": review.choice_of(item),
            }
            for item in items
        ],
        "besides": [redact(line) for line in besides],
        "problems": [redact(f"{each.name}: {each.problem}") for each in review.cassettes if each.problem],
        "outcomes": [
            {
                "cassette": clean(each.name),
                "problem": redact(each.problem),
                "accepted": each.applied.accepted,
                "rejected": each.applied.rejected,
                "left": each.applied.left,
            }
            for each in outcomes
        ],
    }


def describe_item(item: Item, reading: Reading) -> dict[str, Any]:
    """Return what is shown of one question."""
    view = reading.view(item)
    found: dict[str, Any] = outgoing.redact_outgoing_value(
        {
            "request": view.request,
            "tests": [test.id for test in reading.find_tests(item)],
            "facts": view.facts,
            "prompt": view.prompt,
            "answer": view.answer,
            "fields": [
                {"path": each.path, "was": each.was, "now": each.now, "words": each.compare_words(view.steps)}
                for each in view.fields
            ],
            "left_out": view.left_out,
            "newer": item.cassette.is_newer and item.proposal.kind == "gone",
        }
    )
    return {"id": item.id, **found}

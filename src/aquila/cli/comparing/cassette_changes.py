"""What differs between two versions of cassettes, recording by recording, for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aquila.cli import project
from aquila.cli.comparing.compared_files import Pair
from aquila.cli.output import Output
from aquila.cli.reviewing.review_screen import SIGNS, fold_pieces
from aquila.errors import reason_of
from aquila.plurals import count_of, number_of
from aquila.recording import runtime
from aquila.recording.reporting.played_answers import count_tokens
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of
from aquila.review.proposals import Proposal, compare_versions, comparison_key
from aquila.review.views import WORDS, ProposalView, describe_kinds, view_proposal
from aquila.run_report.word_diff import Change

_FACTS = ("model", "answered by", "status", "tokens")


@dataclass(frozen=True, slots=True)
class ChangedCassette:
    """A cassette that differs. ``renamed_from``: its earlier name, if any. ``problem``: why it cannot be read."""

    name: str
    changes: tuple[tuple[Proposal, ProposalView], ...] = ()
    renamed_from: str = ""
    problem: str = ""

    @property
    def differing(self) -> list[tuple[Proposal, ProposalView]]:
        """The changes in more than times, ids and header fields."""
        return [(proposal, view) for proposal, view in self.changes if proposal.kind != "details"]

    def count_kinds(self) -> str:
        """Return the numbers of changes of each kind, in words."""
        return describe_kinds(proposal for proposal, _ in self.changes)


def compare_pairs(pairs: Iterable[Pair]) -> list[ChangedCassette]:
    """Return the cassettes that differ, that have another name, or that cannot be read, by name."""
    settings = runtime.current_settings()
    rules = match_rules_of(settings)
    clean = redactor_of(settings).redact_interaction
    key_of = comparison_key(rules, settings.keep_headers)
    found = []
    for pair in pairs:
        try:
            compared = compare_versions(pair.load_before(), pair.load_after(), key_of, rules)
            changes = tuple((each, view_proposal(each, clean, rules)) for each in compared.proposals)
        except project.UNREADABLE as error:
            found.append(ChangedCassette(pair.name, renamed_from=pair.renamed_from, problem=reason_of(error)))
        else:
            if changes or pair.renamed_from:
                found.append(ChangedCassette(pair.name, changes, pair.renamed_from))
    return sorted(found, key=lambda each: each.name)


def print_changes(found: list[ChangedCassette], title: str, output: Output) -> None:
    """Print the differences for people. ``title``: what was compared."""
    for cassette in found:
        renamed = f" (was {cassette.renamed_from})" if cassette.renamed_from else ""
        output.print_problem(f"{cassette.name}{renamed}: {cassette.problem or cassette.count_kinds()}")
        for proposal, view in cassette.differing:
            output.print_line(f"  {WORDS[proposal.kind][0]} #{proposal.number}  {view.request}")
            for name, pieces in list_differences(view):
                text = "".join(f"{SIGNS[kind][0]}{piece}{SIGNS[kind][1]}" for kind, piece in fold_pieces(pieces))
                if "\n" in text:
                    output.print_line(f"    {name}:")
                    output.print_text(text, "      ")
                else:
                    output.print_line(f"    {name}: {text}")
    if found:
        output.print_line()
    count = sum(bool(each.differing) for each in found)
    differ = number_of(count, "cassette differs", "cassettes differ") if count else "no cassette differs"
    unread = sum(bool(each.problem) for each in found)
    others = f", and {count_of(unread, 'cassette')} could not be compared" if unread else ""
    output.print_line(f"{differ} {title}{others}")
    before, after = count_changed_tokens(found)
    if before != after:
        output.print_line(f"tokens of the recordings that differ: {before:,} -> {after:,}")


def list_differences(view: ProposalView) -> Iterator[tuple[str, list[Change]]]:
    """Yield what differs between two recordings, each with its name and its words."""
    for name, was, now in view.facts:
        if was and now and was != now and name in _FACTS:
            yield name, [("removed", was), ("added", now)]
    for name, pieces in (("prompt", view.prompt), ("answer", view.answer)):
        if any(kind != "same" for kind, _ in pieces):
            yield name, pieces
    for each in view.fields:
        if " header " not in each.path:
            yield each.path, each.compare_words(view.steps)


def count_changed_tokens(found: list[ChangedCassette]) -> tuple[int, int]:
    """Return the tokens of the recordings that differ, before and after."""
    both = [0, 0]
    for cassette in found:
        for proposal, _ in cassette.changes:
            for side, interaction in enumerate((proposal.was, proposal.now)):
                both[side] += count_tokens(interaction) if interaction is not None else 0
    return both[0], both[1]


def as_json(found: list[ChangedCassette]) -> list[dict[str, Any]]:
    """Return the differences as a JSON value."""
    return [
        {
            "cassette": each.name,
            "renamed_from": each.renamed_from or None,
            "error": each.problem or None,
            "changes": [
                {
                    "kind": proposal.kind,
                    "before": None if proposal.row.was is None else proposal.row.was + 1,
                    "after": None if proposal.row.now is None else proposal.row.now + 1,
                    **view.as_json(),
                }
                for proposal, view in each.changes
            ],
        }
        for each in found
    ]

"""Finds what a branch has changed in cassettes, recording by recording, for a terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aquila.cassettes.model import Cassette
from aquila.cli import project
from aquila.cli.comparing.compared_files import is_cassette
from aquila.cli.comparing.git_versions import ChangedFile, Versions, list_changed_files, load_version
from aquila.cli.output import Output
from aquila.cli.reviewing.review_screen import SIGNS, fold_pieces
from aquila.errors import AquilaError
from aquila.plurals import count_of
from aquila.recording import runtime
from aquila.recording.reporting.played_answers import count_tokens
from aquila.recording.sessions.session_factory import match_rules_of, redactor_of
from aquila.recording.storing.journal_merging import stored_key
from aquila.review.proposals import KINDS, Proposal, ProposalKind, compare_versions
from aquila.review.views import ProposalView, view_proposal
from aquila.run_report.word_diff import Change

WORDS: dict[ProposalKind, tuple[str, str]] = {
    "new": ("new recording", "new recordings"),
    "prompt": ("changed prompt", "changed prompts"),
    "answer": ("changed answer", "changed answers"),
    "details": ("with other times, ids or headers", "with other times, ids or headers"),
    "gone": ("recording gone", "recordings gone"),
}
"""The names of kinds of changes between two versions, in the singular and the plural."""


@dataclass(frozen=True, slots=True)
class ChangedCassette:
    """A cassette that differs. ``renamed_from``: its earlier name, if any. ``problem``: why it cannot be read."""

    name: str
    changes: tuple[tuple[Proposal, ProposalView], ...] = ()
    renamed_from: str = ""
    problem: str = ""

    def count_kinds(self) -> str:
        """Return the numbers of changes of each kind, in words."""
        counts = Counter(proposal.kind for proposal, _ in self.changes)
        return ", ".join([f"{counts[kind]:,} {WORDS[kind][counts[kind] > 1]}" for kind in KINDS if counts[kind]])


def compare_in_git(
    here: project.Project, bases: list[Path], versions: Versions, name: str | None, scratch: Path
) -> list[ChangedCassette]:
    """Return the cassettes that differ between two versions; with ``name`` only those that it means.

    ``bases`` are the folders in which git is run. ``scratch`` is a folder for temporary files, which must exist until
    the changes have been printed. Raises ``CassetteError`` if git fails.
    """
    settings = runtime.current_settings()
    rules = match_rules_of(settings)
    clean = redactor_of(settings).redact_interaction
    key_of = stored_key(rules, settings.keep_headers)
    found = []
    for base in bases:
        for changed in list_changed_files(base, versions):
            paths = [path for path in (changed.after, changed.before) if path is not None and is_cassette(path, here)]
            if not paths or not (name is None or any(here.is_named(path, name) for path in paths)):
                continue
            try:
                before, after = _load_both(base, versions, changed, here, scratch)
                compared = compare_versions(before, after, key_of, rules)
                changes = tuple((each, view_proposal(each, clean, rules)) for each in compared.proposals)
                found.append(ChangedCassette(here.name_of(paths[0]), changes, _old_name(changed, here)))
            except (AquilaError, OSError) as error:
                found.append(ChangedCassette(here.name_of(paths[0]), problem=str(error)))
    return sorted(found, key=lambda each: each.name)


def _old_name(changed: ChangedFile, here: project.Project) -> str:
    """Return the name of a renamed cassette before; empty if it was not renamed."""
    if changed.before is None or changed.after is None or changed.before == changed.after:
        return ""
    return here.name_of(changed.before)


def _load_both(
    base: Path, versions: Versions, changed: ChangedFile, here: project.Project, scratch: Path
) -> Iterator[Cassette]:
    for version, path in ((versions.before, changed.before), (versions.after, changed.after)):
        if path is None or not is_cassette(path, here):
            yield Cassette()
        else:
            yield load_version(base, version, path, scratch)


def print_changes(found: list[ChangedCassette], versions: Versions, output: Output) -> None:
    """Print the differences for people."""
    for cassette in found:
        renamed = f" (was {cassette.renamed_from})" if cassette.renamed_from else ""
        said = cassette.problem or cassette.count_kinds() or "the same recordings"
        output.print_line(f"{cassette.name}{renamed}: {said}")
        for proposal, view in cassette.changes:
            if proposal.kind != "details":
                _print_change(proposal, view, output)
    if found:
        output.print_line()
    count = f"{count_of(len(found), 'cassette')} {'differs' if len(found) == 1 else 'differ'}"
    output.print_line(f"{count if found else 'no cassette differs'} in {versions.title}")
    before, after = count_changed_tokens(found)
    if before != after:
        output.print_line(f"tokens of the recordings that differ: {before:,} -> {after:,}")


def count_changed_tokens(found: list[ChangedCassette]) -> tuple[int, int]:
    """Return the tokens of the recordings that differ, before and after."""
    both = [0, 0]
    for cassette in found:
        for proposal, _ in cassette.changes:
            for side, interaction in enumerate((proposal.was, proposal.now)):
                both[side] += count_tokens(interaction) if interaction is not None else 0
    return both[0], both[1]


def _print_change(proposal: Proposal, view: ProposalView, output: Output) -> None:
    output.print_line(f"  {WORDS[proposal.kind][0]} #{proposal.number}  {view.request}")
    for name, was, now in view.facts:
        if was and now and was != now and name in ("model", "status", "tokens"):
            output.print_line(f"    {name}: {was} -> {now}")
    for name, pieces in (("prompt", view.prompt), ("answer", view.answer)):
        if any(kind != "same" for kind, _ in pieces):
            output.print_line(f"    {name}:")
            output.print_text(write_words(pieces), "      ")
    for each in view.fields:
        if " header " not in each.path:
            output.print_line(f"    {each.path}: {write_words(each.compare_words(view.steps))}")


def write_words(pieces: list[Change]) -> str:
    """Return a text with signs around its changed words, as in git's word diff."""
    return "".join(f"{SIGNS[kind][0]}{text}{SIGNS[kind][1]}" for kind, text in fold_pieces(pieces))


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

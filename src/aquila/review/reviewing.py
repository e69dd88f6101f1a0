"""A review: the proposals of all cassettes with pending files, and the decisions about them.

A terminal, a page and a script all use :class:`Review`. It stores each decision at once, but writes no cassette before
``apply``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage import cassette_files, large_bodies
from aquila.errors import AquilaError, CassetteError, reason_of
from aquila.review.applying import Applied, ChangedMeanwhile, apply_choices, forget_before, undo_interrupted
from aquila.review.kept_decisions import Choice, Decision, DecisionFile, forget_gone
from aquila.review.proposals import Proposal, ProposalKind, compare_versions
from aquila.review.tested_by import state_of


@dataclass(slots=True)
class ReviewedCassette:
    """A cassette and its pending file. ``name`` is the cassette's name, ``root`` its cassette folder.

    ``choices`` has the last of the ``decisions`` about each proposal. ``problem`` says why it cannot be reviewed.
    ``state`` changes when one of the files is written. ``is_newer``: the cassette was written after the pending file,
    so a recording that would vanish may be newer than the pending ones. The ``Review`` that made the object changes it.
    """

    name: str
    pending: Path
    root: Path
    proposals: tuple[Proposal, ...] = ()
    decisions: list[Decision] = field(default_factory=list)
    choices: dict[str, Choice] = field(default_factory=dict)
    state: tuple[object, ...] = ()
    problem: str = ""
    is_newer: bool = False

    @property
    def path(self) -> Path:
        """The cassette's file."""
        return cassette_files.cassette_of_pending(self.pending)

    @property
    def file(self) -> DecisionFile:
        """Where its decisions are kept."""
        return DecisionFile(self.pending, self.root)


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a review: a proposal, and the cassette that it is about."""

    cassette: ReviewedCassette
    proposal: Proposal

    @property
    def id(self) -> str:
        """The id of the proposal, which is unique in a review."""
        return self.proposal.id


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``apply`` did with a cassette; ``problem`` says why it did nothing."""

    name: str
    applied: Applied = Applied(0, 0, 0)
    problem: str = ""


class Review:
    """The questions of some pending files, in order, and the answers so far. Not thread-safe."""

    def __init__(
        self,
        files: Iterable[tuple[str, Path, Path]],
        key_of: Callable[[RecordedRequest], str],
        rules: MatchRules,
        *,
        kinds: Collection[ProposalKind] = (),
    ) -> None:
        """``files``: for each cassette its name, pending file and cassette folder.

        ``kinds``: ask only these, if any.
        """
        self._key_of, self._rules, self._kinds = key_of, rules, frozenset(kinds)
        self.outcomes: list[Outcome] | None = None
        """The outcome for each cassette since ``apply`` began to write, even if interrupted; None before that."""
        self.cassettes: list[ReviewedCassette] = []
        for row in files:
            self.cassettes.append(ReviewedCassette(*row))
            self._read(self.cassettes[-1])

    @property
    def items(self) -> list[Item]:
        """All questions, those of the kind ``details`` last."""
        found = [Item(cassette, each) for cassette in self.cassettes for each in cassette.proposals]
        wanted = [item for item in found if not self._kinds or item.proposal.kind in self._kinds]
        return sorted(wanted, key=lambda item: item.proposal.kind == "details")

    @property
    def waiting(self) -> list[Item]:
        """The questions without a decision. To skip is a decision, too: the question returns in the next review."""
        return [item for item in self.items if self.choice_of(item) is None]

    def choice_of(self, item: Item) -> Choice | None:
        """Return the last decision about a question, or None."""
        return item.cassette.choices.get(item.id)

    def group_of(self, item: Item) -> list[Item]:
        """Return the questions with the same difference, this one among them."""
        group = item.proposal.group
        return [each for each in self.items if each.proposal.group == group]

    def chain_of(self, item: Item) -> list[Item]:
        """Return the questions of the same conversation, this one among them."""
        chain = item.proposal.chain
        return [each for each in self.items if each.proposal.chain == chain] if chain else [item]

    def find(self, identifier: str) -> Item | None:
        """Return the question with an id, or None."""
        return next((item for item in self.items if item.id == identifier), None)

    def decide(self, items: Sequence[Item], choice: Choice) -> None:
        """Decide some questions together, so that one ``undo`` takes all of it back. Raises ``CassetteWriteError``."""
        step = 1 + max((row.step for each in self.cassettes for row in each.decisions), default=0)
        for cassette in self.cassettes:
            new = [Decision(step, item.id, choice) for item in items if item.cassette is cassette]
            if new:
                self._keep(cassette, [*cassette.decisions, *new])

    def undo(self) -> list[Item]:
        """Take back the last decision, and return its questions; none if there was none.

        Raises ``CassetteWriteError``.
        """
        step = max((row.step for each in self.cassettes for row in each.decisions), default=0)
        undone: list[Item] = []
        for cassette in self.cassettes:
            last = {row.proposal for row in cassette.decisions if row.step == step}
            if last:
                self._keep(cassette, [row for row in cassette.decisions if row.step != step])
                undone += [Item(cassette, each) for each in cassette.proposals if each.id in last]
        return undone

    def refresh(self) -> list[ReviewedCassette]:
        """Read files again that have changed, and return their cassettes. Decisions about the same proposals stay."""
        changed = [each for each in self.cassettes if _state_of(each) != each.state]
        for cassette in changed:
            self._read(cassette)
        return changed

    def apply(self) -> list[Outcome]:
        """Write the accepted and rejected proposals, one cassette after another. Skipped ones keep waiting.

        A cassette that has changed since it was read, so that the proposals differ, is not written.
        """
        chosen = [(each, self._choices(each)) for each in self.cassettes if each.pending.exists() and not each.problem]
        # Cassettes without proposals are written, too, because that removes their pending files.
        writing = [(each, choices) for each, choices in chosen if choices or not each.proposals]
        self._begin_to_write([each for each, _ in writing])
        return [self._write(each, choices) for each, choices in writing]

    def apply_only(
        self, decided: Collection[tuple[Item, Choice]], idle: Collection[ReviewedCassette] = ()
    ) -> list[Outcome]:
        """Accept or reject only these questions. Decisions about others are kept, but not written.

        ``idle`` are cassettes without proposals, whose pending files are removed.
        """
        chosen = [
            (each, {item.id: choice == "accept" for item, choice in decided if item.cassette is each})
            for each in self.cassettes
        ]
        writing = [(each, choices) for each, choices in chosen if choices or each in idle]
        self._begin_to_write([each for each, _ in writing])
        outcomes: list[Outcome] = []
        for cassette, choices in writing:
            kept = [row for row in cassette.decisions if row.proposal not in choices]
            outcomes.append(self._write(cassette, choices))
            if kept:
                self._keep(cassette, kept)
        return outcomes

    def _begin_to_write(self, cassettes: Sequence[ReviewedCassette]) -> None:
        self.outcomes = []
        if cassettes:
            forget_before([each.root for each in self.cassettes])

    def _write(self, cassette: ReviewedCassette, choices: dict[str, bool]) -> Outcome:
        try:
            applied = apply_choices(
                cassette.pending, cassette.root, choices, self._key_of, self._rules, name=cassette.name
            )
        except ChangedMeanwhile:
            outcome = Outcome(cassette.name, problem=_CHANGED)
        except (AquilaError, OSError) as error:
            outcome = Outcome(cassette.name, problem=reason_of(error))
        else:
            outcome = Outcome(cassette.name, applied)
        self.outcomes = [*(self.outcomes or ()), outcome]
        self._read(cassette)
        return outcome

    def _choices(self, cassette: ReviewedCassette) -> dict[str, bool]:
        return {proposal: choice == "accept" for proposal, choice in cassette.choices.items() if choice != "skip"}

    def begin(self) -> None:
        """Take back what a killed review has half written, and ask questions again that were skipped.

        The caller must hold the lock of ``hold_reviews``.
        """
        roots = {each.root for each in self.cassettes}
        undo_interrupted(roots)
        self.refresh()
        forget_gone(roots)
        for cassette in self.cassettes:
            self._read_decisions(cassette)
            kept = [row for row in cassette.decisions if cassette.choices[row.proposal] != "skip"]
            if kept != cassette.decisions:
                self._keep(cassette, kept)

    def _keep(self, cassette: ReviewedCassette, decisions: list[Decision]) -> None:
        cassette.file.write(decisions)
        _set_decisions(cassette, decisions)

    def _read(self, cassette: ReviewedCassette) -> None:
        """Read the proposals of a cassette's pending file, and the kept decisions about them."""
        cassette.proposals, cassette.problem, cassette.is_newer = (), "", False
        cassette.state = _state_of(cassette)
        try:
            if cassette.pending.exists():
                waiting = cassette_files.load_cassette(cassette.pending)
                stored = cassette_files.load_cassette_or_empty(cassette.path)
                large_bodies.check_bodies(waiting)
                found = compare_versions(stored, waiting, self._key_of, self._rules, name=cassette.name)
                cassette.proposals = found.proposals
                cassette.is_newer = _is_newer(cassette)
        except (AquilaError, OSError) as error:
            cassette.problem = reason_of(error)
            return
        self._read_decisions(cassette)

    def _read_decisions(self, cassette: ReviewedCassette) -> None:
        """Read the kept decisions, without those about proposals that do not exist any more."""
        known = {each.id for each in cassette.proposals}
        _set_decisions(cassette, [row for row in cassette.file.read() if row.proposal in known])


def _set_decisions(cassette: ReviewedCassette, decisions: list[Decision]) -> None:
    cassette.decisions = decisions
    cassette.choices = {row.proposal: row.choice for row in decisions}


_CHANGED = "its files have changed since they were read, so nothing was written; review them again"


def _state_of(cassette: ReviewedCassette) -> tuple[object, ...]:
    """Return a value that changes when the cassette or its pending file is written."""
    path = cassette.path
    return path, state_of(path), state_of(cassette.pending)


def _is_newer(cassette: ReviewedCassette) -> bool:
    path = cassette.path
    return path.exists() and path.stat().st_mtime_ns > cassette.pending.stat().st_mtime_ns


def choose_proposals(review: Review, name: str, wanted: Iterable[str], kinds: Collection[ProposalKind]) -> list[Item]:
    """Return the ``wanted`` questions of the cassette ``name``; if there are none, all of the ``kinds``.

    A text in ``wanted`` is the number of a recording, or an id, or at least the first 6 characters of one. Raises
    ``CassetteError`` for a text that fits no question or several.
    """
    items = [item for item in review.items if item.cassette.name == name]
    chosen: dict[str, Item] = {}
    for word in wanted:
        found = [item for item in items if word in (str(item.proposal.number), item.id)]
        found = found or [item for item in items if len(word) >= 6 and item.id.startswith(word)]
        if len(found) != 1:
            many = f"means {len(found)} of its questions" if found else "is none of its questions"
            numbers = ", ".join([f"{item.proposal.number} ({item.id[:8]})" for item in items[:10]])
            raise CassetteError(f"{name}: {word} {many}; they are: {numbers or 'none'}")
        chosen[found[0].id] = found[0]
    return list(chosen.values()) or [item for item in items if item.proposal.kind in kinds]

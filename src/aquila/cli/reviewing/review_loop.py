"""Asks the questions of ``aquila cassettes review`` in a terminal, one after another, and acts on the keys."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from aquila.cassettes.model import Interaction
from aquila.cli.output import shorten_path
from aquila.cli.reviewing.review_keys import QUIT, Keys
from aquila.cli.reviewing.review_screen import Screen
from aquila.review.kept_decisions import Choice
from aquila.review.reviewing import Item, Outcome, Review
from aquila.review.tested_by import TestPlace
from aquila.review.texts import tell_details
from aquila.review.views import ProposalView

_CHOICES: dict[str, Choice] = {"a": "accept", "r": "reject", "s": "skip"}
_GROUP_CHOICES: dict[str, Choice] = {"A": "accept", "R": "reject"}
_CHAIN_CHOICES: dict[str, Choice] = {"C": "accept", "X": "reject"}
_MOST_NAMED = 5
_EDITORS_WITH_PLUS = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "micro", "joe", "kak", "gedit", "ed")
_EDITORS_WITH_PLACES: dict[str, tuple[str, ...]] = {
    "code": ("--wait", "-g"), "codium": ("--wait", "-g"), "cursor": ("--wait", "-g"), "subl": ("--wait",),
    "zed": ("--wait",), "hx": (),
}  # fmt: skip
DONE: dict[str, str] = {"accept": "accepted", "reject": "rejected", "skip": "skipped"}

HELP = (
    "a  accept: the cassette takes it",
    "r  reject: the cassette stays as it is, and this recording is dropped",
    "s  skip: it keeps waiting",
    "A  accept all with the same difference",
    "R  reject all with the same difference",
    "C  accept all of this conversation",
    "X  reject all of this conversation",
    "u  undo the last decision",
    "e  expand: show everything, also what is the same",
    "d  details: both recordings as they are",
    "o  open the test in $VISUAL or $EDITOR",
    "w  write the decisions to the cassettes now",
    "q  quit; decisions are kept, and the next review continues",
    "?  this help",
)
_AFTERWARDS = "w write  u undo  q keep for later"


class Loop:
    """Asks the questions of a review at a terminal, on one thread.

    ``view`` and ``clean`` return what is shown of a question, without secrets; ``find_tests`` the tests of its
    cassette.
    """

    def __init__(
        self,
        review: Review,
        screen: Screen,
        view: Callable[[Item], ProposalView],
        clean: Callable[[Interaction], Interaction],
        find_tests: Callable[[Item], Sequence[TestPlace]],
    ) -> None:
        self._review, self._screen = review, screen
        self._view, self._clean, self._find_tests = view, clean, find_tests
        self._keys = Keys()
        self._expanded = False
        self._shown = ""
        self._actions: dict[str, Callable[[Item], None]] = {
            "u": lambda item: self._undo(),
            "e": self._expand,
            "d": self._show_details,
            "o": self._open_test,
            "?": lambda item: self._screen.print_raw("keys", HELP),
        }

    def run(self) -> list[Outcome] | None:
        """Ask until everything is decided or the user quits. Returns the outcomes; None if nothing was written."""
        with self._keys:
            while True:
                self._tell_changes()
                waiting = self._review.waiting
                key = self._ask(waiting[0]) if waiting else self._ask_to_write()
                if key == QUIT:
                    return None
                if key == "w":
                    return self._review.apply()

    def _ask(self, item: Item) -> str:
        if self._shown != item.id:
            self._show(item)
            self._shown = item.id
        key = self._keys.read()
        if key in _CHOICES:
            self._decide([item], _CHOICES[key])
        elif key in _GROUP_CHOICES:
            self._decide([each for each in self._review.group_of(item) if self._is_open(each)], _GROUP_CHOICES[key])
        elif key in _CHAIN_CHOICES:
            self._decide([each for each in self._review.chain_of(item) if self._is_open(each)], _CHAIN_CHOICES[key])
        elif key in self._actions:
            self._actions[key](item)
        elif key not in (QUIT, "w") and key.isprintable() and key:
            self._screen.print_line(f"{key} is no key here; ? lists them", "yellow")
        return key

    def _ask_to_write(self) -> str:
        if self._shown != _AFTERWARDS:
            self._screen.print_line()
            self._screen.print_line(f"all decided: {count_choices(self._review)}. Nothing is written yet.", "bold")
            self._screen.print_line(_AFTERWARDS, "cyan")
            self._shown = _AFTERWARDS
        key = self._keys.read()
        if key == "u":
            self._undo()
        return key

    def _tell_changes(self) -> None:
        for cassette in self._review.refresh():
            what = f": {cassette.problem}" if cassette.problem else ", and was read again"
            self._screen.print_line(f"{cassette.name} has changed on disk{what}", "yellow")
            self._shown = ""

    def _show(self, item: Item) -> None:
        items, group, chain = self._review.items, self._review.group_of(item), self._review.chain_of(item)
        number = 1 + next(at for at, each in enumerate(items) if each.id == item.id)
        self._screen.print_line()
        self._screen.show_question(
            item,
            self._view(item),
            self._find_tests(item),
            place=f"{number} of {len(items)}",
            group=len(group),
            chain=len(chain),
            expanded=self._expanded,
        )
        self._screen.print_line()
        every = f"  A all {len(group)}" if len(group) > 1 else ""
        every += f"  C conversation of {len(chain)}" if len(chain) > 1 else ""
        self._screen.print_line(f"a accept  r reject  s skip{every}  u undo  e expand  o test  q quit  ? help", "cyan")

    def _is_open(self, item: Item) -> bool:
        return self._review.choice_of(item) in (None, "skip")

    def _decide(self, items: list[Item], choice: Choice) -> None:
        self._review.decide(items, choice)
        self._expanded = False
        first = items[0]
        what = f"{first.cassette.name} #{first.proposal.number}" if len(items) == 1 else f"all {len(items)}"
        self._screen.print_line(f"{DONE[choice]} {what}; u undoes", "bold")

    def _undo(self) -> None:
        undone = self._review.undo()
        names = ", ".join([f"{item.cassette.name} #{item.proposal.number}" for item in undone[:_MOST_NAMED]])
        names += f" and {len(undone) - _MOST_NAMED} more" if len(undone) > _MOST_NAMED else ""
        self._screen.print_line(f"undone: {names}" if undone else "there is nothing to undo", "bold")
        self._shown = "" if undone else self._shown

    def _expand(self, item: Item) -> None:
        self._expanded = not self._expanded
        self._shown = ""

    def _show_details(self, item: Item) -> None:
        for title, interaction in (("as it is stored", item.proposal.was), ("as it was recorded", item.proposal.now)):
            if interaction is not None:
                self._screen.print_raw(title, tell_details(self._clean(interaction)))
        self._shown = ""

    def _open_test(self, item: Item) -> None:
        test = next((test for test in self._find_tests(item) if test.file is not None), None)
        if test is None or test.file is None:
            self._screen.print_line("no test is known that uses this cassette", "yellow")
            return
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        place = f"{shorten_path(test.file)}:{test.line}"
        if not editor:
            self._screen.print_line(f"{place} (set VISUAL or EDITOR, so that o opens it)", "yellow")
            return
        self._screen.print_line(f"opening {place}")
        with self._keys.pause():
            problem = open_in_editor(editor, test.file, test.line)
        if problem:
            self._screen.print_line(problem, "yellow")
        self._shown = ""


def count_choices(review: Review) -> str:
    """Return how many questions were accepted, rejected and skipped, and how many are open."""
    choices = [review.choice_of(item) for item in review.items]
    parts = [f"{choices.count(choice)} {done}" for choice, done in DONE.items() if choice in choices]
    if None in choices:
        parts.append(f"{choices.count(None)} open")
    return ", ".join(parts) or "nothing"


def open_in_editor(editor: str, file: Path, line: int) -> str:
    """Open a file at a line in an editor, and wait for it to end. Returns a problem, or an empty text."""
    try:
        words = shlex.split(editor)
        name = Path(words[0]).stem.lower()
        if name in _EDITORS_WITH_PLACES:
            words += [*_EDITORS_WITH_PLACES[name], f"{file}:{line}"]
        else:
            words += [f"+{line}", str(file)] if name in _EDITORS_WITH_PLUS else [str(file)]
        done = subprocess.run(words, check=False)
    except (OSError, ValueError, IndexError) as error:
        return f"{editor} could not be run: {error}"
    return f"{editor} ended with {done.returncode}" if done.returncode else ""

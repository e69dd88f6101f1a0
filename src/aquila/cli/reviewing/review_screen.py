"""Prints the questions of ``aquila cassettes review`` in a terminal of any width."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from aquila.cli.output import escape_controls
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.recording.secrets import outgoing
from aquila.review.reviewing import Item
from aquila.review.tested_by import TestPlace
from aquila.review.views import ProposalView
from aquila.run_report.word_diff import Change

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import text as rich_text
else:
    lazy_modules(globals(), "rich: console as rich_console, text as rich_text")

_AROUND = 90
"""How many unchanged characters are shown before and after a change."""
_LONGEST = 1_500
"""How many characters of a new or removed text are shown. The rest is folded."""
_MOST_FIELDS = 12
_MOST_TESTS = 3
_STYLES = {"same": "", "removed": "red strike", "added": "green"}
SIGNS = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
"""The signs before and after a changed text, as in git's word diff."""


class Screen:
    """Prints questions. In a terminal without colours, changed words stand in signs, as in git's word diff."""

    def __init__(self) -> None:
        self._console = rich_console.Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
        self._has_colours = self._console.color_system is not None and not self._console.no_color

    def show_question(
        self,
        item: Item,
        view: ProposalView,
        tests: Sequence[TestPlace],
        *,
        place: str,
        group: int,
        chain: int,
        expanded: bool,
    ) -> None:
        """Print a question. ``place``: such as ``3 of 17``. ``group``: how many questions have the same difference.

        ``chain``: how many questions belong to the same conversation. ``expanded``: show everything, without folding.
        """
        self._console.rule(_clean(f"{place} · {view.title}"), characters="─", align="left", style="bold")
        self.print_line(f"{item.cassette.name}  #{item.proposal.number}", "bold")
        self.print_line(view.request)
        for test in tests[:_MOST_TESTS]:
            self.print_line(f"test {test.id}")
        if len(tests) > _MOST_TESTS:
            self.print_line(f"and {count_of(len(tests) - _MOST_TESTS, 'more test')}")
        if group > 1:
            self.print_line(describe_group(item, group), "bold")
        if chain > 1:
            self.print_line(
                f"one of {chain} in a conversation: requests name ids of other answers, so decide all together", "bold"
            )
        if item.cassette.is_newer and item.proposal.kind == "gone":
            self.print_line("the cassette has changed since: this recording may be newer than what waits", "yellow")
        self._print_facts(view)
        self._print_words("prompt", view.prompt, expanded)
        self._print_words("answer", view.answer, expanded)
        self._print_fields(view, expanded)

    def _print_facts(self, view: ProposalView) -> None:
        self._console.print()
        for name, was, now in view.facts:
            if was == now or not (was and now):
                self.print_line(f"{name:<12} {now or was}")
            else:
                self._console.print(self._join([("same", f"{name:<12} "), ("removed", was), ("added", now)]))

    def _print_words(self, name: str, pieces: Sequence[Change], expanded: bool) -> None:
        if not pieces:
            return
        self._console.print()
        is_same = all(kind == "same" for kind, _ in pieces)
        self.print_line(f"{name} (the same)" if is_same else name, "bold")
        self._console.print(self._join(pieces if expanded else fold_pieces(pieces)))

    def _print_fields(self, view: ProposalView, expanded: bool) -> None:
        shown = view.fields if expanded else view.fields[:_MOST_FIELDS]
        if shown:
            self._console.print()
            self.print_line("also different", "bold")
        for each in shown:
            pieces = each.compare_words(view.steps)
            self._console.print(
                self._join([("same", f"{each.path}: "), *(pieces if expanded else fold_pieces(pieces))])
            )
        left = len(view.fields) - len(shown) + view.left_out
        if left:
            self.print_line(f"… and {count_of(left, 'more field')}", "dim")

    def _join(self, pieces: Iterable[Change]) -> rich_text.Text:
        joined = rich_text.Text()
        for kind, text in pieces:
            before, after = ("", "") if self._has_colours else SIGNS[kind]
            joined.append(f"{before}{_clean_text(text)}{after}", _STYLES[kind] if self._has_colours else "")
        return joined

    def print_raw(self, title: str, lines: Iterable[str]) -> None:
        """Print lines, each wrapped, below a title."""
        self.print_line(title, "bold")
        for line in lines:
            self.print_line(line)
        self._console.print()

    def print_line(self, text: str = "", style: str = "") -> None:
        """Print one line in a style of rich."""
        self._console.print(rich_text.Text(_clean(text), style))


def describe_group(item: Item, count: int) -> str:
    """Return a line that says how many questions share the difference of ``item``."""
    others = {
        "prompt": f"group of {count} with the same change of the prompt, whatever the answers",
        "answer": f"group of {count} with the same change of the answer",
        "new": f"one of {count} that are new in this cassette",
        "gone": f"one of {count} that would vanish from this cassette",
        "details": f"one of {count} of which only times, ids, token counts or headers changed",
    }
    return others[item.proposal.kind]


def fold_pieces(pieces: Sequence[Change]) -> Iterator[Change]:
    """Yield the pieces, with long texts shortened: unchanged ones to the parts near changes, others to a beginning."""
    for at, (kind, text) in enumerate(pieces):
        if kind != "same":
            yield kind, _cut(text, _LONGEST)
            continue
        if len(pieces) == 1:
            yield kind, _cut(text, _LONGEST // 3)
            continue
        head = 0 if at == 0 else _end_of_word(text, _AROUND)
        tail = 0 if at == len(pieces) - 1 else _end_of_word(text[::-1], _AROUND)
        hidden = len(text) - head - tail
        if hidden <= 60:
            yield kind, text
        else:
            yield kind, f"{text[:head]} … {hidden:,} characters are the same … {text[len(text) - tail :]}"


def _end_of_word(text: str, around: int) -> int:
    """Return the next place from ``around`` on at which a word ends, or ``around`` if none is near."""
    found = re.compile(r"\s").search(text, around, around + 30)
    return found.start() if found is not None else around


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most + 60 else f"{text[:most]} … {len(text) - most:,} more characters"


def _clean(text: str) -> str:
    return escape_controls(outgoing.redact_outgoing(text))


def _clean_text(text: str) -> str:
    """Remove secrets, and escape control characters; line ends stay."""
    return "\n".join(map(escape_controls, outgoing.redact_outgoing(text).split("\n")))

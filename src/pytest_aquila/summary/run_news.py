"""The news of a run: what happened, how often, to which tests or files, and the next command. Also their order."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import pytest

from aquila.quick_records import NamedTuple
from aquila.recording.secrets import outgoing
from pytest_aquila.run_life import NEWS
from pytest_aquila.summary import summary_layout
from pytest_aquila.summary.summary_layout import Colour, Line


class NewsKind(enum.IntEnum):
    """The kinds of news, the most important first.

    ``UNHEARD`` is the first, because it fails a run in which pytest may name no failed test. News that an option asks
    for come before those that no option asks for.
    """

    UNHEARD = enum.auto()  # refused requests for which no test can fail any more
    NOT_STORED = enum.auto()  # recordings that could not be written
    NOT_TAKEN_OVER = enum.auto()  # journals of interrupted runs that could not be stored
    MISSES = enum.auto()
    BUDGET_SPENT = enum.auto()
    FAILED_REPORT = enum.auto()  # a file that an option names could not be written
    UNUSED = enum.auto()  # cassettes that no test used
    UNKNOWN_USE = enum.auto()  # why this run cannot tell which cassettes are unused
    WAITS_IN_JOURNALS = enum.auto()  # recordings of interrupted runs
    RENAMED = enum.auto()  # recordings under the earlier name of a test
    UNGUARDED = enum.auto()  # clients that the guard cannot watch
    REFUSED = enum.auto()
    KEPT_BESIDE = enum.auto()  # pending recordings of tests that failed
    FOR_REVIEW = enum.auto()  # pending recordings of a run with `=pending`
    WAITS_SINCE_BEFORE = enum.auto()  # pending recordings of earlier runs
    STALE = enum.auto()  # old recordings that were played
    UNPLAYED = enum.auto()
    EMPTIED = enum.auto()  # cassettes that are removed, because their tests sent no request
    UNASKED = enum.auto()  # requests that no test has started
    CONTENTS_DIFFER = enum.auto()  # drifted requests that the matchers of another recorder accept
    SENTENCE = enum.auto()  # sentences that workers of pytest-xdist could not show at once
    RAN_TWICE = enum.auto()  # tests in which a conversation drifted while it was recorded
    TOOK_OVER = enum.auto()  # journals of interrupted runs that were stored
    SUPERSEDED = enum.auto()  # pending recordings of earlier runs that are gone
    BUDGET_LEFT = enum.auto()
    KEPT_UNUSED = enum.auto()  # unused cassettes that may still be needed
    NOTED = enum.auto()

    @property
    def is_error(self) -> bool:
        """Whether something went wrong. It is shown even with ``-qq``."""
        return self <= NewsKind.FAILED_REPORT

    @property
    def needs_action(self) -> bool:
        """Whether the user should do something. ``-q`` shows only such news."""
        return self <= NewsKind.CONTENTS_DIFFER


class News(NamedTuple):
    """One kind of news.

    ``text`` says what happened and how often, without a full stop. ``names`` are the tests or files that it is about;
    the first ``most_names`` are shown, after ``joint``. ``command`` is the next command, and ``lead`` a sentence before
    it. With ``-v`` the lines of ``details`` replace the names, and ``title`` replaces the text.
    """

    kind: NewsKind
    text: str
    names: Sequence[str] = ()
    command: str = ""
    lead: str = ""
    details: Sequence[str] = ()
    joint: str = ":"
    most_names: int = summary_layout.MOST_NAMES
    title: str = ""

    @property
    def colour(self) -> Colour:
        """The colour of the lines of this news."""
        return "red" if self.kind.is_error else "yellow" if self.kind.needs_action else ""

    def as_shown(self, most_names: int) -> News:
        """Return this news without secrets and control characters. Only the first ``most_names`` names are cleaned."""
        return self._replace(
            text=clean_text(self.text),
            names=[*map(clean_text, self.names[:most_names]), *self.names[most_names:]],
            command=clean_text(self.command),
            lead=clean_text(self.lead),
            details=list(map(clean_text, self.details)),
        )


def clean_text(text: str) -> str:
    """Return a text without secrets and with control characters escaped."""
    lines = outgoing.redact_label(text).split("\n")
    return "\n".join([line if line.isprintable() else _escape(line) for line in lines])


def _escape(text: str) -> str:
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])


def add_news(config: pytest.Config, *news: News) -> None:
    """Add news to the summary of the run.

    Call it before the summary is written: at the latest in a hook ``pytest_terminal_summary`` that is not a wrapper.
    """
    config.stash.setdefault(NEWS, []).extend(news)


def lay_out_news(news: Iterable[News], *, verbosity: int, width: int, last: Line) -> list[Line]:
    """Return the lines of a summary that ends with the line ``last``, if that is not empty.

    ``verbosity`` is that of pytest: 1 shows all news in full, -1 only news that needs action, -2 only errors. ``width``
    is that of the terminal in characters.
    """
    rows = sorted(news, key=lambda row: row.kind)
    if verbosity < 0:
        rows = [row for row in rows if (row.kind.needs_action if verbosity == -1 else row.kind.is_error)]
    end = summary_layout.wrap_prose([last.text], width)
    if verbosity > 0:
        shown = [row.as_shown(len(row.names)) for row in rows]
        lines = [line for row in shown for line in summary_layout.lay_out_all(row, width)]
    else:
        shown = [row.as_shown(summary_layout.MOST_NAMES) for row in rows]
        lines = summary_layout.lay_out(shown, width, summary_layout.MOST_LINES - len(end))
    return [*lines, *(Line(text, last.colour) for text in end)]

"""The summary of a run: at most eight lines, whole words and commands, whatever happened and wherever it is shown."""

from __future__ import annotations

import shlex
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aquila.summary import record_commands
from pytest_aquila.summary.run_news import News, NewsKind, lay_out_news
from pytest_aquila.summary.run_totals import RunTotals
from pytest_aquila.summary.summary_layout import MOST_LINES, Line
from pytest_aquila.summary.totals_news import describe_totals
from tests.plugin.conftest import Project

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=12)
LONG_NAMES = st.builds(
    lambda file, test, letter: f"tests/{letter * file}.py::test_{letter * test}[a b]",
    st.integers(1, 120),
    st.integers(1, 250),
    st.sampled_from("abc"),
)
NAMES = st.one_of(WORDS, LONG_NAMES)
TEXTS = st.lists(WORDS, min_size=1, max_size=60).map(" ".join)
COMMANDS = st.one_of(st.just(""), NAMES.map(lambda name: f"pytest {shlex.quote(name)} --aquila-record"))
NEWS = st.builds(
    News, st.sampled_from(NewsKind), TEXTS, st.lists(NAMES, max_size=8), COMMANDS, st.one_of(st.just(""), TEXTS)
)
LAST = Line("aquila: 3 replayed, 0 recorded, 0 missed")


def rows_of(lines: list[Line], width: int) -> int:
    """The lines of a terminal that some lines of ASCII take."""
    return sum(max(1, -(-len(line.text) // width)) for line in lines)


@given(st.lists(NEWS, max_size=12), st.integers(-2, 0), st.sampled_from([40, 80, 200]))
def test_news_is_told_in_eight_lines_and_no_word_name_or_command_is_broken(
    news: list[News], verbosity: int, width: int
) -> None:
    lines = lay_out_news(news, verbosity=verbosity, width=width, last=LAST)
    assert lines[-1].text == LAST.text
    whole = {word for row in news for text in (row.text, row.lead) for word in text.split()}
    whole |= {name for row in news for name in row.names} | {row.command for row in news}
    if all(line.text.isascii() for line in lines) and all(len(row.command) < width for row in news):
        assert rows_of(lines, width) <= MOST_LINES
    for line in lines[:-1]:
        if line.text.isascii() and len(line.text) > width:
            assert line.text.strip().rstrip(",.:") in {each.rstrip(",.:") for each in whole}


def test_what_is_most_important_is_told_and_the_rest_is_counted() -> None:
    news = [
        News(kind, f"news of {kind.name}", command=f"aquila {kind.name}" + " x" * 25) for kind in reversed(NewsKind)
    ]
    lines = [line.text for line in lay_out_news(news, verbosity=0, width=80, last=LAST)]
    assert [line[:30] for line in lines] == [
        "aquila: news of UNHEARD",
        "  aquila UNHEARD x x x x x x x",
        "aquila: news of NOT_STORED",
        "  aquila NOT_STORED x x x x x ",
        "aquila: news of NOT_TAKEN_OVER",
        "  aquila NOT_TAKEN_OVER x x x ",
        f"aquila: and {len(NewsKind) - 3} more: pytest -v",
        LAST.text[:30],
    ]


def test_what_an_option_asks_for_and_what_alone_fails_the_run_are_not_among_the_news_that_are_only_counted() -> None:
    # As a run with --aquila-orphans tells of a suite with something of everything.
    remove = "aquila cassettes prune --orphans build/reports/cassettes-that-no-test-used.json"
    asked = News(NewsKind.UNUSED, "no test used 2 cassettes", ["a.yaml", "b.yaml"], remove, "To remove them:")
    alone = News(NewsKind.UNHEARD, "1 request of a child process was refused", ["test_a.py::test_it"])
    others = (
        NewsKind.MISSES,
        NewsKind.RENAMED,
        NewsKind.REFUSED,
        NewsKind.KEPT_BESIDE,
        NewsKind.STALE,
        NewsKind.UNPLAYED,
        NewsKind.UNASKED,
    )
    news = [*(News(kind, f"news of {kind.name}", command="aquila " + "x " * 33) for kind in others), asked, alone]
    shown = "\n".join(line.text for line in lay_out_news(news, verbosity=0, width=80, last=LAST))
    assert alone.text in shown
    assert asked.command in shown
    assert "more: pytest -v" in shown


def test_the_reason_of_an_error_is_told_behind_a_long_path_and_long_news_hide_no_short_ones() -> None:
    path = "/home/runner/" + "application/" * 8 + "test_answers_in_german.yaml"
    news = [
        News(NewsKind.NOT_STORED, f"not stored: {path}: [Errno 28] No space left on device"),
        News(NewsKind.RENAMED, "renamed", command="aquila " + "x " * 300),
        News(NewsKind.REFUSED, "refused", ["a"]),
        News(NewsKind.KEPT_BESIDE, "kept " * 60, ["b"]),
        News(NewsKind.UNPLAYED, "not played", ["d"]),
    ]
    assert [line.text for line in lay_out_news(news, verbosity=0, width=80, last=LAST)] == [
        "aquila: not stored:",
        f"  {path}:",
        "  [Errno 28] No space left on device",
        "aquila: refused: a",
        "aquila: " + "kept " * 14 + "…",
        "aquila: and 2 more: pytest -v",
        LAST.text,
    ]


def test_quiet_runs_tell_what_is_to_be_done_and_very_quiet_ones_what_went_wrong() -> None:
    news = [
        News(NewsKind.TOOK_OVER, "took over"),
        News(NewsKind.UNPLAYED, "unplayed"),
        News(NewsKind.NOT_STORED, "not stored"),
    ]

    def told(verbosity: int) -> list[str]:
        return [line.text for line in lay_out_news(news, verbosity=verbosity, width=80, last=Line(""))]

    assert told(0) == ["aquila: not stored", "aquila: unplayed", "aquila: took over"]
    assert told(-1) == ["aquila: not stored", "aquila: unplayed"]
    assert told(-2) == ["aquila: not stored"]


def test_everything_is_told_on_request() -> None:
    names = [f"tests/test_{n}.py::test[a b]" for n in range(100)]
    lines = lay_out_news([News(NewsKind.UNUSED, "unused", names)], verbosity=1, width=80, last=LAST)
    assert [line.text for line in lines] == ["aquila: unused:", *(f"  {name}" for name in names), LAST.text]


@pytest.mark.parametrize(
    ("width", "command"),
    [
        (80, "pytest tests/test_a.py::test_x 'tests/test_a.py::test_y[1]' --aquila-record"),
        (60, "pytest tests/test_a.py --aquila-record"),
        (30, "pytest --lf --aquila-record"),
        (10, "pytest --aquila-record"),
    ],
)
def test_a_command_is_as_exact_as_the_terminal_is_wide(width: int, command: str) -> None:
    tests = ["tests/test_a.py::test_x", "tests/test_a.py::test_y[1]"]
    assert record_commands.record_command(tests, width, just_failed=True) == command


MANY = """
    import os, pathlib

    @pytest.mark.parametrize("city", ["Ålesund", "a [b] c", "x" * 300])
    def test_city(aquila_cassette, city):
        post(f"{city} is where?")

    @pytest.mark.aquila("shared")
    def test_fails():
        post("fails")
        assert "LATER" in os.environ

    def test_stale(aquila_cassette):
        post("stale")

    def test_plays_less(aquila_cassette):
        post("a")
        if "LATER" not in os.environ:
            post("b")
"""


@pytest.fixture
def many(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose next run has news of several kinds."""
    project.record(tests=MANY).assert_outcomes(passed=5, failed=1)
    (path,) = project.cassettes.glob("test_app/test_stale.yaml")
    lines = path.read_text().splitlines()
    path.write_text("\n".join("  recorded: 2020-01-01T00:00:00Z" if "recorded: 20" in line else line for line in lines))
    project.pytester.makeini("[pytest]\naquila_unplayed = warn\naquila_max_age = 90d\n")
    monkeypatch.setenv("LATER", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("PY_COLORS", "0")
    project.pytester.makepyfile(
        test_app="from app import post\nimport aquila, pytest\n"
        + textwrap.dedent(MANY).replace("is where?", "is there?")
    )
    return project


def summary(result: pytest.RunResult) -> list[str]:
    """The lines from the first one of the summary to its last."""
    lines = result.outlines
    start = next(n for n, line in enumerate(lines) if "aquila: " in line)
    end = max(n for n, line in enumerate(lines) if " replayed, " in line)
    return lines[start : end + 1]


@pytest.mark.parametrize("width", [40, 80])
def test_a_run_with_much_to_tell_tells_it_in_eight_lines(
    many: Project, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = summary(many.run("--tb=no"))
    assert len(lines) <= MOST_LINES
    assert lines[0].startswith("aquila: 4 tests miss, 3 of them")
    assert all(len(line) <= width or line.startswith("  pytest ") for line in lines)


COLOURED: list[tuple[tuple[str, ...], dict[str, str], bool]] = [
    ((), {}, False),
    (("--color=yes",), {}, True),
    (("--color=yes",), {"NO_COLOR": "1", "PY_COLORS": ""}, True),  # as pytest's own lines
    ((), {"FORCE_COLOR": "1", "PY_COLORS": ""}, True),
    ((), {"NO_COLOR": "1", "FORCE_COLOR": "1", "PY_COLORS": ""}, False),
]


def test_lines_are_in_colour_where_those_of_pytest_are(many: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, variables, coloured in COLOURED:  # one project for all: to record it takes longest
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            lines = summary(many.run("--tb=no", *arguments))
        told = arguments, variables, lines
        assert all(line.startswith("\x1b[") and line.endswith("\x1b[0m") for line in lines) == coloured, told
        assert any("\x1b" in line for line in lines) == coloured, told


@pytest.mark.slow
def test_workers_tell_the_same_once_and_an_ascii_terminal_is_served(
    many: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = f"--aquila-upstream={many.module}:transport"
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONUTF8", "0")
    alone = many.pytester.runpytest_subprocess("--tb=no", "-p", "no:xdist", upstream)
    shared = many.pytester.runpytest_subprocess("--tb=no", "-n2", upstream)
    assert sorted(summary(alone)) == sorted(summary(shared))
    assert all(line.isascii() for line in summary(alone))
    assert "\\u2026" not in "\n".join(summary(alone))


def test_the_order_in_which_workers_end_changes_nothing_that_is_told() -> None:
    tests = [f"test_app.py::test_{name}" for name in "cab"]

    def told(order: list[str]) -> list[News]:
        totals = RunTotals()
        for test in order:
            worker = RunTotals()
            worker.missing, worker.changed = [test], [("same", f"prompt of {test}", None, test)]
            totals.merge_worker(worker.as_plain_data(tests))
        totals.sort_tests()
        return list(describe_totals(totals, [], 80, just_failed=False))

    assert told(tests) == told(tests[::-1]) == told(sorted(tests))
    assert told(tests[::-1])[0].names == tests


def test_what_a_test_has_missed_is_told_where_the_run_ends_with_it(project: Project) -> None:
    ending = "pytest.exit('as by q in the debugger')"
    project.pytester.makeconftest(f"import pytest\n\ndef pytest_exception_interact():\n    {ending}\n")
    tests = "def test_one(aquila_cassette): pass\n\ndef test_two(aquila_cassette): post('seals')\n"
    result = project.run("-p", "no:randomly", tests=tests)
    result.stdout.fnmatch_lines(["aquila: 1 test asks what is not recorded: *::test_two. *", "aquila: * 1 missed"])


def test_a_run_without_a_terminal_reports_its_failures_all_the_same(project: Project) -> None:
    result = project.run("-p", "no:terminal", "--junitxml=report.xml", tests="def test_it(aquila_cassette): post('x')")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "CassetteMiss" in (project.pytester.path / "report.xml").read_text()


def test_what_several_processes_tell_alike_is_told_once() -> None:
    totals = RunTotals()
    totals.sentences, totals.unstored = ["the same"] * 2, ["disk full"] * 2
    totals.refused = ["a job for another queue"]
    news = list(describe_totals(totals, [], 80, just_failed=False))
    assert [(one.kind, one.text) for one in news] == [
        (NewsKind.NOT_STORED, "not stored: disk full (2 processes)"),
        (NewsKind.REFUSED, "a job for another queue"),
        (NewsKind.SENTENCE, "the same"),
    ]


@pytest.mark.parametrize("name", [name for name, value in vars(RunTotals()).items() if isinstance(value, list)])
def test_only_what_every_run_fills_is_known_to_be_no_news(name: str) -> None:
    totals = RunTotals()
    assert not totals.tells_more
    setattr(totals, name, [("cassettes", "a", "b", True)])
    if name in ("cassettes", "further", "uses"):
        assert not totals.tells_more
        assert list(describe_totals(totals, [], 80, just_failed=False)) == []
    else:
        assert totals.tells_more

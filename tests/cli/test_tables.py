"""Tables fit the width of the terminal, and names and dates are never cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cli.output import Output, escape_controls, format_size
from aquila.cli.tables import Column, cut_text, display_width, lay_out_table
from tests.cli.conftest import Cassettes, conversation

COLUMNS = (
    Column("NAME"),
    Column("PROMPT", "middle", 12),
    Column("EXTRA", only_if_room=True),
    Column("RECORDED"),
    Column("NOTE", "end", 8),
)
NUMERIC = [False] * 5


@given(
    st.lists(st.tuples(*[st.text(max_size=60).map(escape_controls)] * 3), min_size=1, max_size=6),
    st.integers(52, 200),
)
def test_no_line_is_wider_than_the_terminal_and_no_name_or_date_is_cut(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    table = [(name.strip(), prompt, extra[:9], "2026-11-24", note) for name, prompt, note in rows for extra in [note]]
    lines = lay_out_table(COLUMNS, table, NUMERIC, width)
    names = {name for name, *_ in table}
    assert all(display_width(line) <= width or line in names for line in lines)
    assert sum("2026-11-24" in line for line in lines) >= len(table)
    rest = iter(lines[1:])
    for name in (name for name, *_ in table):
        assert next(line for line in rest if line.startswith(name)) is not None


def test_a_name_that_is_too_long_stands_on_a_line_of_its_own_and_the_others_stay_in_their_columns() -> None:
    long = "tests/" + "very_" * 15 + "long"
    lines = lay_out_table(
        [Column("NAME"), Column("RECORDED")], [("a", "2026-11-24"), (long, "2026-11-25")], [False] * 2, 80
    )
    assert lines[2] == long
    assert lines[1].index("2026-11-24") == lines[3].index("2026-11-25")
    assert all(len(line) <= 80 for line in lines if line != long)


def test_the_widest_column_that_can_be_cut_gives_way_first_and_what_is_optional_goes_before_it_gets_too_short() -> None:
    row = ("name", "p" * 60, "x" * 20, "2026-11-24", "n" * 12)
    lines = lay_out_table(COLUMNS, [row], NUMERIC, 80)
    assert lines[1].split() == ["name", "p" * 13 + "…" + "p" * 12, "x" * 20, "2026-11-24", "n" * 12]
    assert len(lines[1]) == 80
    assert lay_out_table(COLUMNS, [row], NUMERIC, 50)[0].split() == ["NAME", "PROMPT", "RECORDED", "NOTE"]


def test_a_column_without_a_word_is_left_out() -> None:
    row = ("name", "prompt", "", "2026-11-24", "")
    assert lay_out_table(COLUMNS, [row], NUMERIC, 80)[0].split() == ["NAME", "PROMPT", "RECORDED"]


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("日本語", 6), ("e\u0301te\u0301", 3), ("👍", 2), ("\u200b", 0), ("Größe", 5)]
)
def test_wide_and_combining_characters_are_counted_as_terminals_show_them(text: str, width: int) -> None:
    assert display_width(text) == width


@given(st.text(), st.integers(1, 40), st.sampled_from(["end", "middle"]))
def test_a_text_is_cut_to_its_width_and_stays_whole_if_it_fits(text: str, width: int, at: str) -> None:
    cut = cut_text(text, width, at)  # type: ignore[arg-type]
    assert display_width(cut) <= width
    assert (cut == text) == (display_width(text) <= width)


def test_what_is_cut_in_the_middle_keeps_its_beginning_and_its_end() -> None:
    assert cut_text("live gpt-4.1-mini-2025-04-14", 20, "middle") == "live gpt-4…025-04-14"
    assert cut_text("live gpt-4.1-mini-2025-04-14", 20) == "live gpt-4.1-mini-2…"


@pytest.mark.parametrize(
    ("count", "said"),
    [(999, "999 B"), (1000, "1.0 KB"), (999_949, "999.9 KB"), (999_951, "1.0 MB"), (5_000_000_000, "5.0 GB")],
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, said: str) -> None:
    assert format_size(count) == said


def test_line_breaks_in_a_cell_become_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    Output().print_table(("NAME", "WHY"), [("a", "one\n  two\x1b")])
    assert capsys.readouterr().out == "NAME  WHY\na     one two\\x1b\n"


def test_list_and_show_fit_80_columns_without_a_terminal_and_keep_names_and_dates(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    row = replace(
        conversation("q" * 500, "Eine längere Antwort\nüber 日本語 " * 20),
        upstream="live",
        model="claude-opus-4-5-20251101-with-a-long-name",
    )
    cassettes.write("tests/api/test_conversations/test_long_conversation.yaml", *[row] * 3)
    for words in (["list"], ["show", "tests/api/test_conversations/test_long_conversation"]):
        lines = cassettes.run(*words).out.splitlines()
        assert all(display_width(line) <= 80 for line in lines if "/test_long_conversation" not in line)
        assert any("2026-11-24" in line for line in lines)
        assert not any("\\n" in line for line in lines)
    assert "tests/api/test_conversations/test_long_conversation\n" in cassettes.run("list").out

"""The progress line: only on a terminal, after a second, and erased at the end."""

from __future__ import annotations

import importlib.util
import io
import itertools
import sys
from collections.abc import Callable

import pytest

from aquila.cli.progress import track_progress
from tests.cli.conftest import Cassettes, conversation


class Terminal(io.StringIO):
    """A stderr that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal. Not in a fixture: pytest puts its own back before the test."""
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def slow_clock() -> Callable[[], float]:
    """A clock that is half a second on at each look."""
    times = itertools.count(0, 0.5)
    return lambda: next(times)


def test_long_work_shows_a_bar_on_a_terminal_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    assert list(track_progress(range(40), "converting", clock=slow_clock())) == list(range(40))
    assert "converting" in terminal.getvalue()
    assert "/40" in terminal.getvalue()
    assert terminal.getvalue().rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # erased, and the cursor is back


def test_the_bar_is_taken_away_when_the_work_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)

    def work() -> None:
        for item in track_progress(range(40), "converting", clock=slow_clock()):
            if item == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "\x1b[?25h" in terminal.getvalue()


def test_without_rich_there_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "rich" else found(name, *rest))
    assert list(track_progress(range(1000), "converting", clock=slow_clock())) == list(range(1000))
    lines = terminal.getvalue().splitlines()
    assert lines[0] == "aquila: converting: 2 of 1,000"
    assert 20 < len(lines) < 200


def test_short_work_and_quiet_commands_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    assert list(track_progress(range(40), "converting", clock=lambda: 0.0)) == list(range(40))
    assert list(track_progress(range(40), "converting", quiet=True, clock=slow_clock())) == list(range(40))
    assert terminal.getvalue() == ""


def test_nothing_is_shown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    list(track_progress(range(40), "converting", clock=slow_clock()))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["list", "stats", "scan", "convert * --to msgpack"])
def test_commands_with_long_work_can_be_quiet_and_say_what_is_wrong_after_it(
    command: str, cassettes: Cassettes
) -> None:
    cassettes.write("a.yaml", conversation("hi", "ho"))
    (cassettes.folder / "b.yaml").write_text("aquila: 1\ninteractions: {\n")
    done = cassettes.run(*command.split(), "--quiet")
    assert done.code == 2
    assert done.err == ""
    assert f"{cassettes.folder / 'b.yaml'}, line" in done.out

"""The lines about progress: only on a terminal, and after a second."""

from __future__ import annotations

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
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def slow_clock() -> Callable[[], float]:
    """A clock that is half a second on at each look."""
    times = itertools.count(0, 0.5)
    return lambda: next(times)


def test_long_work_writes_a_line_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    assert list(track_progress(range(1000), "converting", clock=slow_clock())) == list(range(1000))
    lines = terminal.getvalue().splitlines()
    assert lines[:2] == ["aquila: converting: 1 of 1,000", "aquila: converting: 11 of 1,000"]
    assert len(lines) == 100


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    assert list(track_progress(range(40), "converting", clock=lambda: 0.0)) == list(range(40))
    assert terminal.getvalue() == ""


def test_nothing_is_shown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    list(track_progress(range(40), "converting", clock=slow_clock()))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["list", "stats", "scan", "convert * --to msgpack"])
def test_commands_with_long_work_say_what_is_wrong_after_it(command: str, cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("hi", "ho"))
    (cassettes.folder / "b.yaml").write_text("aquila: 1\ninteractions: {\n")
    done = cassettes.run(*command.split())
    assert done.code == 2
    assert done.err == ""
    assert " cassettes/b.yaml, line" in done.out

"""The transport ``script``: a file answers, in a program as in a test."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import aquila
import aquila.testing
from aquila.errors import ConfigError, UnscriptedRequest
from aquila.transports import replay
from tests.support.runs import separate_run

SCRIPT = "script:\n- reply: one\n- reply: {chunks: [t, wo], first: 0.01, pace: 0.001}\n- when: many\n  reply: any\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQUILA_TRANSPORT", "script")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_answers_come_from_the_file_that_the_environment_names(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program / "numbers.yaml").write_text(SCRIPT)
    monkeypatch.setenv("AQUILA_SCRIPT", "numbers.yaml")
    with separate_run(program):
        assert aquila.ask("x").text == "one"
        assert asyncio.run(aquila.aask("x")).text == "two"
        assert aquila.ask("many").text == "any"
        with pytest.raises(UnscriptedRequest, match="no answer is scripted for POST"):
            aquila.ask("x")


def test_a_name_among_the_cassettes_will_do_and_it_can_be_recorded_from(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = program / "cassettes" / "scripts"
    folder.mkdir(parents=True)
    (folder / "numbers.script.yaml").write_text(SCRIPT)
    monkeypatch.setenv("AQUILA_SCRIPT", "scripts/numbers")
    with separate_run(program):
        assert aquila.ask("x").text == "one"
    monkeypatch.setenv("AQUILA_TRANSPORT", "record")
    monkeypatch.setenv("AQUILA_UPSTREAM", "script")
    with separate_run(program), aquila.use_cassette("recorded"):
        assert aquila.ask("x").text == "one"
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")
    with separate_run(program), aquila.use_cassette("recorded") as recorded:
        assert aquila.ask("x").text == "one"
        assert recorded.all_played


@pytest.mark.parametrize("given", ["by the file of the run", "as a cassette", "in code", "under a fault"])
def test_times_that_were_written_are_kept_at_every_pace(
    given: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "script:\n- reply: {chunks: [t, wo], first: 4, pace: 0.5}\n"
    (program / "cassettes").mkdir()
    (program / "cassettes" / "numbers.script.yaml").write_text(words)
    slept: list[float] = []
    monkeypatch.setattr(replay.time, "sleep", slept.append)
    with separate_run(program):
        if given == "by the file of the run":
            monkeypatch.setenv("AQUILA_SCRIPT", "numbers")
            assert aquila.ask("x").text == "two"
        elif given == "as a cassette":
            assert aquila.ask("x", cassette="numbers", transport="replay").text == "two"
        else:
            with aquila.testing.use_script(faults="no_usage" if given == "under a fault" else None) as script:
                script.reply(chunks=["t", "wo"], first=4, pace=0.5)
                assert aquila.ask("x").text == "two"
    assert slept == [4.0, 0.5]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (None, "set AQUILA_SCRIPT"),
        ("none", r"there is no such file, here or in \S+$"),
        ("numbrs.yml", r"; did you mean numbers\.script\.yaml\?"),
        ("scripts/numbrs", r"; did you mean \S+numbers\.script\.yaml\?"),
    ],
)
def test_without_a_file_it_says_what_to_set(
    name: str | None, what: str, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name is not None:
        monkeypatch.setenv("AQUILA_SCRIPT", name)
    for folder in (program, program / "cassettes" / "scripts"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "numbers.script.yaml").write_text(SCRIPT)
    with separate_run(program), pytest.raises(ConfigError, match=what):
        aquila.ask("x")

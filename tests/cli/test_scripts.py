"""Script files among cassettes: commands say what such a file is and which tests name it, and move it unchanged."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cassettes

SCRIPT = "script:\n- reply: by hand\n"


@pytest.fixture
def scripts(cassettes: Cassettes) -> Cassettes:
    cassettes.folder.mkdir(exist_ok=True)
    (cassettes.folder / "a.script.yaml").write_text(SCRIPT)
    return cassettes


@pytest.mark.parametrize("named", ["a", "a.script.yaml"])
@pytest.mark.parametrize("words", [("show",), ("diff",), ("convert", "--to", "msgpack"), ("list",), ("stats",)])
def test_commands_that_read_a_cassette_say_that_a_file_is_a_script(
    words: tuple[str, ...], named: str, scripts: Cassettes
) -> None:
    files = (named, named) if words[0] == "diff" else (named,)
    done = scripts.run(*words, *files)
    said = done.out + done.err
    assert "not a cassette. It is a script: answers written by hand. A test names it with @pytest.mark" in said
    assert "aquila serve --script" in said
    assert "restore" not in said.lower()


def test_commands_for_all_cassettes_ignore_scripts(scripts: Cassettes) -> None:
    for command in ("list", "stats", "scan"):
        done = scripts.run(command)
        assert "script" not in done.out + done.err, command


@pytest.mark.parametrize(("old", "new"), [("a", "b/c"), ("a.script.yaml", "b/c.script.yaml"), ("a", "b/c.script.yaml")])
def test_a_script_that_is_moved_stays_one(old: str, new: str, scripts: Cassettes) -> None:
    assert scripts.run("mv", old, new).out.splitlines()[0] == "a.script.yaml -> b/c.script.yaml"
    assert (scripts.folder / "b/c.script.yaml").read_text() == SCRIPT

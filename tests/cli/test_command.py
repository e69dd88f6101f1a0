"""The command as a whole: help, errors, exit codes, pipes."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from aquila.cli import COMMANDS, Command, add_command_arguments, main
from tests.cli.conftest import Cassettes, conversation
from tests.support.slow import slow_but

AQUILA = str(Path(sys.executable).with_name("aquila"))


def test_without_arguments_it_lists_its_commands_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(f"aquila {command.name}" in out for command in COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["cassettes", "--help"]])
def test_help_lists_the_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "aquila cassettes scan" in capsys.readouterr().out


def test_ctrl_c_while_the_command_is_loaded_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'aquila.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "aquila", "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_misspelt_environment_variable_gives_a_warning(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    monkeypatch.setenv("AQUILA_JOBS_TOKEN", "known, and no setting")
    assert "warning" not in cassettes.run("list").err
    monkeypatch.setenv("AQUILA_CASETTE_DIR", "kept")
    done = cassettes.run("list", "--json")
    assert done.code == 0
    assert done.err.strip() == (
        "aquila: warning: the environment variable AQUILA_CASETTE_DIR is not one that Aquila knows; "
        "did you mean 'AQUILA_CASSETTE_DIR'?"
    )
    assert done.json


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_a_module_with_help(command: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.name.split(), "--help"]) == 0  # type: ignore[attr-defined]
    out = capsys.readouterr().out
    assert out.startswith(f"usage: aquila {command.name}")  # type: ignore[attr-defined]
    assert importlib.import_module(f"aquila.cli.{command.module}").__doc__.splitlines()[0] in out  # type: ignore[attr-defined]
    use = out.partition("\nexamples:\n")[2]
    assert use.startswith(f"  aquila {command.name}")  # type: ignore[attr-defined]
    assert "\nexit codes:\n  0  done\n" in use


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_arguments_of_every_example_are_understood(command: Command) -> None:
    for example in command.examples:
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_command_arguments(command, parser)
        parser.parse_args(shlex.split(example))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["casettes"], "unknown command 'casettes'; did you mean 'cassettes'?"),
        (["cassettes", "lst"], "unknown command 'cassettes lst'; did you mean 'list'?"),
        (["list"], "unknown command 'list'; did you mean 'cassettes list' or 'dead-letters list'?"),
        (["cassettes", "list", "--nope"], "unrecognized arguments: --nope"),
        (["cassettes", "convert", "a"], "the following arguments are required: --to"),
    ],
)
def test_unknown_commands_and_options_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [[AQUILA], [sys.executable, "-m", "aquila"]], ids=["script", "module"])
def test_the_installed_command_says_its_version(command: list[str]) -> None:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["aquila", metadata.version("aquila-llm")]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from aquila.cli import main; main(['--help']); "
        "print({'openai', 'httpx2', 'yaml', 'msgpack', 'huey', 'rich', 'pytest'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_reader_that_stops_is_no_error(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("hi", "ho " * 100_000))  # more than any pipe holds
    with subprocess.Popen(
        [AQUILA, "cassettes", "show", "a", "-n", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "{\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_output_survives_a_terminal_that_cannot_show_it(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("Grüße?", "Grüße ✓"))
    done = subprocess.run(
        [AQUILA, "cassettes", "show", "a"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert rb"Gr\xfc\xdfe \u2713" in done.stdout


@pytest.mark.parametrize("encoding", slow_but(["ascii"], ["ascii", "cp1252", "utf-8"]))
def test_json_is_json_in_every_encoding(encoding: str, cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("Grüße \U0001f600", "✓"))
    done = subprocess.run(
        [AQUILA, "cassettes", "show", "a", "--json"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    [found] = json.loads(done.stdout.decode(encoding))
    assert found["prompt"] == "Grüße \U0001f600"


def test_control_characters_of_a_recording_are_not_printed(cassettes: Cassettes) -> None:
    cassettes.write("a.yaml", conversation("hi", "\x1b[2J\u202egone"))
    for arguments in (["a"], ["a", "-n", "1"]):
        out = cassettes.run("show", *arguments).out
        assert "gone" in out
        assert "\x1b" not in out
        assert "\u202e" not in out


def test_control_characters_of_an_argument_are_not_printed(cassettes: Cassettes) -> None:
    assert r"else\x1b[2J\u202ewhere" in cassettes.run("list", "--dir", "else\x1b[2J\u202ewhere").err


def test_a_folder_that_is_not_there_is_named(cassettes: Cassettes) -> None:
    done = cassettes.run("list", "--dir", "elsewhere")
    assert done.code == 2
    assert "there is no cassette folder elsewhere" in done.err


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pytest.ini", "[pytest]\naquila_cassette_dir = there\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\naquila_cassette_dir = "there"\n'),
        ("pytest.ini", "\ufeff[pytest]\naquila_cassette_dir = there\n"),  # with the mark of an editor of Windows
        ("tox.ini", "[pytest]\naquila_cassette_dir = there\n"),
        ("setup.cfg", "[tool:pytest]\naquila_cassette_dir = there\n"),
        ("pytest.toml", '[pytest]\naquila_cassette_dir = "there"\n'),
    ],
)
def test_the_folder_is_the_one_that_pytest_uses_also_from_inside_the_project(
    file: str, content: str, cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = cassettes.folder.parent
    (project / "pytest.ini").unlink()
    (project / file).write_text(content, encoding="utf-8")
    (project / "src" / "deep").mkdir(parents=True)
    cassettes.folder.rename(project / "there")
    cassettes.write("../there/a.yaml", conversation("hi", "ho"))
    monkeypatch.chdir(project / "src" / "deep")
    assert [one["name"] for one in cassettes.run("list", "--json").json] == ["a"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("tool = 3", 0),
        ("[tool]\npytest = []", 0),
        ("[tool.pytest]\nini_options = 3", 0),
        ("tool = " + "[" * 10_000, 2),
        ("[tool", 2),
    ],
)
def test_settings_of_any_form_are_read_or_named(content: str, code: int, cassettes: Cassettes) -> None:
    project = cassettes.folder.parent
    (project / "pytest.ini").unlink()
    (project / "pyproject.toml").write_text(content)
    done = cassettes.run("list")
    assert done.code == code
    assert ("aquila: pyproject.toml cannot be read: " in done.err) is bool(code)


def test_the_option_takes_precedence_over_the_environment_and_that_over_the_ini_file(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = cassettes.folder.parent
    (project / "pytest.ini").write_text("[pytest]\naquila_cassette_dir = ini\n")
    for name in ("ini", "env", "opt"):
        cassettes.write(f"../{name}/{name}.yaml", conversation("hi", "ho"))
    assert [one["name"] for one in cassettes.run("list", "--json").json] == ["ini"]
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", "env")
    assert [one["name"] for one in cassettes.run("list", "--json").json] == ["env"]
    assert [one["name"] for one in cassettes.run("list", "--json", "--dir", "opt").json] == ["opt"]


def test_settings_that_cannot_be_read_are_named(cassettes: Cassettes) -> None:
    (cassettes.folder.parent / "pytest.ini").write_text("no section\n")
    done = cassettes.run("list")
    assert done.code == 2
    assert "pytest.ini cannot be read" in done.err


def test_the_nearest_name_is_suggested_for_an_unknown_cassette(cassettes: Cassettes) -> None:
    cassettes.write("jobs/summary.yaml", conversation("hi", "ho"))
    done = cassettes.run("show", "jobs/sumary")
    assert done.code == 2
    assert "no cassette 'jobs/sumary'" in done.err
    assert "did you mean 'jobs/summary'?" in done.err
    for name in ("summary", "sumary", "old/summary"):
        assert "did you mean 'jobs/summary'?" in cassettes.run("show", name).err
    assert cassettes.run("show", "jobs/summary?").err.rstrip().endswith("; known are jobs/summary")
    for number in range(11):
        cassettes.write(f"many/{number}.yaml")
    assert "no cassette 'xyz' in" in (err := cassettes.run("show", "xyz").err)
    assert err.rstrip().endswith("; to see all: aquila cassettes list")
    (cassettes.folder / "xyz.yaml").mkdir()
    for name in ("xyz", "xyz.yaml"):
        assert "aquila: cassettes/xyz.yaml is a folder, not a cassette" in cassettes.run("show", name).err


@pytest.mark.parametrize(
    "name", ["jobs/owl", "jobs/owl.yaml", "cassettes/jobs/owl.yaml", "jobs", "jobs/*", "owl", "jobs/owls"]
)
def test_pending_recordings_are_suggested_for_the_name_of_a_cassette_without_a_file(
    name: str, cassettes: Cassettes
) -> None:
    cassettes.write("jobs/owl.pending.yaml", conversation("hi", "ho"))
    err = cassettes.run("show", name).err
    assert "did you mean 'jobs/owl.pending'" in err
    assert cassettes.run("show", "jobs/owl.pending", "--json").json[0]["text"] == "ho"


@pytest.mark.parametrize(
    "name", ["jobs/summary", "jobs/summary.yaml", "cassettes/jobs/summary.yaml", "jobs", "jobs/*", "*"]
)
def test_a_cassette_is_named_by_name_file_folder_or_pattern(name: str, cassettes: Cassettes) -> None:
    cassettes.write("jobs/summary.yaml", conversation("hi", "ho"))
    assert cassettes.run("show", name, "--json").json[0]["text"] == "ho"


def test_a_name_of_several_cassettes_is_refused_if_one_is_needed(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.yaml")
    cassettes.write("jobs/b.yaml")
    assert "'jobs' names 2 cassettes" in cassettes.run("show", "jobs").err


@pytest.mark.skipif(sys.platform == "win32", reason="closes descriptors as a shell of POSIX does")
@pytest.mark.parametrize("words", slow_but(["cassettes list"], ["cassettes list", "cassettes show none"]))
def test_streams_that_are_closed_from_the_start_are_no_error(cassettes: Cassettes, words: str) -> None:
    cassettes.write("\xe4.yaml", conversation("one", "1"))
    command = f"{shlex.quote(AQUILA)} {words} <&- >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0 if words == "cassettes list" else 2, False)
    ascii = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    silent = subprocess.run(["sh", "-c", f"{command} 2>&-"], check=False, env=ascii)
    assert silent.returncode == done.returncode


WARNED = [("cassettes list", 0), ("cassettes show none", 2), ("none", 2)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, as Linux has it")
@pytest.mark.parametrize(("words", "code"), slow_but(WARNED[:1], WARNED, of_several_names=True))
def test_a_full_stderr_does_not_change_what_a_command_does(cassettes: Cassettes, words: str, code: int) -> None:
    cassettes.write("one.yaml", conversation("one", "1"))
    warned = {**os.environ, "AQUILA_RECORDS": "1"}  # a variable that is no setting, which each command warns of
    with open("/dev/full", "w") as full:
        done = subprocess.run([AQUILA, *words.split()], stdout=subprocess.PIPE, stderr=full, check=False, env=warned)
    assert (done.returncode, b"one" in done.stdout) == (code, not code)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, as Linux has it")
def test_an_output_that_cannot_be_written_is_told_once_and_fails_the_command() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([AQUILA, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"aquila: standard output: No space left on device\n")

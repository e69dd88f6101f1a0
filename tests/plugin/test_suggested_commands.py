"""What a run tells the user to type works when it is typed in the same folder."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import Project
from tests.support.slow import slow_but

TESTS = """
    @pytest.mark.llm
    def test_it(aquila_cassette):
        post("one")
    """
CONFTEST = """
    import pytest

    def pytest_addoption(parser):
        parser.addoption("--runslow", action="store_true")
        parser.addoption("--token", default="")
        parser.addoption("--asyncio-mode", default="strict")  # as that of pytest-asyncio, which the tests load nowhere

    def pytest_collection_modifyitems(config, items):
        if not config.getoption("runslow"):
            items[:] = []
    """
PYTEST = Path(sys.executable).with_name("pytest")
INI = "[pytest]\nmarkers = llm\naddopts = -m 'not llm'\n"


def commands(result: pytest.RunResult) -> list[str]:
    """What the failure and the summary say to type, each once."""
    lines = (line.removeprefix("E").strip() for line in result.outlines)
    return list(dict.fromkeys(line for line in lines if line.startswith("pytest ")))


REPEATED = [
    (
        ["-m", "llm", "-p", "pytester", "--runslow", "--token=t0ken", "--asyncio-mode", "auto", "-x"],
        "-m llm -p pytester --runslow --asyncio-mode=auto",
    ),
    (["-mllm", "--runslow", "--rootdir", "."], "-m llm --runslow --rootdir=."),
    (["--runslow", "-o", "addopts=", "-o", "junit_suite_name=secret"], "--runslow -o addopts="),
    (["--runslow", "-c", "other.ini", "--", "test_app.py"], "--runslow -c other.ini"),
]


@pytest.mark.parametrize(("options", "told"), slow_but([REPEATED[0]], REPEATED, of_several_names=True))
def test_a_command_repeats_the_options_without_which_it_would_mean_something_else(
    project: Project, options: list[str], told: str
) -> None:
    project.pytester.makeini(INI)
    project.pytester.makefile(".ini", other="[pytest]\nmarkers = llm\n")
    project.pytester.makeconftest(CONFTEST)
    missed = project.run(*options, tests=TESTS)
    assert commands(missed) == [f"pytest {told} test_app.py::test_it --aquila-record"]
    typed = project.run(*shlex.split(commands(missed)[0])[1:])
    typed.assert_outcomes(passed=1)
    project.run(*options).assert_outcomes(passed=1)
    assert project.calls == ['{"prompt":"one"}']


def test_a_command_for_whole_files_records_no_tests_that_the_run_has_left_out(project: Project) -> None:
    many = """
        @pytest.mark.parametrize("number", range(13))
        def test_many(number, aquila_cassette):
            post(f"many {number}")

        @pytest.mark.parametrize("key", ["KEY"])
        def test_other(key, aquila_cassette):
            post("other")
        """.replace("KEY", key := "sk-proj-" + "aB3dE5gH7" * 5)
    missed = project.run("-k", "many and not 0", tests=many)
    assert to_record(missed) == "pytest -k 'many and not 0' test_app.py --aquila-record"
    missed = project.run("-k", f"test_many or {key}")
    assert to_record(missed) == "pytest test_app.py --aquila-record"
    others = ["--ignore=other", "--ignore-glob=x*", "--deselect=test_app.py::test_other"]
    missed = project.run(others[0], *others[1].split("="), *others[2].split("="))
    assert to_record(missed) == f"pytest {shlex.join(others)} test_app.py --aquila-record"
    missed = project.run("test_app.py::test_many", f"test_app.py::test_other[{key}]")
    assert to_record(missed) == "pytest test_app.py::test_many test_app.py::test_other --aquila-record"
    project.run(*shlex.split(to_record(missed))[1:]).assert_outcomes(passed=14)


def to_record(result: pytest.RunResult) -> str:
    """The command of the summary that records what is missing."""
    [command] = [line.partition("To record: ")[2] for line in result.outlines if "To record: " in line]
    return command


def test_a_command_for_a_doctest_finds_it(project: Project) -> None:
    project.pytester.makepyfile(
        asking='def ask():\n    """\n    >>> from app import post; post(\'one\')\n    1\n    """\n'
    )
    project.pytester.makeconftest(
        "import pytest\n@pytest.fixture(autouse=True)\ndef cassette(aquila_cassette):\n    pass\n"
    )
    missed = project.run("--doctest-modules", "--doctest-glob", "*.md", "asking.py")
    [command] = commands(missed)
    assert command == "pytest --doctest-modules '--doctest-glob=*.md' asking.py::asking.ask --aquila-record"
    project.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)


ALONE = """
    from app import post

    def test_it(aquila_cassette):
        post("PART")
    """


ROOTS = [
    ("", ["one", "two"]),  # pytest takes the folder of the first argument that has such a file
    ("[pytest]\n", []),
    ("[pytest]\n", ["one", "two"]),
]


@pytest.mark.parametrize(("ini", "arguments"), slow_but([ROOTS[0]], ROOTS, of_several_names=True))
def test_a_command_keeps_the_root_folder_of_the_run(project: Project, ini: str, arguments: list[str]) -> None:
    pytester = project.pytester
    if ini:
        pytester.makeini(ini)
    more = ALONE.replace("test_it", "test_more").replace("PART", "more PART")
    for part in ("one", "two"):
        (pytester.mkdir(part) / "pytest.ini").write_text("[pytest]\n")
        pytester.makepyfile(**{f"{part}/test_{part}": (ALONE + more).replace("PART", part)})
    project.pytester.syspathinsert()
    missed = project.run(*arguments)
    missed.assert_outcomes(failed=4)
    for command in commands(missed)[2:4]:
        project.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    for_both_in_one = to_record(project.run(*arguments))
    project.run(*shlex.split(for_both_in_one)[1:]).assert_outcomes(passed=2)
    for command in commands(missed)[:2]:
        project.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    project.run(*arguments).assert_outcomes(passed=4)
    assert len(project.calls) == 4


def test_a_command_for_all_tests_names_the_folder_of_a_run_that_began_outside_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pytester = project.pytester
    name = "test_" + "of_a_name_that_fills_the_line_of_a_terminal_" * 2
    for folder in ("project", "another"):
        (pytester.mkdir(folder) / "pytest.ini").write_text("[pytest]\n")
        pytester.makepyfile(**{f"{folder}/{name}": ALONE.replace("PART", folder)})
    pytester.syspathinsert()
    *_, command = commands(project.run("project"))
    assert command == "pytest project --aquila-record"
    project.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)


NO_SETTINGS = {
    "pyproject.toml": '[project]\nname = "one"\n[dependency-groups]\ndev = ["pytest"]\n',
    "setup.cfg": "[metadata]\nname = one\n",
    "tox.ini": "[testenv]\ncommands = pytest\n",
    "setup.py": "",
}


NAMED = list(itertools.product([True, False], NO_SETTINGS))


@pytest.mark.parametrize(
    ("settings", "name"), slow_but([(True, "tox.ini"), (False, "pyproject.toml")], NAMED, of_several_names=True)
)
def test_a_command_names_the_settings_only_where_pytest_may_find_others(
    project: Project, name: str, settings: bool
) -> None:
    pytester = project.pytester
    (pytester.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n" if settings else "[project]\n")
    (pytester.mkdir("one") / name).write_text(NO_SETTINGS[name])
    pytester.makepyfile(**{"one/test_one": ALONE.replace("PART", "one")})
    pytester.syspathinsert()
    command, *_ = commands(project.run())
    if settings:
        assert command == "pytest one/test_one.py::test_it --aquila-record"
    project.run(*shlex.split(command)[1:]).assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=1)


def test_a_fixture_that_tests_share_is_recorded_with_the_same_options(project: Project) -> None:
    project.pytester.makeini(INI)
    missed = project.run(
        "-m",
        "llm",
        tests="""
        @pytest.fixture(scope="session")
        def shared():
            with aquila.http_client() as http:
                http.post("https://api.openai.com/v1/chat/completions", json={"messages": []})

        @pytest.mark.llm
        def test_it(shared): ...
        """,
    )
    assert commands(missed) == ["pytest -m llm test_app.py::test_it --aquila-record"]


@pytest.mark.slow
def test_workers_tell_the_same(project: Project) -> None:
    project.pytester.makeini(INI)
    project.run(tests=TESTS)
    upstream = f"--aquila-upstream={project.module}:transport"
    missed = project.pytester.run(PYTEST, "-m", "llm", "-n1", "--dist=load", upstream)
    assert commands(missed) == ["pytest -m llm test_app.py::test_it --aquila-record"]


@pytest.mark.slow
def test_a_plugin_that_an_editor_brings_is_in_no_command(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    editor = tmp_path_factory.mktemp("editor")
    (editor / "tells_the_editor.py").write_text("")
    project.pytester.makepyfile(
        of_the_project="", test_app="from app import post\n\ndef test_it(aquila_cassette):\n    post('one')\n"
    )
    program = project.pytester.makepyfile(
        run_tests=f"""
        import sys
        import pytest

        sys.path.append({str(editor)!r})
        pytest.main(["-p", "tells_the_editor", "-p", "of_the_project", "-p", "no:xdist"])
        """
    )
    missed = project.pytester.runpython(program)
    assert commands(missed) == ["pytest -p of_the_project test_app.py::test_it --aquila-record"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_plugin_from_elsewhere_is_in_the_command_where_pytest_itself_was_started_with_it(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    (shared / "of_all_projects.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(shared))
    project.pytester.makepyfile(test_app="from app import post\n\ndef test_it(aquila_cassette):\n    post('one')\n")
    missed = project.pytester.run(PYTEST, "-p", "of_all_projects", "-n", workers)
    assert commands(missed) == ["pytest -p of_all_projects test_app.py::test_it --aquila-record"]


IN_A_FOLDER = {
    "app.py": """
import aquila
import httpx2


def ask():
    with aquila.http_client() as http:
        return http.post("https://provider.example/v1/x", json={}).json()


def provider():
    return httpx2.MockTransport(lambda request: httpx2.Response(200, json={}))
""",
    "tests/test_app.py": "from app import ask\n\n\ndef test_it(aquila_cassette):\n    ask()\n",
}


def _run_as_typed(command: str, folder: Path, **variables: str) -> pytest.RunResult:
    """Type a command in a shell whose Python is this one."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "COLUMNS": "1000"}
    environment.pop("PYTHONPATH", None)
    environment |= variables
    ran = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return pytest.RunResult(ran.returncode, ran.stdout.splitlines(), ran.stderr.splitlines(), 0.0)


def _advised(result: pytest.RunResult) -> set[str]:
    """The commands in the failure and in the summary, from their first word on."""
    return set(re.findall(r"(?:uv run |python -m )*pytest test\S+ --aquila-record", "\n".join(result.outlines)))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["", "-n1 "])
def test_a_command_begins_as_the_run_did(tmp_path: Path, workers: str) -> None:
    (tmp_path / "tests").mkdir()
    for name, text in IN_A_FOLDER.items():
        (tmp_path / name).write_text(text)
    missed = _run_as_typed(f"python -m pytest {workers}-p no:cacheprovider", tmp_path)
    missed.assert_outcomes(failed=1)
    assert _advised(missed) == {"python -m pytest tests/test_app.py::test_it --aquila-record"}
    [command] = _advised(missed)
    _run_as_typed(f"{command} --aquila-upstream=app:provider", tmp_path).assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_command_for_a_shell_whose_pytest_is_another_begins_with_uv_run(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text("import aquila\n\n\ndef test_it(aquila_cassette):\n    aquila.ask('Hi')\n")
    missed = _run_as_typed("pytest -p no:cacheprovider", tmp_path, UV_RUN_RECURSION_DEPTH="1")
    assert _advised(missed) == {"uv run pytest test_app.py::test_it --aquila-record"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["", "-n1 "])
@pytest.mark.parametrize("typed", ["python3", str(Path(sys.executable).with_name("python"))])
def test_a_command_calls_the_same_python_where_the_shell_finds_another_one(
    tmp_path: Path, typed: str, workers: str
) -> None:
    (tmp_path / "tests").mkdir()
    for name, text in IN_A_FOLDER.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    programs = os.pathsep.join([str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    missed = _run_as_typed(f"{typed} -m pytest {workers}-p no:cacheprovider", tmp_path, PATH=programs)
    commands = set(re.findall(r"^(?:E +|  )(\S+ -m pytest test.*)", missed.stdout.str(), re.MULTILINE))
    assert commands == {f"{typed} -m pytest tests/test_app.py::test_it --aquila-record"}

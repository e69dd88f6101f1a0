"""The same cassettes, from whichever folder of a project pytest is started."""

from __future__ import annotations

import textwrap

import pytest

from tests.support.server import json_answer, serving
from tests.support.slow import slow_but

TEST = """
    import httpx2

    def test_it(aquila_cassette):
        url = "URL/chat/completions"
        assert httpx2.post(url, json={"prompt": "hi"}).json() == {"text": "yes"}
    """


@pytest.mark.parametrize(
    "ini",
    slow_but(["pyproject.toml", ""], ["pytest.ini", "pyproject.toml", ".git", ""]),
    ids=lambda name: name or "nothing",
)
@pytest.mark.parametrize("recorded_in", slow_but(["tests"], [".", "tests", "tests/unit"]))
@pytest.mark.slow
def test_a_recording_is_found_from_every_folder(
    ini: str, recorded_in: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ini and recorded_in != ".":
        pytest.skip("nothing says where the project is before it has cassettes")
    contents = {"pytest.ini": "[pytest]\n", "pyproject.toml": "[project]\nname = 'x'\n"}
    if ini == ".git":
        (pytester.path / ini).mkdir()
    elif ini:
        (pytester.path / ini).write_text(contents[ini])
    folder = pytester.path / "tests" / "unit"
    folder.mkdir(parents=True)
    with serving(json_answer({"text": "yes"})) as server:
        pytester.makepyfile(**{"tests/unit/test_app": TEST.replace("URL", server.url)})
        for started, arguments in [(recorded_in, ["--aquila-record"]), (".", []), ("tests", []), ("tests/unit", [])]:
            monkeypatch.chdir(pytester.path / started)
            pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=1)
    assert [path.relative_to(pytester.path).as_posix() for path in pytester.path.rglob("*.yaml")] == [
        "cassettes/tests/unit/test_app/test_it.yaml"
    ]
    assert len(server.seen) == 1


def test_the_dot_of_a_hidden_folder_belongs_to_the_name_of_its_cassettes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pytester.path / ".git").mkdir()
    (pytester.path / ".checks").mkdir()
    pytester.makepyfile(**{".checks/test_app": TEST})
    monkeypatch.chdir(pytester.path / ".checks")  # pytest takes it for its root folder
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*cassettes/.checks/test_app/test_it.yaml*", "*pytest test_app.py::test_it --aquila*"])


@pytest.mark.parametrize(("outer", "option"), [("pytest.ini", "-c pytest.ini"), ("notes.txt", "--rootdir=.")])
def test_a_miss_names_the_root_folder_with_which_its_test_was_recorded(
    outer: str, option: str, pytester: pytest.Pytester
) -> None:
    (pytester.path / outer).write_text("[pytest]\n")
    with serving(json_answer({"text": "yes"})) as server:
        pytester.makepyfile(**{"packages/app/test_app": TEST.replace("URL", server.url)})
        (pytester.path / "packages" / "app" / "pytest.ini").write_text("[pytest]\n")
        pytester.runpytest_inprocess("--aquila-record").assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess("packages/app")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*It is recorded in cassettes/packages/app/test_app/test_it.yaml,*", f"*: {option}"])
    pytester.runpytest_inprocess("packages/app", *option.split()).assert_outcomes(passed=1)


SHARED = """
    import httpx2, pytest

    @pytest.fixture(scope="session")
    def shared():
        return httpx2.post("URL/chat/completions", json={"prompt": "shared"}).json()
    """


def test_a_recording_is_found_where_the_root_folder_is_told_through_a_link(pytester: pytest.Pytester) -> None:
    """As ``/tmp`` is a link on macOS: a shell knows the folder in which it is by that, and a process does not."""
    project, link = pytester.mkdir("project"), pytester.path / "link"
    link.symlink_to(project)
    (project / "pytest.ini").write_text("[pytest]\n")
    with serving(*[json_answer({"text": "yes"})] * 2) as server:
        for name, code in {"test_app": TEST.replace("test_it(", "test_it(shared, "), "conftest": SHARED}.items():
            (project / f"{name}.py").write_text(textwrap.dedent(code).replace("URL", server.url))
        pytester.runpytest_inprocess(str(project), "--aquila-record").assert_outcomes(passed=1)
        for root, tests in [(link, project), (project, link), (link, link)]:
            pytester.runpytest_inprocess(f"--rootdir={root}", str(tests / "test_app.py")).assert_outcomes(passed=1)
        assert len(server.seen) == 2
    recorded = sorted(path.relative_to(project).as_posix() for path in project.rglob("*.yaml"))
    assert recorded == ["cassettes/conftest/@shared.yaml", "cassettes/test_app/test_it.yaml"]

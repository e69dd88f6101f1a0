"""Fixtures that several tests share: their requests belong to no one test."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aquila.cassettes.storage.names import name_of_fixture
from tests.plugin.conftest import Project
from tests.support.slow import slow_but

TESTS = """
pytestmark = pytest.mark.aquila

@pytest.fixture(scope="module")
def summary():
    return post("summary")

def test_one(summary):
    assert post("one")

def test_two(summary):
    assert post("two")
"""


def test_a_shared_fixture_has_a_cassette_of_its_own(project: Project) -> None:
    project.record(tests=TESTS).assert_outcomes(passed=2)
    assert project.bodies("test_app/@summary") == [b'{"prompt":"summary"}']
    assert project.bodies("test_app/test_one") == [b'{"prompt":"one"}']
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["aquila: 3 replayed, 0 recorded, 0 missed*"])


@pytest.mark.slow
def test_each_test_replays_alone_and_recording_one_keeps_what_the_others_need(project: Project) -> None:
    project.record(tests=TESTS)
    project.run("-k", "test_two").assert_outcomes(passed=1)
    project.record("-k", "test_two").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=2)
    assert len(project.calls) == 3


SCOPES = """
pytestmark = pytest.mark.aquila

@pytest.fixture(scope="session")
def of_session(tmp_path_factory):
    return post("session")

@pytest.fixture(scope="package")
def of_package():
    return post("package")

@pytest.fixture(scope="module", params=["a", 1, (2, 3)])
def of_module(request):
    return post(f"module {request.param}")

class TestOfClass:
    @pytest.fixture(scope="class")
    def of_class(self):
        return post("class")

    def test_one(self, of_class, of_session, tmp_path):
        tmp_path.joinpath("x").touch()

    def test_two(self, of_class, of_module, of_package):
        post("two")

def test_three(of_session, of_package, tmp_path):
    post("three")
"""


@pytest.mark.slow
def test_a_shared_fixture_of_any_scope_is_recorded_once_and_replayed_for_every_test(project: Project) -> None:
    project.record(tests=SCOPES).assert_outcomes(passed=5)
    assert Counter(project.calls)['{"prompt":"session"}'] == 1
    assert len(project.calls) == 10
    project.run().assert_outcomes(passed=5)
    project.run("-p", "no:randomly", "-k", "test_three").assert_outcomes(passed=1)
    project.record().assert_outcomes(passed=5)
    assert len(project.calls) == 10
    assert project.cassette_names == {
        "test_app/@of_session.yaml",
        "test_app/@of_package.yaml",
        "test_app/@of_module-a.yaml",
        "test_app/@of_module-1.yaml",
        f"{name_of_fixture('of_module[#2]', defined='test_app.py')}.yaml",
        "test_app/TestOfClass.@of_class.yaml",
        "test_app/TestOfClass.test_two-a.yaml",
        "test_app/TestOfClass.test_two-1.yaml",
        "test_app/TestOfClass.test_two-of_module2.yaml",
        "test_app/test_three.yaml",
    }


@pytest.mark.slow
def test_fixtures_of_one_name_do_not_share_a_cassette(project: Project) -> None:
    def fixture(who: str, scope: str, *requested: str) -> str:
        return f"@pytest.fixture(scope={scope!r})\ndef data({', '.join(requested)}):\n    return post({who!r})\n"

    begin = "import pytest\nfrom app import post\n"
    project.pytester.makepyfile(
        helper_plugin=begin + fixture("plugin", "session"),
        conftest=begin + "pytest_plugins = ['helper_plugin']\n" + fixture("root", "session", "data"),
        **{
            "one/conftest": begin + fixture("one", "module", "data"),
            "one/test_x": begin + "pytestmark = pytest.mark.aquila\ndef test_x(data):\n    pass\n",
            "one/test_y": begin + fixture("y", "module", "data") + "@pytest.mark.aquila\ndef test_y(data):\n    pass\n",
            "one/sub/conftest": begin + fixture("below", "session"),
            "one/sub/test_z": begin + "@pytest.mark.aquila\ndef test_z(data):\n    pass\n",
        },
    )
    project.record("--import-mode=importlib").assert_outcomes(passed=3)
    assert project.cassette_names == {
        "@plugins/helper_plugin/@data.yaml",
        "conftest/@data.yaml",
        "one/test_x/@data@one.conftest.yaml",
        "one/test_y/@data@one.conftest.yaml",
        "one/test_y/@data.yaml",
        "one/sub/conftest/@data.yaml",
    }
    project.run("--import-mode=importlib").assert_outcomes(passed=3)
    assert len(project.calls) == 6


@pytest.fixture
def outside(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside the root folder of the project, with two test files of one name."""
    folder = project.pytester.path.parent / f"{project.pytester.path.name}-outside"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "test_same.py").write_text(
            "import pytest\nfrom app import post\n"
            f"@pytest.fixture(scope='module')\ndef shared():\n    return post('shared {name}')\n"
            f"@pytest.fixture(scope='session')\ndef run():\n    return post('run {name}')\n"
            "@pytest.mark.aquila\n"
            f"def test_x(shared, run, tmp_path):\n    assert post('{name}')\n"
        )
    return folder


@pytest.mark.parametrize(
    "given", slow_but(["a/test_same.py b/test_same.py"], [".", "a/test_same.py b/test_same.py", "a b"])
)
def test_files_outside_the_root_folder_have_cassettes_of_their_own(project: Project, outside: Path, given: str) -> None:
    arguments = [f"--rootdir={project.pytester.path}", "--import-mode=importlib"]
    project.record(*arguments, str(outside)).assert_outcomes(passed=2)
    assert project.cassette_names == {
        f"@up/{outside.name}/{name}/test_same/{cassette}.yaml"
        for name in ("a", "b")
        for cassette in ("test_x", "@shared", "@run")
    }
    project.run(*arguments, *(str(outside / path) for path in given.split())).assert_outcomes(passed=2)
    assert len(project.calls) == 6


def test_the_command_that_records_a_test_outside_the_root_folder_names_its_file(
    project: Project, outside: Path
) -> None:
    arguments = [f"--rootdir={project.pytester.path}", str(outside / "a" / "test_same.py")]
    result = project.run(*arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*pytest *../{outside.name}/a/test_same.py::test_x --aquila-record*"])


@pytest.mark.slow
def test_what_fails_around_a_fixture_fails_each_of_its_tests_in_the_same_way(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ValueError("no name for it")

    monkeypatch.setattr("aquila.cassettes.storage.names.name_of_fixture", refuse)
    tests = """
        @pytest.fixture(scope="session")
        def shared():
            return 1

        @pytest.mark.aquila
        def test_one(shared):
            pass

        def test_two(shared):
            pass
        """
    result = project.run(tests=tests)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines([f"ERROR *::{test} - ValueError: no name for it" for test in ("test_one", "test_two")])


@pytest.mark.parametrize("end", ["return None", "pytest.skip('no summary')"])
def test_a_miss_that_a_shared_fixture_swallows_fails_every_test_that_uses_it(project: Project, end: str) -> None:
    swallowing = TESTS.replace(
        'return post("summary")', f"try:\n        post('summary')\n    except BaseException:\n        {end}"
    )
    tests = swallowing.replace('assert post("one")', "pass").replace('assert post("two")', "pass")
    result = project.run(tests=tests)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["nothing is recorded yet in *@summary.yaml*"] * 2)


WRAPPING = """
    @pytest.fixture(scope="module")
    def index():
        try:
            post("index")
        except BaseException:
            raise ValueError("no index"){cause}

    def test_one(index): pass

    def test_two(index): pass
    """


@pytest.mark.parametrize("cause", ["", " from None"], ids=["caused", "alone"])
def test_each_test_of_a_shared_fixture_shows_the_miss_behind_the_error_of_the_fixture(
    project: Project, cause: str
) -> None:
    result = project.run(tests=WRAPPING.format(cause=cause))
    result.assert_outcomes(errors=2)
    shown = result.stdout.str()
    assert shown.count("  requested  POST https://provider.example/v1/x") == 2
    named = "CassetteMiss: nothing is recorded yet*" if not cause else "ValueError: no index"
    result.stdout.fnmatch_lines([f"ERROR *::{test} - {named}" for test in ("test_one", "test_two")])


def test_a_yield_fixture_that_is_decorated_has_its_requests_in_the_cassette_and_the_test_has_not(
    project: Project,
) -> None:
    tests = """
        @pytest.fixture
        @aquila.use_cassette("fixture")
        def data():
            yield post("setup")
            post("teardown")

        def test_one(data, aquila_cassette):
            assert data
            post("test")
        """
    project.record(tests=tests).assert_outcomes(passed=1)
    assert project.bodies("fixture") == [b'{"prompt":"setup"}', b'{"prompt":"teardown"}']
    assert project.bodies("test_app/test_one") == [b'{"prompt":"test"}']
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["aquila: 3 replayed, 0 recorded, 0 missed*"])
    assert len(project.calls) == 3

"""A miss finds what was recorded under another name of the test, if that test is gone."""

from __future__ import annotations

import re
import shlex

import pytest

from aquila.cli import main
from tests.plugin.conftest import Project

TESTS = """
@pytest.mark.parametrize("n", [1, 2])
def test_it(aquila_cassette, n):
    post("one"), post(n)

class TestGroup:
    def test_in_class(self, aquila_cassette):
        post("in class")
"""


def commands_in(output: str) -> list[str]:
    """The commands that a run advises to type, each once."""
    found = re.findall(r"^E? *(aquila cassettes mv .*)$", output, re.MULTILINE)
    return list(dict.fromkeys(found))


def test_a_miss_names_the_recording_of_the_renamed_test_and_what_moves_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=TESTS)
    renamed = TESTS.replace("test_it", "test_that").replace("test_in_class", "test_inside")
    result = project.run(tests=renamed)
    result.assert_outcomes(failed=3)
    output = result.stdout.str()
    assert "The same request is recorded in cassettes/test_app/test_it-1.yaml" in output
    assert commands_in(output) == [
        "aquila cassettes mv test_app.py::test_it test_app.py::test_that",
        "aquila cassettes mv test_app.py::TestGroup::test_in_class test_app.py::TestGroup::test_inside",
    ]
    told = re.findall(r"^aquila: tests miss what is recorded .*", output, re.MULTILINE)
    assert len(told) == 2
    monkeypatch.chdir(project.pytester.path)
    for command in commands_in(output):
        assert main(shlex.split(command)[1:]) == 0
    result = project.run()
    result.assert_outcomes(passed=3)
    assert "aquila cassettes mv" not in result.stdout.str()


def test_each_variant_of_a_renamed_test_is_moved_to_itself_though_all_ask_for_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names with capital letters have a hash, which is of the old name in one cassette and of the new one in the other.
    tests = '@pytest.mark.parametrize("n", ["Simple", "Worker"])\ndef test_it(aquila_cassette, n): post("one")\n'
    project.record(tests=tests)
    commands = commands_in(project.run(tests=tests.replace("test_it", "test_that")).stdout.str())
    monkeypatch.chdir(project.pytester.path)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    project.run().assert_outcomes(passed=2)
    moved = [re.findall(r"test_(?:it|that)-(\w+)", command) for command in commands]
    assert moved == [["Simple", "Simple"], ["Worker", "Worker"]]


def test_a_test_that_works_in_another_folder_names_paths_from_where_the_run_began(project: Project) -> None:
    tests = "def test_it(aquila_cassette, monkeypatch, tmp_path): monkeypatch.chdir(tmp_path); post('one')"
    project.record(tests=tests)
    output = project.run(tests=tests.replace("test_it", "test_that")).stdout.str()
    assert commands_in(output) == ["aquila cassettes mv test_app.py::test_it test_app.py::test_that"]
    assert "nothing is recorded yet in cassettes/test_app/test_that.yaml" in output
    assert "The same request is recorded in cassettes/test_app/test_it.yaml" in output


def test_the_summary_names_the_rename_of_a_test_whose_child_process_misses(project: Project) -> None:
    tests = """
import multiprocessing

def test_it(aquila_cassette):
    process = multiprocessing.get_context("fork").Process(target=post, args=("one",))
    process.start()
    process.join()
    assert process.exitcode == 0
"""
    project.record(tests=tests).assert_outcomes(passed=1)
    output = project.run(tests=tests.replace("test_it", "test_that")).stdout.str()
    assert re.search(
        r"^aquila: tests miss .*: aquila cassettes mv test_app.py::test_it test_app.py::test_that$", output, re.M
    )


def test_the_summary_counts_all_renames_and_names_as_many_as_there_is_room_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = "".join(f"def test_{n}(aquila_cassette): post({n})\n" for n in range(12))
    project.record(tests=tests)
    counted = "aquila: tests miss what is recorded for tests that are gone: {} renames?"
    output = project.run("--tb=no", tests=tests.replace("test_", "test_new_")).stdout.str()
    assert counted.format(12) in output
    assert output.count("for tests that are gone") == 1
    output = project.run("--tb=no", "-v").stdout.str()
    assert len(commands_in(output)) == 10
    assert "  and 2 more\n" in output
    monkeypatch.setenv("COLUMNS", "80")
    output = project.run("--tb=no", "-k", "new_0 or new_3 or new_4").stdout.str()
    assert f"{counted.format(3)}\n" in output


def test_a_renamed_module_is_moved_as_a_whole(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests=TESTS.replace("[1, 2]", '[1, "with a hash"]'))
    (project.pytester.path / "test_app.py").rename(project.pytester.path / "test_web.py")
    output = project.run().stdout.str()
    assert commands_in(output) == ["aquila cassettes mv test_app.py test_web.py"]
    monkeypatch.chdir(project.pytester.path)
    assert main(shlex.split(commands_in(output)[0])[1:]) == 0
    project.run().assert_outcomes(passed=3)


MAYBE_OF_ANOTHER = [
    TESTS + "\n    def test_same(self, aquila_cassette):\n        post('in class')\n",  # the other is there
    TESTS.replace("test_in_class", "test_x").replace('post("in class")', 'post("changed")'),  # another request
    TESTS.replace("test_in_class", "test_x") + "\nfor name in ['test_in']:\n    globals()[name + '_class'] = None\n",
    TESTS.replace("test_in_class", "test_x").replace("class TestGroup:", "class TestGroup(object):"),  # inherited?
]


def test_a_recording_that_may_belong_to_another_test_is_not_offered(project: Project) -> None:
    project.record(tests=TESTS)
    for after in MAYBE_OF_ANOTHER:
        output = project.run(tests=after).stdout.str()
        assert "missed" in output, after
        assert commands_in(output) == [], after


def test_a_cassette_of_a_name_of_its_own_is_found_if_those_who_used_it_are_gone(project: Project) -> None:
    project.record(tests="@pytest.mark.aquila('jobs/old')\ndef test_old():\n    post('one')\n")
    output = project.run(tests="@pytest.mark.aquila('jobs/new')\ndef test_new():\n    post('one')\n").stdout.str()
    assert commands_in(output) == ["aquila cassettes mv jobs/old jobs/new"]
    output = project.run(tests="@pytest.mark.aquila('jobs/new')\ndef test_old():\n    post('one')\n").stdout.str()
    assert commands_in(output) == []


SETUPS = """
import unittest

def setup_module():
    post("for the module")

class TestPlain:
    @classmethod
    def setup_class(cls):
        post("for the plain class")

    def test_one(self, aquila_cassette):
        post("one")

@pytest.mark.aquila
class OldStyle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        post("for the class")

    def test_two(self):
        post("two")
"""


RENAMED_CLASSES = (("OldStyle", "NewStyle"), ("TestPlain", "TestNew"))


def test_the_recordings_of_setup_functions_move_with_their_class(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=SETUPS)
    before = sorted(path.name for path in project.cassettes.rglob("*.yaml"))
    assert before == [
        "@setup_module.yaml",
        "OldStyle.@setUpClass.yaml",
        "OldStyle.test_two.yaml",
        "TestPlain.@setup_class.yaml",
        "TestPlain.test_one.yaml",
    ]
    renamed = SETUPS.replace("OldStyle", "NewStyle").replace("TestPlain", "TestNew")
    missed = project.run(tests=renamed)
    missed.assert_outcomes(errors=2)
    moves = [f"aquila cassettes mv test_app.py::{old} test_app.py::{new}" for old, new in RENAMED_CLASSES]
    assert set(commands_in(missed.stdout.str())) == set(moves)
    monkeypatch.chdir(project.pytester.path)
    for old, new in RENAMED_CLASSES:
        assert main(["cassettes", "mv", f"test_app.py::{old}", f"test_app.py::{new}"]) == 0
    project.run(tests=renamed).assert_outcomes(passed=2)


def test_a_module_with_a_setup_function_is_moved_as_a_whole(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests=SETUPS)
    (project.pytester.path / "test_app.py").rename(project.pytester.path / "test_web.py")
    command, *others = set(commands_in(project.run().stdout.str()))
    assert (command, others) == ("aquila cassettes mv test_app.py test_web.py", [])
    monkeypatch.chdir(project.pytester.path)
    assert main(shlex.split(command)[1:]) == 0
    project.run().assert_outcomes(passed=2)


FIXTURES = """
@pytest.fixture(scope="{scope}")
def {name}():
    return post("known")

def test_it({name}): ...
def test_as_well({name}): ...
"""


@pytest.mark.parametrize("scope", ["module", "session"])
def test_a_fixture_that_was_renamed_finds_its_recording(
    scope: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=FIXTURES.format(scope=scope, name="known"))
    renamed = FIXTURES.format(scope=scope, name="facts").replace('"known"', '"kn" "own"')
    output = project.run(tests=renamed).stdout.str()
    assert commands_in(output) == ["aquila cassettes mv test_app/@known test_app/@facts"]
    monkeypatch.chdir(project.pytester.path)
    assert main(shlex.split(commands_in(output)[0])[1:]) == 0
    project.run().assert_outcomes(passed=2)


OF_A_CLASS = """
class {owner}:
    @pytest.fixture(scope="class")
    @classmethod
    def {name}(cls):
        return post("kn" "own")

    def test_it(self, {name}): ...
"""


def test_a_fixture_that_was_renamed_with_its_class_is_moved_by_itself(project: Project) -> None:
    project.record(tests=OF_A_CLASS.format(owner="TestOld", name="known"))
    output = project.run(tests=OF_A_CLASS.format(owner="TestNew", name="facts")).stdout.str()
    assert commands_in(output) == ["aquila cassettes mv test_app/TestOld.@known test_app/TestNew.@facts"]


def test_a_fixture_that_went_to_another_module_is_moved_by_itself(project: Project) -> None:
    tests = FIXTURES.format(scope="module", name="known").replace('"known"', '"kn" "own"')
    project.record(tests=tests)
    path = project.pytester.path / "test_app.py"
    path.with_name("test_web.py").write_text(path.read_text("utf-8"), "utf-8")
    output = project.run(tests="def test_plain(): ...").stdout.str()
    assert commands_in(output) == ["aquila cassettes mv test_app/@known test_web/@known"]


MAIL = """
from mails import MAILS

@pytest.mark.parametrize("mail", MAILS)
def test_mail(aquila_cassette, mail):
    post("one")
"""


def test_a_parameter_with_an_at_sign_is_taken_for_no_fixture(project: Project) -> None:
    project.pytester.makepyfile(mails="MAILS = ['ann@example.com']")
    project.record(tests=MAIL)
    output = project.run(tests=MAIL + "\ndef test_new(aquila_cassette):\n    post('one')\n").stdout.str()
    assert "aquila: 1 replayed, 0 recorded, 1 missed" in output
    assert commands_in(output) == []


def test_a_fixture_whose_name_is_still_there_is_not_called_gone(project: Project) -> None:
    project.record(tests=FIXTURES.format(scope="module", name="known"))
    output = project.run(tests=FIXTURES.format(scope="module", name="facts")).stdout.str()  # it says "known"
    assert commands_in(output) == []


RECORDED = "http://gateway.example:4000/v1/chat/completions"


def test_a_recording_of_another_base_url_is_found_for_a_renamed_test(project: Project) -> None:
    app = project.pytester.path / "app.py"
    app.write_text(app.read_text(encoding="utf-8").replace("/v1/x", "/v1/chat/completions"), encoding="utf-8")
    project.record(tests=TESTS)
    for cassette in (project.pytester.path / "cassettes").rglob("*.yaml"):
        stored = cassette.read_text(encoding="utf-8")
        moved = stored.replace("https://provider.example/v1/chat/completions", RECORDED)
        assert RECORDED in moved
        cassette.write_text(moved, encoding="utf-8")
    output = project.run(tests=TESTS.replace("test_in_class", "test_inside")).stdout.str()
    assert commands_in(output) == [
        "aquila cassettes mv test_app.py::TestGroup::test_in_class test_app.py::TestGroup::test_inside"
    ]

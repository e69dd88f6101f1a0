"""A miss names the cassette of another test that has the request, as after a run in which a cache had the answer."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from aquila.cassettes.storage import cassette_files
from aquila.cli import main
from aquila.recording.reporting import cassette_search
from aquila.recording.reporting.other_tests import OtherTests
from tests.plugin.conftest import Project

CACHED = """
import functools

cached = functools.cache(post)

def test_first(aquila_cassette):
    cached("of both")

def test_second(aquila_cassette):
    cached("of both"), post("of the second alone")

def test_third(aquila_cassette):
    cached("of both")
"""
PLACE = "The same request is recorded in cassettes/test_app/test_first.yaml."
ADVICE = "a cache, or something else that tests share, may have had the answer"


def test_a_miss_of_what_a_cache_had_when_it_was_recorded_names_the_other_test(project: Project) -> None:
    project.record(tests=CACHED)
    project.run().assert_outcomes(passed=3)
    for test in ("test_second", "test_third"):  # one with a cassette that lacks the request, and one without
        result = project.run(f"test_app.py::{test}")
        result.assert_outcomes(failed=1)
        output = result.stdout.str()
        assert PLACE in output
        assert ADVICE in output


def test_a_miss_after_the_id_of_a_parameter_has_changed_says_what_moves_the_recording(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = "@pytest.mark.parametrize('n', [{}])\ndef test_first(aquila_cassette, n): post('x')\n"
    project.record(tests=tests.format("'old'"))
    output = project.run(tests=tests.format("'A new'")).stdout.str()
    assert "If that test is gone, because only the id of a parameter has changed, move its recordings:" in output
    assert ADVICE in output
    command = next(line for line in output.splitlines() if "aquila cassettes mv" in line)
    monkeypatch.chdir(project.pytester.path)
    assert main(shlex.split(command)[2:]) == 0
    project.run().assert_outcomes(passed=1)
    another = "def test_second(aquila_cassette): post('x')\n"
    assert "only the id" not in project.run(tests=another + tests.format("'A new'")).stdout.str()


def test_a_miss_that_a_pending_file_answers_names_that_file_alone(project: Project) -> None:
    tests = "def test_first(aquila_cassette): post('x')\ndef test_second(aquila_cassette):\n    post('x')\n"
    project.record(tests=tests + "    assert False\n")
    output = project.run(tests=tests).stdout.str()
    assert "It answers this request. To store it:" in output
    assert "The same request is recorded in" not in output


def test_a_request_that_is_recorded_nowhere_names_no_other_test(project: Project) -> None:
    project.record(tests=CACHED)
    output = project.run(tests=CACHED.replace("of the second alone", "another")).stdout.str()
    assert "missed" in output
    assert "The same request is recorded" not in output


MISSPELT = "Is the name of the cassette misspelt?"


def test_a_miss_in_a_named_cassette_that_does_not_exist_names_a_similar_one(project: Project) -> None:
    marked = "import pytest\n@pytest.mark.aquila(cassette={!r})\ndef test_a(): post('x')\n"
    project.record(tests=marked.format("shared/summary"))
    output = project.run(tests=marked.format("shared/sumary")).stdout.str()
    assert "The same request is recorded in cassettes/shared/summary.yaml." in output
    assert MISSPELT in output
    assert ADVICE not in output
    output = project.run(tests=marked.format("shared/another")).stdout.str()
    assert ADVICE in output
    assert MISSPELT not in output


def test_a_miss_in_a_cassette_that_does_not_exist_names_a_script_with_a_similar_name(project: Project) -> None:
    scripts = project.pytester.mkdir("cassettes")
    (scripts / "counting.script.yaml").write_text("script: [{reply: one two}]\n")
    marked = "import pytest\n@pytest.mark.aquila({!r})\ndef test_a(): post('x')\n"
    advice = "Did you mean the script cassettes/counting.script.yaml?"
    assert advice in project.run(tests=marked.format("countng")).stdout.str()
    assert advice not in project.run(tests=marked.format("birds")).stdout.str()
    (scripts / "test_app").mkdir()
    (scripts / "test_app" / "test_bee.script.yaml").write_text("script: []\n")  # of another test, whose name is similar
    own = project.run(tests="def test_bees(aquila_cassette): post('x')\n").stdout.str()
    assert "nothing is recorded yet" in own
    assert "Did you mean" not in own


def test_a_name_that_nobody_has_written_is_not_called_misspelt(project: Project) -> None:
    project.record(tests="def test_first(aquila_cassette): post('x'), post('y')\n")
    tests = """
        import pytest

        @pytest.fixture(scope="module")
        def first():
            post('x')

        def test_fixture(first):
            pass

        def test_second(aquila_cassette):
            post('y')

        def test_third(aquila_cassette):
            assert post_in_fork('x') == 0

        def test_first(aquila_cassette):
            post('x'), post('y')
    """
    output = project.run(tests=tests).stdout.str()
    assert output.count(PLACE) >= 2
    assert MISSPELT not in output


def test_a_request_that_is_made_once_more_than_recorded_names_no_other_test(project: Project) -> None:
    project.record(tests="def test_a(aquila_cassette): post('x')\ndef test_b(aquila_cassette): post('x')\n")
    output = project.run(tests="def test_a(aquila_cassette): post('x'), post('x')\n").stdout.str()
    assert "this is request number 2 of its kind" in output
    assert "The same request is recorded" not in output


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cassettes that are loaded from now on."""
    names: list[str] = []
    load = cassette_files.load_cassette
    monkeypatch.setattr(
        cassette_files, "load_cassette", lambda path, **rest: names.append(Path(path).stem) or load(path, **rest)
    )
    return names


def test_for_a_miss_few_other_cassettes_are_read(
    project: Project, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cassette_search, "MOST_NEAR", 3)
    tests = """
        @pytest.mark.parametrize("number", range(5))
        def test_it(aquila_cassette, number):
            post(f"one of {number}")

        def test_last(aquila_cassette):
            post("the last")
    """
    project.record(tests=tests)
    read.clear()
    project.run("-k", "last", tests=tests.replace("the last", "changed")).assert_outcomes(failed=1)
    assert len(read) == 3 + 1  # one is the cassette of the test itself


def test_for_misses_few_bytes_of_other_cassettes_are_read(
    project: Project, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OtherTests, "most_bytes", 9000)
    tests = """
        def test_its_own(aquila_cassette): post("x" * 7000)
        def test_large(aquila_cassette): post("x" * 8000)
        def test_larger(aquila_cassette): post("x" * 8000 + "y")
        def test_small(aquila_cassette): post("z")
    """
    project.record(tests=tests)
    read.clear()
    project.run("-k", "own", tests=tests.replace("7000", "1")).assert_outcomes(failed=1)
    assert read == ["test_its_own", "test_large", "test_small"]


def test_a_miss_is_one_though_its_test_has_named_another_cassette_folder(project: Project) -> None:
    tests = """
        def test_it(aquila_cassette, monkeypatch, tmp_path):
            post("first")
            monkeypatch.setenv("AQUILA_CASSETTE_DIR", str(tmp_path))
            post("second")
    """
    project.record(tests=tests)
    result = project.run(tests=tests.replace("second", "changed"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_it - CassetteMiss: *"])

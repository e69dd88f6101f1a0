"""A cassette that cannot be read fails what needs it, once, under its own name, whatever the program does."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Project

FIXTURE = """
@pytest.fixture(scope="module")
def facts():
    try:
        return post("facts")
    except Exception as error:
        return error.__class__

def test_one(facts): pass
def test_two(facts): pass
"""


def damage(project: Project) -> None:
    for path in project.cassettes.rglob("*.yaml"):
        path.write_text("aquila: 1\ninteractions: 7\n", "utf-8")


@pytest.mark.parametrize("end", ["return error.__class__", "pytest.skip('no facts')"])
def test_each_test_whose_shared_fixture_swallowed_it_fails_in_the_setup(project: Project, end: str) -> None:
    project.record(tests=FIXTURE.replace("return error.__class__", end)).assert_outcomes(passed=2)
    damage(project)
    result = project.run()
    result.assert_outcomes(errors=2)
    for name in ("one", "two"):
        result.stdout.fnmatch_lines([f"ERROR test_app.py::test_{name} - CassetteUnusable: *@facts.yaml*"])


@pytest.mark.parametrize("arguments", [["--aquila-record"], ["-o", "aquila_unplayed=fail"]])
def test_a_test_that_asks_nothing_fails_for_it_once(project: Project, arguments: list[str]) -> None:
    project.record(tests="def test_it(aquila_cassette): post('one')")
    damage(project)
    result = project.run(*arguments, tests="def test_it(aquila_cassette): pass")
    result.assert_outcomes(failed=1)
    shown = "cassettes/test_app/test_it.yaml"
    command = "pytest *test_app.py::test_it --aquila-record"
    result.stdout.fnmatch_lines([f"FAILED test_app.py::test_it - CassetteUnusable: {shown}, line 2: *again: {command}"])
    output = result.stdout.str()
    assert "outside of any test" not in output
    assert "scope_ends.py" not in output


def test_a_fixture_may_expect_it(project: Project) -> None:
    forgetting = """
        @pytest.fixture
        def facts(aquila_refusals):
            try:
                return post("facts")
            except Exception:
                assert isinstance(aquila_refusals[0], aquila.errors.CassetteUnusable)
                aquila_refusals.forget()

        def test_it(facts): pass
        """
    project.record(tests=forgetting).assert_outcomes(passed=1)
    damage(project)
    project.run().assert_outcomes(passed=1)


def test_a_shared_fixture_that_raises_it_fails_each_test_once(project: Project) -> None:
    raising = FIXTURE.replace("return error.__class__", "raise OSError('no facts') from None")
    project.record(tests=raising).assert_outcomes(passed=2)
    damage(project)
    result = project.run()
    result.assert_outcomes(errors=2)
    assert result.stdout.str().count("Captured aquila setup") == 2


@pytest.mark.parametrize("error", ["", "OSError('no answer')"])
def test_a_test_that_is_expected_to_fail_fails_once(project: Project, error: str) -> None:
    tests = f"""
        @pytest.mark.xfail
        def test_it(aquila_cassette):
            try:
                post("Hi")
            except Exception:
                raise {error}
        """
    project.record(tests=tests).assert_outcomes(xpassed=1)
    damage(project)
    project.run().assert_outcomes(failed=1)


@pytest.mark.parametrize("scope", ["function", "module"])
def test_an_expected_failure_of_a_fixture_that_missed_is_one_error(project: Project, scope: str) -> None:
    tests = f"""
        @pytest.fixture(scope="{scope}")
        def answer():
            try:
                post("never recorded")
            except BaseException:
                raise OSError("no answer") from None

        @pytest.mark.xfail
        def test_it(aquila_cassette, answer): pass
        """
    result = project.run(tests=tests)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["ERROR test_app.py::test_it - CassetteMiss: *"])

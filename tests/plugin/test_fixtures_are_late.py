"""Fixtures that Aquila registers when they are asked for: they work as if they had been there from the start."""

from __future__ import annotations

import pytest


@pytest.fixture
def run_tests(pytester: pytest.Pytester):
    def run(test: str, *options: str, **files: str) -> pytest.RunResult:
        pytester.syspathinsert()
        pytester.makepyfile(test_one=test, **files)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


def test_a_fixture_that_is_asked_for_by_name_while_a_test_runs_is_there(run_tests) -> None:
    result = run_tests("def test_one(request): assert request.getfixturevalue('aquila_huey_storage') == 'memory'")
    result.assert_outcomes(passed=1)


def test_a_plugin_and_a_conftest_override_a_fixture_and_can_ask_for_what_they_override(run_tests) -> None:
    override = """
        import pytest

        @pytest.fixture
        def aquila_huey_storage(aquila_huey_storage):
            return aquila_huey_storage + " of {name}"
    """
    result = run_tests(
        "def test_one(aquila_huey_storage): assert aquila_huey_storage == 'memory of plugin of conftest'",
        "-p",
        "project_plugin",
        project_plugin=override.format(name="plugin"),
        conftest=override.format(name="conftest"),
    )
    result.assert_outcomes(passed=1)


def test_a_run_without_tasks_registers_no_fixtures_for_tasks(run_tests) -> None:
    conftest = """
        def pytest_sessionfinish(session):
            print("are there:", session.config.pluginmanager.has_plugin("pytest_aquila.tasks.task_fixtures"))
    """
    for test in (
        "def test_one(aquila_cassette): pass",
        """
        def pytest_generate_tests(metafunc):
            metafunc.parametrize("number", [1])

        def test_one(number): pass
        """,
    ):
        without = run_tests(test, conftest=conftest)
        without.assert_outcomes(passed=1)
        without.stdout.fnmatch_lines(["*are there: False"])
    run_tests("def test_one(aquila_tasks_): pass", conftest=conftest).stdout.fnmatch_lines(["*are there: True"])


def test_fixtures_are_listed_and_offered_where_a_name_is_misspelt(run_tests) -> None:
    listed = run_tests("", "--fixtures")
    listed.stdout.fnmatch_lines(["aquila_cassette*", "aquila_perform_job*"])
    misspelt = run_tests("def test_one(cassette): pass")
    misspelt.assert_outcomes(errors=1)
    misspelt.stdout.fnmatch_lines([">*available fixtures: *aquila_cassette*"])


def test_another_plugin_may_look_fixtures_up_by_keyword(run_tests) -> None:
    conftest = """
        def pytest_collection_modifyitems(session, items):
            assert session._fixturemanager.getfixturedefs(argname="tmp_path", node=items[0])
    """
    run_tests("def test_one(): pass", conftest=conftest).assert_outcomes(passed=1)


def test_a_plugin_may_call_the_function_of_the_cassette_fixture_by_itself(run_tests) -> None:
    test = """
        import threading
        import pytest
        from aquila.errors import ConfigError

        def call_function(request):
            return request._fixturemanager.getfixturedefs("aquila_cassette", request.node)[-1].func()

        @pytest.fixture(scope="module")
        def shared(request):
            return call_function(request)

        def test_in_the_test(request):
            called = []
            thread = threading.Thread(target=lambda: called.append(call_function(request)))
            thread.start()
            thread.join()
            called.append(call_function(request))
            assert [each.name for each in called] == ["test_one/test_in_the_test"] * 2

        def test_in_a_fixture(shared):
            assert shared.name == "test_one/test_in_a_fixture"
    """
    conftest = """
        def pytest_sessionfinish(session):
            function = session._fixturemanager.getfixturedefs("aquila_cassette", session.items[0])[-1].func
            try:
                function()
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
    """
    result = run_tests(test, conftest=conftest)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*ConfigError: the fixture aquila_cassette * no test runs here: name it as a*"])

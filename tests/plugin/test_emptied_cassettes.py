"""A recording run in which a test asks for nothing of what it had recorded."""

from __future__ import annotations

from tests.plugin.conftest import Project
from tests.plugin.test_miss_report import news

CACHED = """
    import functools
    ask = functools.cache(post)

    def test_fills_the_cache(aquila_cassette):
        ask("one")

    def test_finds_it_full(aquila_cassette):
        ask("one")
    """


def test_tests_that_lost_their_cassettes_are_named(project: Project) -> None:
    project.record("-k", "finds", tests=CACHED).assert_outcomes(passed=1)
    result = project.record()
    result.assert_outcomes(passed=2)
    assert news(result) == [
        "aquila: 1 test asked for nothing, so its cassette is removed: test_app.py::test_finds_it_full. If a cache has "
        "answered that another test had filled, empty it before each test, and record again: pytest "
        "test_app.py::test_finds_it_full --aquila-record"
    ]
    assert [path.name for path in project.cassettes.glob("*/*.yaml")] == ["test_fills_the_cache.yaml"]


def test_nothing_is_told_of_a_test_that_never_asked_or_still_asks(project: Project) -> None:
    both = """
        def test_asks(aquila_cassette):
            post("one")
            post("two")

        def test_never_asks(aquila_cassette):
            pass
        """
    project.record(tests=both).assert_outcomes(passed=2)
    result = project.record(tests=both.replace('post("two")', "pass"))
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*asked for nothing*")


def test_a_cache_that_each_test_finds_empty_lets_each_record_its_own(project: Project) -> None:
    project.pytester.makeconftest(
        """
        import pytest, test_app

        @pytest.fixture(autouse=True)
        def an_empty_cache():
            test_app.ask.cache_clear()
        """
    )
    project.record(tests=CACHED).assert_outcomes(passed=2)
    project.run("-k", "finds").assert_outcomes(passed=1)
    project.run("-k", "fills").assert_outcomes(passed=1)

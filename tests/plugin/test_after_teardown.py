"""A request of a thread after the teardown of its test, while pytest still reports the test, opens no scope."""

from __future__ import annotations

import textwrap

import pytest

import tests.support.preloaded  # noqa: F401

LATE = """
    import threading
    import httpx, pytest
    from aquila.recording import runtime

    SCOPES = []

    def ask():
        try:
            httpx.post("https://api.openai.com/v1/chat/completions", json={})
        except BaseException:
            pass

    def pytest_runtest_logreport(report):
        if report.when == "teardown":
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            SCOPES.extend(scope.name for scope in runtime.current_run().scopes.surrounding())

    def pytest_sessionfinish():
        assert SCOPES == [], SCOPES
    """


def test_a_late_request_leaves_no_scope_open_for_the_tests_that_follow(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(textwrap.dedent(LATE))
    pytester.makepyfile(
        """
        def test_without():
            pass

        def test_with_a_cassette(aquila_cassette):
            pass

        def test_after():
            pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.OK


def test_a_refusal_after_the_teardown_fails_no_test_and_is_told_at_the_end_of_the_run(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(textwrap.dedent(LATE))
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    told = "aquila: outside of any test, POST https://api.openai.com/v1/chat/completions was refused"
    assert result.stdout.str().count(told) == 1

"""Requests that tests and libraries make at the end of the process are refused as during the run."""

from __future__ import annotations

import pytest

from tests.support.real_hosts import real_hosts
from tests.support.slow import slow_but
from tests.support.upstream import Answer

LEFT = """
    import atexit, http.client, json, pathlib, ssl
    import httpx2

    def ask(path):
        try:
            with httpx2.Client() as client:
                client.post("https://api.openai.com" + path, json={})
        except Exception as error:
            return type(error).__name__

    def connect():
        try:
            connection = http.client.HTTPSConnection("api.openai.com", context=ssl.create_default_context())
            connection.request("POST", "/v1/chat/completions", "{}")
        except Exception as error:
            return type(error).__name__

    def at_exit():
        outcome = [ask("/v1/chat/completions"), ask("/v1/traces/ingest"), connect()]
        pathlib.Path("outcome").write_text(json.dumps(outcome))

    def after_the_run():
        pathlib.Path("late").write_text(ask("/v1/chat/completions"))

    def test_it(aquila_cassette, request):
        atexit.register(at_exit)
        request.config.add_cleanup(after_the_run)
    """


@pytest.mark.parametrize("arguments", slow_but([()], [(), ("--aquila-record",), ("-n", "1")]), ids=" ".join)
@pytest.mark.slow
def test_nothing_goes_out_when_the_process_ends(arguments: tuple[str, ...], pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=LEFT)
    with real_hosts("api.openai.com", script=lambda path, body: Answer()) as provider:
        pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=1)
    assert provider.requests == []
    outcome = pytester.path.joinpath("outcome").read_text("utf-8")
    assert outcome == '["LiveCallRefused", "ConnectError", "LiveCallRefused"]'
    assert pytester.path.joinpath("late").read_text("utf-8") == "LiveCallRefused"


@pytest.mark.slow
def test_a_program_that_has_run_pytest_may_ask_afterwards(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AQUILA_RUN", raising=False)  # it is no child of the run of this test
    pytester.makepyfile(test_it="def test_it(aquila_cassette): pass")
    program = pytester.makepyfile(
        program="""
        import httpx2, pytest
        assert pytest.main(["test_it.py"]) == 0
        assert httpx2.post("https://api.openai.com/v1/chat/completions", json={}).status_code == 200
        """
    )
    with real_hosts("api.openai.com", script=lambda path, body: Answer()) as provider:
        assert pytester.runpython(program).ret == 0
    assert len(provider.requests) == 1

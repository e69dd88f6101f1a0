"""Interpreters within a process belong to the scope that was open when they were started, as child processes do."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.process_marks import process_mark
from tests.support import interpreters
from tests.support.upstream import Answer, Upstream

ASK = """
    import http.client, json, sys
    from urllib.parse import urlsplit

    def ask(url, prompt):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/v1/chat/completions", json.dumps({"prompt": prompt}))
        try:
            return connection.getresponse().read().decode()
        finally:
            connection.close()
"""
"""A program that knows nothing of Aquila. It needs no module in C that other interpreters refuse."""

TESTS = """
    import pytest
    from asking import ask
    from interpreters import run_within

    URL = "{url}"

    @pytest.fixture
    def within(tmp_path, request):
        answer = tmp_path / "answer"
        def ask_within(prompt):
            run_within(
                f"import sys; sys.path.insert(0, {{str(request.path.parent)!r}}); import asking\\n"
                f"with open({{str(answer)!r}}, 'w') as file: file.write(asking.ask({{URL!r}}, {{prompt!r}}))"
            )
            return answer.read_text()
        return ask_within

    def test_beside_this_one(within, aquila_cassette):
        prompts = ["one", "two", "three", "four"]
        assert [ask(URL, "one"), within("two"), within("three"), ask(URL, "four")] == prompts

    def test_alone(within, aquila_cassette):
        assert within("alone") == within("alone") == "alone"    # each counts its requests by itself, as a process does

    def test_without_a_cassette(within):
        with pytest.raises(RuntimeError, match="LiveCallRefused"):
            within("refused")
"""
PLAIN = ("-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.mark.slow
def test_what_another_interpreter_asks_is_recorded_replayed_and_refused(
    pytester: pytest.Pytester, server: Upstream
) -> None:
    server.script = lambda path, body: Answer(chunks=[json.loads(body)["prompt"].encode()])
    pytester.makeini(f"[pytest]\naquila_providers = {server.url.removeprefix('http://')}")
    pytester.makepyfile(
        asking=textwrap.dedent(ASK),
        interpreters=Path(interpreters.__file__).read_text(encoding="utf-8"),
        test_it=textwrap.dedent(TESTS).format(url=server.url),
    )
    recorded = pytester.runpytest_subprocess("--aquila-record", *PLAIN)
    recorded.assert_outcomes(passed=2, failed=1)
    recorded.stdout.fnmatch_lines(["*nothing in this run asks for the network", "aquila: 0 replayed, 5 recorded, *"])
    asked = [json.loads(body)["prompt"] for _, body in server.requests]
    assert asked == ["one", "two", "three", "four", "alone", "alone"]
    cassette = load_cassette(pytester.path / "cassettes" / "test_it" / "test_beside_this_one.yaml")
    assert sorted(json.loads(each.request.body)["prompt"] for each in cassette.interactions) == sorted(asked[:4])
    replayed = pytester.runpytest_subprocess(*PLAIN)
    replayed.assert_outcomes(passed=2, failed=1)
    replayed.stdout.fnmatch_lines(["aquila: 6 replayed, 0 recorded, *"])
    assert len(server.requests) == 6


def test_another_interpreter_is_told_from_this_one(tmp_path: Path) -> None:
    """They have the same process id: by that alone, both would write the same files."""
    mark = tmp_path / "mark"
    told = f"open({str(mark)!r}, 'w').write(process_mark())"
    interpreters.run_within(f"from aquila.process_marks import process_mark; {told}")
    assert mark.read_text().partition("-")[0] == process_mark().partition("-")[0]
    assert mark.read_text() != process_mark()

"""What a report tells of answers that are too large for it, recorded, replayed and live."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Project
from tests.support.report_schema import read_report

PROVIDER = """
import json

import httpx2


def event(said):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": said}}]}).encode() + b"\\n\\n"


BODY = event("It begins") + (b": " + b"-" * 998 + b"\\n") * 5000 + event(" and ends.")


def pieces():
    for at in range(0, len(BODY), 100_000):
        yield BODY[at : at + 100_000]


def handle(request):
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=pieces())


def transport():
    return httpx2.MockTransport(handle)
"""

TESTS = """
import aquila

def test_it(aquila_cassette):
    with aquila.http_client() as http:
        body = {"model": "gpt-x", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        answer = http.post("https://api.openai.com/v1/chat/completions", json=body)
        assert answer.text.endswith("\\n")
"""


@pytest.mark.slow
def test_of_a_large_answer_both_ends_are_told_with_its_size_and_its_place(project: Project) -> None:
    project.pytester.makepyfile(large_provider=PROVIDER, test_large=TESTS)
    for arguments, source in (
        (("--aquila-upstream=large_provider:transport", "--aquila-record"), "recorded"),
        ((), "replayed"),
        (("--aquila-transport=large_provider:transport",), "live"),
    ):
        result = project.pytester.runpytest_subprocess(
            "--aquila-report=run.json", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments
        )
        result.assert_outcomes(passed=1)
        (exchange,) = read_report(project.pytester.path)["tests"][0]["exchanges"]
        assert exchange["source"] == source
        assert 700_000 < exchange["answer_left_out"] < 900_000
        (message,) = exchange["answer"]
        if source == "live":  # of which nothing is held but the beginning
            assert message["text"] == "It begins"
        else:
            assert message["text"].startswith("It begins\n\n⋯ 810,837 bytes are left out here ⋯\n\n")
            assert message["text"].endswith(" and ends.")
            assert exchange["line"] == 3
            assert exchange["response_body"]["size"] > 5_000_000

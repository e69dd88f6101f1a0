"""A program that says less than was recorded: the rest of the conversation counts as unplayed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.web_sockets import web_socket_provider

TEST = """
import json
from websockets.sync.client import connect

def talk(*said):
    with connect("wss://api.openai.com/v1/realtime?model=m") as connection:
        for text in said:
            connection.send(json.dumps({"type": "say", "text": text}))
            connection.recv(60)

def test_it(aquila_cassette):
    talk("one")
    talk("one", "two", "three")
    assert aquila_cassette.all_played
"""
LESS = TEST.replace('talk("one", "two", "three")', 'talk("one", "two")')
UNASKED = LESS.replace("    assert aquila_cassette.all_played\n", "")


def speak(connection: Any) -> None:
    while True:
        said = json.loads(connection.recv(60))
        connection.send(json.dumps({"type": "response.done", "text": said["text"].upper()}))


@pytest.fixture
def recorded(pytester: pytest.Pytester) -> pytest.Pytester:
    with web_socket_provider("api.openai.com", speak=speak):
        run(pytester, TEST, "--aquila-record").assert_outcomes(passed=1)
    run(pytester, TEST, "-o", "aquila_unplayed=fail").assert_outcomes(passed=1)
    return pytester


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


def test_a_shorter_conversation_passes_unless_the_test_demands_all_of_it(recorded: pytest.Pytester) -> None:
    run(recorded, UNASKED).assert_outcomes(passed=1)
    run(recorded, LESS).assert_outcomes(failed=1)


def test_a_shorter_conversation_is_reported_if_the_settings_say_so(recorded: pytest.Pytester) -> None:
    result = run(recorded, UNASKED, "-o", "aquila_unplayed=warn")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["aquila: 1 test did not play *: test_it.py::test_it (1 of 3 messages of recording 2 *"]
    )
    result = run(recorded, UNASKED, "-o", "aquila_unplayed=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_it: 1 of 3 messages of recording 2 were not played (aquila_unplayed = fail)*"])


@pytest.mark.parametrize("demand", ["warn", "fail"])
def test_the_advised_command_drops_the_rest_of_the_conversation(recorded: pytest.Pytester, demand: str) -> None:
    output = run(recorded, UNASKED, "-o", f"aquila_unplayed={demand}").stdout.str()
    (option,) = set(re.findall(r"--aquila-record\S*", output))
    with web_socket_provider("api.openai.com", speak=speak):
        run(recorded, UNASKED, option).assert_outcomes(passed=1)
    run(recorded, UNASKED, "-o", "aquila_unplayed=fail").assert_outcomes(passed=1)


def test_a_conversation_that_is_not_begun_is_an_unplayed_recording(recorded: pytest.Pytester) -> None:
    fewer = UNASKED.replace('    talk("one", "two")\n', "")
    result = run(recorded, fewer, "-o", "aquila_unplayed=warn")
    result.stdout.fnmatch_lines(["aquila: 1 test did not play * test_it.py::test_it (1 recording of *test_it). *"])

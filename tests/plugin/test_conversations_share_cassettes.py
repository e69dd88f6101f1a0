"""Recording runs with a cassette that several tests share: which conversations are recorded, and which stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.web_sockets import web_socket_provider

URL = "wss://api.openai.com/v1/responses"
HEAD = f"""
import pytest
from websockets.sync.client import connect

def talk(*said):
    with connect({URL!r}) as connection:
        for text in said:
            connection.send(text)
            assert connection.recv(60) == text.upper()
"""
SHARED = """
@pytest.mark.aquila("shared")
def test_one(aquila_cassette):
    talk("one", "more")

@pytest.mark.aquila("shared")
def test_two(aquila_cassette):
    talk("two")
    talk("three")
"""


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What the provider has heard."""
    heard: list[str] = []

    def speak(connection: Any) -> None:
        while True:
            heard.append(connection.recv(60))
            connection.send(heard[-1].upper())

    with web_socket_provider("api.openai.com", speak=speak):
        yield heard


def run(pytester: pytest.Pytester, test: str, *arguments: str) -> dict[str, int]:
    pytester.makepyfile(test_it=HEAD + test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments).parseoutcomes()


def first_words(pytester: pytest.Pytester) -> list[bytes]:
    recordings = load_cassette(pytester.path / "cassettes" / "shared.yaml").interactions
    return [each.response.body.split(b"data: ")[1].partition(b"\n")[0] for each in recordings]


@pytest.mark.slow
def test_tests_that_share_a_cassette_keep_each_others_conversations(
    pytester: pytest.Pytester, heard: list[str]
) -> None:
    assert run(pytester, SHARED, "--aquila-record") == {"passed": 2, "rerun": 1}
    assert first_words(pytester) == [b"one", b"two", b"three"]
    heard.clear()
    assert run(pytester, SHARED) == {"passed": 2}
    assert run(pytester, SHARED, "--aquila-record") == {"passed": 2}
    assert heard == []


@pytest.mark.slow
def test_a_drifted_conversation_replaces_the_recording_with_the_same_beginning(
    pytester: pytest.Pytester, heard: list[str]
) -> None:
    run(pytester, SHARED, "--aquila-record")
    heard.clear()
    changed = SHARED.replace("more", "less")
    assert run(pytester, changed, "--aquila-record") == {"passed": 2, "rerun": 1}
    assert heard == ["one", "less"]
    assert first_words(pytester) == [b"one", b"two", b"three"]
    assert run(pytester, changed) == {"passed": 2}


@pytest.mark.slow
def test_a_conversation_with_another_beginning_is_added(pytester: pytest.Pytester, heard: list[str]) -> None:
    run(pytester, SHARED, "--aquila-record")
    changed = SHARED.replace("two", "four")
    assert run(pytester, changed, "--aquila-record")["passed"] == 2
    assert first_words(pytester) == [b"one", b"two", b"three", b"four"]
    assert run(pytester, changed) == {"passed": 2}


def test_connections_in_another_order_are_not_recorded_again(pytester: pytest.Pytester, heard: list[str]) -> None:
    test = 'def test_it(aquila_cassette):\n    talk("one")\n    talk("two")\n'
    assert run(pytester, test, "--aquila-record") == {"passed": 1}
    heard.clear()
    swapped = 'def test_it(aquila_cassette):\n    talk("two")\n    talk("one")\n'
    assert run(pytester, swapped, "--aquila-record") == {"passed": 1}
    assert heard == []
    assert run(pytester, swapped) == {"passed": 1}

"""Many tests record into one cassette: each writes the whole file, and works on no recording but its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.cassettes.codecs.yaml import parser, writer
from aquila.cassettes.matching import linked_recordings
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.object_memo import ObjectMemo
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage import cassette_files
from aquila.recording import runtime
from aquila.recording.secrets.redactors import SecretsSetLater
from aquila.recording.sessions import known_keys
from tests.support.runs import name_upstream, separate_run

SESSIONS = 12
SHAPELESS = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"


@pytest.fixture(autouse=True)
def outside(tmp_path: Path) -> Iterator[None]:
    with separate_run(tmp_path):
        name_upstream("echo", httpx2.MockTransport(lambda request: httpx2.Response(200, content=request.content)))
        yield


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each function was called that takes time for a recording."""
    counted: Counter[str] = Counter()

    def count(place: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(place, name)

        def counting(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(place, name, counting)

    for place, name in (
        (writer, "write_interaction"),
        (parser, "load_tree"),
        (linked_recordings, "ids_named_by"),
        (Redactor, "redact_request"),
    ):
        count(place, name)
    return counted


def record(number: int) -> None:
    with aquila.use_cassette("shared", transport="record", upstream="echo"), aquila.http_client() as http:
        http.post("https://provider.example/v1/x", json={"n": number})


def test_each_recording_is_written_read_and_compared_once(calls: Counter[str], tmp_path: Path) -> None:
    for number in range(SESSIONS):
        record(number)
    assert calls["write_interaction"] == SESSIONS
    assert calls["load_tree"] == 0
    assert calls["ids_named_by"] <= 2 * SESSIONS
    first = calls["redact_request"]
    assert first <= 6 * SESSIONS
    stored = cassette_files.load_cassette(tmp_path / "cassettes" / "shared.yaml")
    assert [one.request.body for one in stored.interactions] == [b'{"n":%d}' % n for n in range(SESSIONS)]


@pytest.mark.slow
def test_recording_into_a_shared_cassette_is_quick_where_tests_set_keys(
    calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they open the cassette, after that, or not at all."""
    for number in range(3 * SESSIONS):
        monkeypatch.delenv("SOME_TOKEN", raising=False)
        with runtime.current_run().running_test(f"test_{number}", None):
            if number % 3 == 0:
                monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
            with aquila.use_cassette("shared", transport="record", upstream="echo"), aquila.http_client() as http:
                http.post("https://provider.example/v1/x", json={"n": number})
                if number % 3 == 1:
                    monkeypatch.setenv("SOME_TOKEN", SHAPELESS)
                http.post("https://provider.example/v1/x", json={"n": number, "again": True})
    assert calls["redact_request"] <= 9 * 3 * SESSIONS


def test_keys_that_were_computed_with_more_secrets_are_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    later = SecretsSetLater(runtime.set_variables().count)
    request, rules = RecordedRequest("GET", f"https://x/{SHAPELESS}"), MatchRules()

    def key_under(redactor: Redactor) -> Callable[[RecordedRequest], str]:
        return known_keys.remembering_keys(lambda each: redactor.redact_request(each).url, redactor, rules)

    key_of = key_under(Redactor(later=later))
    with runtime.set_variables().noting():
        monkeypatch.setenv("LATER_TOKEN", SHAPELESS)
    assert SHAPELESS not in key_of(request)
    assert key_under(Redactor())(request) == request.url


def test_a_thread_gets_the_keys_of_its_own_rules_whatever_another_asks_for_meanwhile() -> None:
    others: list[Rules] = []

    class Rules:
        def __init__(self, name: str) -> None:
            self.name = name

        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            while others:
                find_for(others.pop())
            return isinstance(other, Rules) and self.name == other.name

    known, redactor = known_keys._KnownKeys(), Redactor()

    def find_for(rules: Rules) -> ObjectMemo[RecordedRequest, str]:
        return known.find_for(redactor, rules)  # type: ignore[arg-type]

    keys = find_for(Rules("one"))
    others.append(Rules("other"))
    assert find_for(Rules("one")) is keys
    assert find_for(Rules("other")) is not keys


def test_a_cassette_that_was_saved_is_loaded_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        record(number)
    path = tmp_path / "cassettes" / "shared.yaml"
    saved = cassette_files.load_cassette(path)
    monkeypatch.setattr(cassette_files, "_loaded", cassette_files._LoadedCassettes(2**20))
    read = cassette_files.load_cassette(path)
    assert read == saved
    assert read is not saved


def test_recordings_that_another_process_has_written_meanwhile_stay(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "shared.yaml"
    record(0)
    one = path.read_bytes()
    record(1)
    both = path.read_bytes()
    path.write_bytes(one)  # as if another had done it
    record(2)
    stored = cassette_files.load_cassette(path)
    assert [each.request.body for each in stored.interactions] == [b'{"n":0}', b'{"n":2}']
    path.write_bytes(both)
    record(3)
    stored = cassette_files.load_cassette(path)
    assert [each.request.body for each in stored.interactions] == [b'{"n":0}', b'{"n":1}', b'{"n":3}']


def test_a_memo_finds_only_the_object_itself_and_has_a_bound() -> None:
    memo: ObjectMemo[list[int], str] = ObjectMemo(limit=10)
    first, equal, large = [1], [1], [2]
    memo.add(first, "first", 4)
    assert memo.find(first) == "first"
    assert memo.find(equal) is None
    memo.add(first, "again", 5)
    memo.add(equal, "equal", 5)
    assert (memo.find(first), memo.find(equal)) == ("again", "equal")
    memo.add(large, "large", 6)
    assert (memo.find(first), memo.find(equal), memo.find(large)) == (None, None, "large")

"""A key that is set after a cassette was opened: it is in no file, and what was recorded with it is replayed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, quote_plus

import anyio
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

import aquila
from aquila.cassettes.body_file import LARGE, BodyFile, StoredChunks, StoredRequest, name_of_body
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import CassetteMiss
from aquila.recording.secrets.late_secrets import redact_groups, redact_rows
from aquila.recording.storing.journal_merging import JournalGroup
from tests.support.runs import separate_run
from tests.support.server import Answer, Seen, Server, serving, sse
from tests.support.web_sockets import web_socket_server

KEYS = ('Zq81 not/shaped+like=a-"key"-47\\11', "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu", "pässword-für-alle-4711")
ANOTHER = "k3y-of-another-machine-0815"
NAME = "MY_API_KEY"


def forms_of(key: str) -> set[bytes]:
    """How the key may be written in a file."""
    raw = key.encode()
    texts = {key, quote(key), quote(key, safe=""), quote_plus(key), raw.hex(), base64.b64encode(raw).decode()}
    texts |= {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in (key,) for ascii_only in (True, False)}
    return {text.encode() for text in texts}


def assert_unknown(folder: Path, *keys: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        data = path.read_bytes()
        assert not [form for key in keys for form in forms_of(key) if form in data], path.name


def echo(seen: Seen) -> Answer:
    """Answer with what was asked, as it is, in base64, and in pieces."""
    text = seen.path + " " + seen.body.decode()
    if b"stream" in seen.body:
        return Answer([sse({"delta": text[:9]}, {"delta": text[9:13]}, {"delta": text[13:]})])
    answer = {"echo": text, "base64": base64.b64encode(seen.body).decode()}
    return Answer([json.dumps(answer).encode()], content_type="application/json")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(by=echo) as running:
        yield running


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(NAME, raising=False)
    with separate_run(tmp_path):
        yield


def use(transport: str, **options: Any) -> Any:
    return aquila.use_cassette("x", transport=transport, loopback="all", **options)


def in_body(url: str, key: str) -> None:
    httpx2.post(f"{url}/a", json={"text": f"the key is {key}."})


def in_query(url: str, key: str) -> None:
    httpx2.get(f"{url}/a", params={"q": key})


def in_stream(url: str, key: str) -> None:
    with httpx2.stream("POST", f"{url}/a", json={"text": key, "stream": True}) as answer:
        answer.read()


def in_async_client(url: str, key: str) -> None:
    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            await client.post(f"{url}/a", json={"text": [key]})

    anyio.run(ask)


WAYS = [in_body, in_query, in_stream, in_async_client]


@pytest.mark.parametrize("ask", WAYS)
def test_a_key_set_after_the_first_request_is_not_stored(
    ask: Callable[[str, str], None], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("record"):
        in_body(server.url, "nothing yet")
        monkeypatch.setenv(NAME, KEYS[0])
        ask(server.url, KEYS[0])
        assert_unknown(tmp_path, KEYS[0])  # the journal
    assert_unknown(tmp_path, KEYS[0])
    for key in (KEYS[0], ANOTHER):  # of this machine, and of another
        monkeypatch.delenv(NAME)
        with use("replay"):
            in_body(server.url, "nothing yet")
            monkeypatch.setenv(NAME, key)
            ask(server.url, key)
    assert len(server.seen) == 2


@pytest.mark.parametrize("name", ["x-api-key", "authorization", "cookie"])
def test_a_key_that_an_answer_gave_to_a_later_request_is_not_stored(name: str, tmp_path: Path) -> None:
    """As a store of secrets gives it, under a name that says nothing."""

    def run(url: str) -> None:
        key = httpx2.get(f"{url}/secret").json()["value"]
        credentials = {"authorization": f"Bearer {key}", "cookie": f"session={key}"}.get(name, key)
        assert httpx2.post(f"{url}/use", headers={name: credentials}).is_success

    with serving(by=lambda seen: Answer([json.dumps({"value": KEYS[1]}).encode()])) as provider:
        for transport in ("record", "replay"):
            with use(transport):
                run(provider.url)
            assert_unknown(tmp_path, KEYS[1])
        assert len(provider.seen) == 2


def test_a_value_that_a_later_request_names_like_a_secret_stays_in_earlier_answers() -> None:
    """Other requests have it elsewhere, and would miss with a placeholder."""

    def run(url: str) -> None:
        value = httpx2.get(f"{url}/search").json()["value"]
        httpx2.get(f"{url}/price", params={"code": value}, headers={"x-api-key": KEYS[1]})
        assert httpx2.get(f"{url}/products/{value}").is_success

    with serving(by=lambda seen: Answer([json.dumps({"value": "kettle-4711-b"}).encode()])) as provider:
        for transport in ("record", "replay"):
            with use(transport):
                run(provider.url)


@pytest.mark.parametrize("name", ["x-session-id", "authorization", "cookie"])
@pytest.mark.parametrize("with_field", [False, True], ids=["without the field", "with it"])
def test_an_id_that_is_a_credential_in_one_request_is_replayed_in_others(name: str, with_field: bool) -> None:
    """As the id of a session may be. A request without the field is stored with the id."""

    def run(url: str) -> None:
        value = httpx2.post(f"{url}/sessions").json()["value"]
        credentials = {name: {"authorization": f"Bearer {value}", "cookie": f"session={value}"}.get(name, value)}
        fields = credentials if with_field else {}
        assert httpx2.get(f"{url}/sessions/{quote(value)}", headers=fields).is_success
        assert httpx2.get(f"{url}/sessions", params={"id": value}, headers=fields).is_success
        assert httpx2.post(f"{url}/get", json={"id": value}, headers=fields).is_success
        assert httpx2.post(f"{url}/chat", headers=credentials).is_success

    with serving(by=lambda seen: Answer([json.dumps({"value": "Zq8kd92m=4711"}).encode()])) as provider:
        for transport in ("record", "replay"):
            with use(transport):
                run(provider.url)
        assert len(provider.seen) == 5


def test_a_key_that_is_gone_again_is_not_stored(server: Server, tmp_path: Path) -> None:
    """A client is made while the key is set, and used later."""

    def run(key: str) -> None:
        in_body(server.url, "nothing yet")
        with mock.patch.dict(os.environ, {NAME: key}):
            pass
        with mock.patch.object(os, "environ", {"OTHER_TOKEN": ANOTHER}):
            in_body(server.url, "other " + ANOTHER)
        in_body(server.url, key)

    with use("record"):
        run(KEYS[1])
    assert_unknown(tmp_path, KEYS[1], ANOTHER)
    with use("replay"):
        run(KEYS[2])
    assert len(server.seen) == 3


def test_a_key_set_while_an_answer_arrives_is_not_stored(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("record"), httpx2.stream("POST", f"{server.url}/a", json={"text": KEYS[1], "stream": True}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        monkeypatch.setenv(NAME, KEYS[1])
        list(pieces)
        answer.close()
        assert_unknown(tmp_path, KEYS[1])
    assert_unknown(tmp_path, KEYS[1])


def test_a_key_set_during_a_conversation_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(connection: Any) -> None:
        for message in connection:
            connection.send(json.dumps({"type": "response.done", "echo": message}))

    def talk(url: str, key: str) -> None:
        with connect(url) as connection:
            connection.send("hello")
            connection.recv(60)
            monkeypatch.setenv(NAME, key)
            for text in (f"the key is {key}", "and so on"):
                connection.send(json.dumps({"text": text}))
                assert "type" in connection.recv(60)
            assert_unknown(tmp_path, key)

    with web_socket_server(speak) as provider:
        with use("record"):
            talk(provider.url, KEYS[1])
        assert_unknown(tmp_path, KEYS[1])
        for key in (KEYS[1], ANOTHER):
            monkeypatch.delenv(NAME)
            with use("replay"):
                talk(provider.url, key)


def test_a_recording_that_was_made_before_its_key_was_known_is_stored_without_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("record"):
        in_body(server.url, KEYS[1])
        in_stream(server.url, KEYS[1])
        monkeypatch.setenv(NAME, KEYS[1])
        in_body(server.url, KEYS[1])
    assert_unknown(tmp_path, KEYS[1])
    with use("replay"):  # where it is known from the beginning
        in_body(server.url, KEYS[1])
        in_stream(server.url, KEYS[1])
        in_body(server.url, KEYS[1])
        with pytest.raises(CassetteMiss):
            in_body(server.url, KEYS[1])


CHILD = """
import sys, httpx2
for line in sys.stdin:
    httpx2.post(f"{sys.argv[1]}/a", json={"text": f"the key is {line.strip()}." + " word" * int(sys.argv[2])})
    print("asked", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("asks", "words"), [(True, 0), (False, 0), (False, 100_000)])
def test_recordings_of_a_child_are_stored_without_a_key_that_only_its_parent_knows(
    asks: bool, words: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("record"):
        command = [sys.executable, "-c", CHILD, server.url, f"{words}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            if asks:
                in_body(server.url, "something")
            monkeypatch.setenv(NAME, KEYS[1])
            assert child.communicate(f"{KEYS[1]}\n{KEYS[1]}\n", timeout=60)[0] == "asked\nasked\n"
    assert_unknown(tmp_path, KEYS[1])
    assert (tmp_path / "cassettes" / "x.yaml").read_text().count("request:") == 2 + asks


def test_large_bodies_of_another_process_are_redacted_by_the_process_that_knows_the_key(tmp_path: Path) -> None:
    """Also by a process that has known the key since its redactor was made, and has learned no key since."""
    body = b'{"text": "the key is %s.", "more": "%s"}' % (KEYS[1].encode(), b" word" * (LARGE // 5))
    file = BodyFile(name_of_body(body), len(body), tmp_path)
    file.path.write_bytes(body)
    request = StoredRequest("POST", "https://provider.example/a", (), file)
    answer = RecordedResponse(200, (), StoredChunks(file, [len(body)], [1]))
    row = NewRecording("key", 0, 0, Interaction(request, answer, ""))
    redactor = Redactor({KEYS[1]: "key"})
    (clean,) = redact_rows((), [row], redactor, redactor.count_later(), lambda request: "new key", lambda key: 0)
    assert KEYS[1].encode() not in clean.interaction.request.body
    assert KEYS[1].encode() not in b"".join([chunk.data for chunk in clean.interaction.response.chunks])


def test_a_miss_shows_no_key_that_was_set_late(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with use("record"):
        in_body(server.url, "something")
    with use("replay"), pytest.raises(CassetteMiss) as miss:
        in_body(server.url, "something")
        monkeypatch.setenv(NAME, KEYS[1])
        in_query(server.url, KEYS[1])
    assert KEYS[1] not in str(miss.value)


def test_a_recording_of_another_tool_is_replayed_with_the_key_that_it_shows(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("record"):
        in_body(server.url, "first")
        in_body(server.url, KEYS[1])  # nothing says that it is one
    with use("replay", ignore=("$.nonce",)):
        in_body(server.url, "first")
        monkeypatch.setenv(NAME, KEYS[1])
        httpx2.post(f"{server.url}/a", json={"text": f"the key is {KEYS[1]}.", "nonce": 1})
    assert len(server.seen) == 2


def test_keys_of_a_test_that_is_over_are_forgotten(server: Server, tmp_path: Path) -> None:
    """Else what is recorded would depend on the tests that ran before."""
    with use("record"):
        in_body(server.url, "nothing yet")
        with mock.patch.dict(os.environ, {NAME: "a text like any other"}):
            in_body(server.url, "a text like any other")
    with aquila.use_cassette("y", transport="record", loopback="all"):
        in_body(server.url, "a text like any other")
    assert "a text like any other" in (tmp_path / "cassettes" / "y.yaml").read_text()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from(range(len(KEYS)))),
            st.tuples(st.just("unset"), st.just(0)),
            st.tuples(st.sampled_from(WAYS), st.sampled_from(range(len(KEYS)))),
            st.tuples(st.just("plain"), st.just(0)),
        ),
        max_size=8,
    )
)
def test_whenever_a_key_is_set_no_file_has_it_and_it_is_replayed(
    steps: list[tuple[Any, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")

    def run(keys: tuple[str, ...]) -> None:
        known: set[int] = set()
        for step, number in steps:
            if step == "set":
                os.environ[NAME] = keys[number]
                known.add(number)
            elif step == "unset":
                os.environ.pop(NAME, None)
            elif step == "plain":
                in_body(server.url, "plain")
            elif number in known:  # a key that no variable has held so far cannot be known
                step(server.url, keys[number])

    with serving(by=echo) as server, separate_run(folder) as inner, contextlib.ExitStack() as cleanup:
        cleanup.callback(os.environ.pop, NAME, None)
        with inner.running_test("test_recording", None), use("record"):
            run(KEYS)
            assert_unknown(folder, *KEYS)
        assert_unknown(folder, *KEYS)
        for keys in (KEYS, tuple(f"{ANOTHER}-{n}" for n in range(len(KEYS)))):
            os.environ.pop(NAME, None)
            asked = len(server.seen)
            with inner.running_test("test_replaying", None), use("replay"):
                run(keys)
            assert len(server.seen) == asked
    assert not list(journal.find_abandoned_journals(folder / "cassettes"))


SECRET = "q7Zr2mXv9KpLw4TbN8sYc3Hd6GfJ1aEu"


def row(order: int, mark: str) -> NewRecording:
    request = RecordedRequest("POST", "https://a.example/x", body=f"{SECRET}{mark}".encode())
    return NewRecording(f"key {order}", 0, order, Interaction(request, RecordedResponse(200)))


def test_requests_that_become_equal_are_counted_in_their_order_behind_the_stored_ones() -> None:
    redactor = Redactor.from_environment({NAME: SECRET})
    other = Interaction(RecordedRequest("GET", "https://a.example/y"), RecordedResponse(200))
    own, others = [row(9, ""), NewRecording("other", 1, 5, other), row(4, "")], [row(6, "")]
    placed = redact_rows(
        own, others, redactor, -1, lambda request: request.body.decode(), {"[redacted]": 2}.__getitem__
    )
    assert sorted((each.order, each.key, each.position) for each in placed) == [
        (4, "[redacted]", 2),
        (5, "other", 1),
        (6, "[redacted]", 3),
        (9, "[redacted]", 4),
    ]


def test_plays_of_other_processes_stay_known() -> None:
    played = RecordingPlayed("a key", 0, 1)
    group: JournalGroup = ("jobs/x", "missing", "last", MatchRules())
    assert redact_groups({group: [played]}, ()) == {group: [played]}

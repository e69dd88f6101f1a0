"""Cassettes of cassetter are read as they are. The files were recorded by cassetter 0.16, from a server on loopback."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila.cassettes.codecs import codec_for
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from aquila.errors import CassetteCorrupt, CassetteWriteError
from tests.support.runs import separate_run

FILES = Path(__file__).with_name("cassetter")
HTTP = [FILES / "http.yaml", FILES / "http.toml"]
ASKED = b'{"model":"m","messages":[{"role":"user","content":"hi\\nthere"}],"temperature":0.5}'


def loads(path: Path, text: str) -> Cassette:
    return codec_for(path).loads(text.encode(), source=path.name)


@pytest.mark.parametrize("path", HTTP, ids=lambda path: path.name)
def test_every_part_of_a_recording_over_http_is_read(path: Path) -> None:
    found = {row.request.url.rpartition("/")[2]: row for row in cassette_files.load_cassette(path).interactions}
    assert found.keys() == {"chat", "audio", "stream", "nothing", "null"}
    chat = found["chat"]
    assert (chat.request.method, chat.request.url) == ("POST", "http://127.0.0.1:8099/chat")
    assert {("accept", "*/*"), ("content-type", "application/json")} <= set(chat.request.headers)
    assert chat.request.body == ASKED
    assert chat.response.first_header("content-type") == "application/json"
    assert not {"content-length", "content-encoding"} & dict(chat.response.headers).keys()
    said = {"id": "chat-1", "text": "café\nau lait", "n": [1, 2.5, 1e-05], "none": None}
    assert json.loads(chat.response.body) == said
    # The style in which cassetter itself replays it; numbers are as they are in the file.
    assert chat.response.body.startswith(json.dumps(said).encode().partition(b"1e-05")[0])


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the process cannot be changed")
def test_a_moment_without_a_zone_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"recorded_at: .*", "recorded_at: '2026-11-24T10:00:00'", HTTP[0].read_text())
    try:
        with monkeypatch.context() as inside:
            inside.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            cassette = loads(HTTP[0], text)
    finally:
        time.tzset()
    assert {row.recorded for row in cassette.interactions} == {"2026-11-24T10:00:00Z"}


def test_yaml_and_toml_hold_the_same_recordings() -> None:
    yaml, toml = [cassette_files.load_cassette(path).interactions for path in HTTP]
    assert [(row.request, row.response) for row in yaml] == [(row.request, row.response) for row in toml]


@pytest.mark.parametrize(
    ("name", "what"),
    [("grpc", "gRPC interactions"), ("observed", "a server observed")],
)
def test_recordings_of_another_protocol_are_refused_and_named(name: str, what: str) -> None:
    with pytest.raises(CassetteCorrupt, match=f"line 3: a cassette of cassetter with .*{what}") as raised:
        cassette_files.load_cassette(FILES / f"{name}.yaml")
    assert "delete" not in str(raised.value)


def changed(path: Path, old: str, new: str) -> str:
    text = path.read_text()
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (HTTP[0], "version: 1", "version: 2", "of a version that is not known"),
        (HTTP[0], "version: 1", "version: 1\nsessions: []", "unknown key 'sessions'"),
        (HTTP[0], "  recorded_at:", "  elapsed: 3\n  recorded_at:", "unknown key 'elapsed'"),
        (HTTP[0], "    status: 200", "    status: 200\n    trailers: {}", "unknown key 'trailers'"),
        (HTTP[0], "      type: text", "      encoding: x\n      type: text", "unknown key 'encoding'"),
        (HTTP[0], "type: binary", "type: chunked", "a body must be of the type"),
        (HTTP[0], "type: binary", "type: none", "a body must be of the type"),
        (HTTP[0], "content: ff00", "content: fg00", "must be in hexadecimal"),
        (HTTP[0], "      content: ff00\n", "", "a body must be of the type"),
        (HTTP[0], "    body:\n", "    body_type: none\n    body:\n", "unknown key 'body_type'"),
        (HTTP[0], "recorded_at: 2", "recorded_at: x2", "'recorded_at' must be a date and time"),
        (HTTP[1], "version = 1", "version = 2", "of a version that is not known"),
        (HTTP[1], "version = 1", "version = 1\nsessions = []", "unknown key 'sessions'"),
        (
            HTTP[1],
            "status = 200",
            "status = 200\ntrailers = 1",
            r"interactions\[\d\]\.response.*: unknown key 'trailers'",
        ),
        (HTTP[1], "status = 200", "status = 200.0", "'status' must have a code"),
        (HTTP[1], 'body_type = "binary"', 'body_type = "chunked"', "a body must be of the type"),
        (HTTP[1], "version = 1", "version = ", "not TOML: .*line 1"),
        (HTTP[1], "interactions", "others", "not a cassette of cassetter"),
    ],
)
def test_a_file_with_an_unknown_part_is_refused(path: Path, old: str, new: str, message: str) -> None:
    text = changed(path, old, new)
    if new == "others":
        text = "version = 1\n[[others]]\nname = 1\n"
    with pytest.raises(CassetteCorrupt, match=message) as raised:
        loads(path, text)
    assert str(raised.value).startswith(path.name)
    assert "delete" not in str(raised.value)


@pytest.mark.parametrize("data", [b"\xff", b"a = " + b"[" * 5000, b"version = 1\ninteractions = 5", b"", b"x = 1"])
def test_toml_that_is_no_cassette_is_refused(data: bytes) -> None:
    with pytest.raises(CassetteCorrupt, match=r"x\.toml: .*The file stays as it is"):
        codec_for(Path("x.toml")).loads(data, source="x.toml")


@pytest.mark.parametrize("path", HTTP, ids=lambda path: path.name)
def test_a_recorded_answer_is_replayed(path: Path) -> None:
    with (
        separate_run(FILES.parent, command_line={"cassette_dir": str(FILES), "transport": "replay"}),
        aquila.use_cassette(path.name),
        aquila.http_client() as client,
    ):
        answer = client.post("http://127.0.0.1:8099/chat", json=json.loads(ASKED))
        assert answer.json()["text"] == "café\nau lait"


def test_nothing_is_recorded_into_toml_and_the_error_comes_before_any_request(tmp_path: Path) -> None:
    with (
        separate_run(tmp_path, command_line={"cassette_dir": str(tmp_path), "transport": "record"}),
        aquila.use_cassette("x.toml"),
        aquila.http_client() as client,
        pytest.raises(CassetteWriteError, match=r"aquila cassettes convert .*x\.toml --to yaml --replace"),
    ):
        client.post("http://127.0.0.1:9/x")


def test_a_recording_of_this_machine_replays_without_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")
    with separate_run(tmp_path):
        (tmp_path / "cassettes").mkdir()
        (tmp_path / "cassettes" / "old.yaml").write_bytes(HTTP[0].read_bytes())
        with aquila.use_cassette("old"):
            answer = httpx2.post(
                "http://127.0.0.1:8099/chat", content=ASKED, headers={"content-type": "application/json"}
            )
    assert answer.json()["id"] == "chat-1"


def test_conversations_are_read_with_the_way_they_ended() -> None:
    left, closed = cassette_files.load_cassette(FILES / "websocket.yaml").interactions
    assert (left.kind, left.request.method, left.request.url) == ("websocket", "GET", "ws://127.0.0.1:8099/live")
    assert (left.response.status, left.response.end, closed.response.end) == (101, "closed", "complete")
    said = [
        Frame(b'{"type":"session.created","n":1.50,"s":"caf\xc3\xa9"}', sent=False),
        Frame(b'{"a": 1, "b": [1.0, null]}', sent=True),
        Frame(b'{"a": 1, "b": [1.0, null]}', sent=False),
        Frame(b"\x00\xff", sent=True, is_text=False),
        Frame(b"\x00\xff", sent=False, is_text=False, at=1),
        Frame(b"two\nlines", sent=True, at=1),
        Frame(b"two\nlines", sent=False, at=1),
    ]
    assert list(read_frames(left.response.chunks)) == said
    end = [Frame(b"bye", sent=True, at=1), Close("provider", 1001, "going away", at=10)]
    assert list(read_frames(closed.response.chunks)) == said + end
    again = codec_for(Path("a.yaml"))
    cassette = Cassette((left, closed))
    assert again.loads(again.dumps(cassette), source="a.yaml") == cassette


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("direction: recv", "direction: up", "a frame must be sent or received"),
        ("frame_type: text", "frame_type: ping", "a frame must be sent or received, and a text, binary or a close"),
        ("offset_ms: 0", "offset_ms: soon", "'offset_ms' must be a whole number"),
        ("  headers: {}", "  headers: {}\n  more: 1", "unknown key 'more'"),
    ],
)
def test_a_conversation_with_an_unknown_part_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(CassetteCorrupt, match=message):
        loads(FILES / "websocket.yaml", changed(FILES / "websocket.yaml", old, new))

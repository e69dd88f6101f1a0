"""From the client to the file and back, over real sockets: the provider echoes the key wherever it can."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila.cassettes.redaction.redactor import Redactor
from aquila.errors import CassetteMiss
from tests.support.runs import name_upstream, separate_run
from tests.support.upstream import Answer, Upstream, upstream

SHAPED = "sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"
PLAIN = "Zq81-not-shaped-like-a-key-4711"
PASSWORD = 'tr0ub4"dor\\&3'


def echo(key: str) -> Answer:
    """An answer that holds the key in its header fields, its body, and split over events and chunks."""
    pieces = ("your key ", key[:9], key[9:17], key[17:], ", your password ", PASSWORD[:5], PASSWORD[5:], ".")
    events = [f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': p}}]})}\n\n".encode() for p in pieces]
    whole = json.dumps({"error": f"bad key {key}", "basic": base64.b64encode(f"u:{key}".encode()).decode()})
    body = b"".join(events) + f"data: {whole}\n\ndata: [DONE]\n\n".encode()
    headers = {"content-type": "text/event-stream", "x-echo": key, "x-request-id": key, "set-cookie": f"s={key}"}
    return Answer(headers=headers, chunks=[body[at : at + 37] for at in range(0, len(body), 37)])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A project of its own that records from a server."""

    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    with upstream(lambda path, body: echo(json.loads(body)["key"])) as running, separate_run(tmp_path):
        name_upstream("server", running.transport())
        monkeypatch.setenv("AQUILA_UPSTREAM", "server")
        yield running


def ask(key: str, password: str = PASSWORD) -> list[bytes]:
    """Make a request with a key that is in every part of it."""
    body = {"key": key, "prompt": f"The key is {key}, the password {password}."}
    with (
        aquila.http_client() as client,
        client.stream(
            "POST",
            f"https://provider.example/v1/chat?api_key={key}",
            json=body,
            headers={"authorization": f"Bearer {key}", "x-api-key": key},
        ) as response,
    ):
        assert isinstance(response, httpx2.Response)
        return list(response.iter_raw())


@pytest.mark.parametrize("suffix", ["yaml", "msgpack"])
@pytest.mark.parametrize("key", [SHAPED, PLAIN], ids=["shaped", "plain"])
def test_a_recording_holds_no_secret_and_replays_for_everyone(
    key: str, suffix: str, server: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aquila.use_cassette(f"x.{suffix}" if suffix != "yaml" else "x", transport="record"):
        chunks = ask(key)
    assert key.encode() in b"".join(chunks)
    assert server.headers[0]["authorization"] == f"Bearer {key}"

    stored = b"".join(path.read_bytes() for path in (tmp_path / "cassettes").rglob("*") if path.is_file())
    encoded = base64.b64encode(b"u:" + key.encode())
    for secret in (key.encode(), encoded[4:-4], key.encode()[9:17], PASSWORD.encode(), json.dumps(PASSWORD).encode()):
        assert secret not in stored
    assert Redactor.from_environment({"A_KEY": key, "DB_PASSWORD": PASSWORD}).find_secrets(stored) == []

    # Somebody else, with a key and a password of their own, and no server.
    other, password = f"{key[:8]}Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9", "hunter2-hunter2"
    monkeypatch.setenv("DB_PASSWORD", password)
    with aquila.use_cassette(f"x.{suffix}" if suffix != "yaml" else "x", transport="replay"):
        replayed = ask(other, password)
    assert len(replayed) <= len(chunks)
    said = [json.loads(line[6:]) for line in b"".join(replayed).split(b"\n\n") if line.startswith(b"data: {")]
    text = "".join(event["choices"][0]["delta"]["content"] for event in said if "choices" in event)
    assert text == "your key [redacted], your password [redacted-2]."
    assert said[-1] == {"error": "bad key [redacted]", "basic": "[redacted]"}
    assert len(server.requests) == 1


def test_a_miss_shows_no_secret(server: Upstream) -> None:
    with aquila.use_cassette("x", transport="record"):
        ask(PLAIN)
    with (
        aquila.use_cassette("x", transport="replay"),
        pytest.raises(CassetteMiss, match=r"The key is \[redacted\], the password changed\.") as caught,
    ):
        ask(SHAPED, "changed")
    for secret in (PLAIN, SHAPED, PASSWORD, PLAIN[:12], SHAPED[:16]):
        assert secret not in str(caught.value)

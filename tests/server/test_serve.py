"""The server records and replays for any client, chunk by chunk, and lets nobody use it for more."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import ConfigError, UnknownTransport
from aquila.recording.recorder import ScopeRecording
from aquila.recording.scope import Scope
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer, open_listening_socket
from aquila.transports.proxy import Proxy
from tests.server.conftest import Serve
from tests.support.clients import PATH, body
from tests.support.upstream import Answer, Upstream, chat_chunks, streamed

TOKEN = "a-long-enough-token"


def post(running: BackgroundServer, content: Any, path: str = PATH, **options: Any) -> httpx2.Response:
    with httpx2.Client() as client:
        return client.post(running.url + path, json=content, **options)


def chunks(running: BackgroundServer, content: Any) -> list[bytes]:
    with httpx2.Client() as client, client.stream("POST", running.url + PATH, json=content) as answer:
        return list(answer.iter_raw())


def test_it_records_and_replays(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running:
        assert b"".join(chunks(running, body("hi"))) == b"".join(chat_chunks("one two three"))
    with serve() as running:
        answer = post(running, body("hi"))
        assert (answer.status_code, answer.content) == (200, b"".join(chat_chunks("one two three")))
        assert answer.headers["content-type"] == "text/event-stream"
    assert [path for path, _ in provider.requests] == [PATH]


def test_a_chunk_is_passed_on_before_the_next_one_arrives(serve: Serve, provider: Upstream) -> None:
    received = threading.Event()

    def hold_back(number: int) -> None:
        if number == 1:
            assert received.wait(10), "the first chunk was held back"

    provider.script = lambda path, body: streamed("one two three", before_chunk=hold_back)
    with (
        serve(record="all") as running,
        httpx2.Client() as client,
        client.stream("POST", running.url + PATH, json={}) as answer,
    ):
        arriving = answer.iter_raw()
        first = next(arriving)
        received.set()
        assert first + b"".join(arriving) == b"".join(chat_chunks("one two three"))


@pytest.mark.parametrize("transport", ["record", "replay"])
def test_a_side_request_is_neither_sent_nor_recorded(transport: str, root: Path) -> None:
    scope = Scope(kind="block", default_cassette="x", options={"transport": transport, "upstream": "live"})
    with BackgroundServer(build_application(Proxy(lambda: scope))) as running:
        answer = post(running, {"data": []}, "/v1/traces/ingest")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "side_request")
    assert answer.headers["x-should-retry"] == "false"
    assert (scope.close().recorded, len(scope.misses)) == (0, 0)


def test_only_what_is_missing_is_fetched(serve: Serve, provider: Upstream, root: Path) -> None:
    for _ in range(2):
        with serve(record="missing") as running:
            post(running, body("one"))
    with serve(record="missing") as running:
        post(running, body("two"))
    assert len(provider.requests) == 2
    with serve(record="all") as running:
        post(running, body("one"))
    assert len(provider.requests) == 3
    assert len(load_cassette(root / "x.yaml").interactions) == 2


def test_a_miss_is_a_404_that_says_how_it_differs_and_is_not_tried_again(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running:
        post(running, body("hi"))
    with serve() as running:
        answer = post(running, body("ho"))
        assert answer.status_code == 404
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "cassette_miss"
        assert "messages[0].content: recorded 'hi', now 'ho'" in error["message"]
        client = openai.OpenAI(base_url=running.base_url, api_key="x")
        with client, pytest.raises(openai.NotFoundError, match="recorded 'hi', now 'ho'"):
            client.chat.completions.create(model="m", stream=True, messages=[{"role": "user", "content": "ho"}])
    assert len(provider.requests) == 1


def test_requests_name_their_cassette_by_header_or_in_the_path(serve: Serve, provider: Upstream, root: Path) -> None:
    with serve(record="all", cassette=None) as running:
        assert post(running, body("hi"), headers={"x-aquila-cassette": "by/header"}).status_code == 200
        assert post(running, body("hi"), "/@by%2Fpath" + PATH + "?a=1").status_code == 200
        refused = post(running, body("hi"))
        assert refused.status_code == 400
        assert "--cassette" in refused.json()["error"]["message"]
    assert [path for path, _ in provider.requests] == [PATH, PATH + "?a=1"]
    assert all("x-aquila-cassette" not in headers for headers in provider.headers)
    assert (root / "by/header.yaml").exists()
    assert (root / "by/path.yaml").exists()


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fx", "%2Fetc%2Fx", "%20"])
def test_a_cassettes_name_never_leaves_the_folder(name: str, serve: Serve, provider: Upstream, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    with serve(cassette=None) as running:
        answer = post(running, {}, f"/@{name}/v1/x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "CassetteNameError")
    assert set(tmp_path.rglob("*")) == before


def test_any_path_and_method_is_passed_through(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=[path.encode()])
    with serve(record="all") as running, httpx2.Client() as client:
        for path in ("/", "/v1/models", "/v1/files/a%2Fb?x=1&x=2", "/api/chat"):
            assert client.get(running.url + path).text == path


def test_the_upstream_is_fixed(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running, httpx2.Client() as client:
        client.get(running.url + "/v1/models", headers={"host": "evil.example"})
        with socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1]))) as raw:
            raw.sendall(b"GET http://evil.example/v1/x HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert b" 404 " in answer.splitlines()[0]
    assert [headers["host"] for headers in provider.headers] == [provider.url.removeprefix("http://")]


def test_a_client_that_leaves_is_recorded_as_leaving(
    serve: Serve, provider: Upstream, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = threading.Event()
    finish = ScopeRecording.store_interaction

    def finished(*arguments: Any, **options: Any) -> None:
        finish(*arguments, **options)
        stored.set()

    monkeypatch.setattr(ScopeRecording, "store_interaction", finished)
    provider.script = lambda path, body: streamed("one two", before_chunk=lambda n: n < 2 or stored.wait(10))
    with (
        serve(record="all") as running,
        httpx2.Client() as client,
        client.stream("POST", running.url + PATH, json={}) as answer,
    ):
        next(answer.iter_raw())
        answer.close()
        assert stored.wait(10), "the server did not notice that its client had left"
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.response.end == "silent"
    assert len(interaction.response.chunks) == 2


def test_an_answer_that_breaks_off_breaks_off_for_the_client(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=chat_chunks("one two")[:2], breaks=True)
    for record in ("all", None):
        with serve(record=record) as running, pytest.raises(httpx2.RemoteProtocolError):
            chunks(running, {})


def test_an_upstream_that_is_away_is_a_502(serve: Serve, provider: Upstream) -> None:
    provider.url = "http://127.0.0.1:1"
    with serve(record="all") as running:
        answer = post(running, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert "x-should-retry" not in answer.headers


def test_a_damaged_cassette_is_a_500_with_its_reason(serve: Serve, root: Path) -> None:
    root.mkdir(parents=True)
    (root / "x.yaml").write_text("aquila: [")
    with serve() as running:
        answer = post(running, {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "CassetteCorrupt")


def test_large_requests_are_refused_announced_or_not(serve: Serve, provider: Upstream) -> None:
    with serve(record="all", largest_body=1000) as running, httpx2.Client() as client:
        assert client.post(running.url + PATH, content=b"x" * 1001).status_code == 413
        assert client.post(running.url + PATH, content=iter([b"x" * 600] * 2)).status_code == 413
        assert client.post(running.url + PATH, content=b"x" * 1000).status_code == 200
    assert len(provider.requests) == 1


def test_with_a_token_nobody_enters_without_it(serve: Serve, provider: Upstream) -> None:
    with serve(record="all", token=TOKEN, key="the-real-key") as running:
        assert post(running, {}).status_code == 401
        assert post(running, {}, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert post(running, {}, "/_aquila/reset").status_code == 401
        for headers in ({"authorization": f"Bearer {TOKEN}"}, {"x-api-key": TOKEN}, {"x-aquila-token": TOKEN}):
            assert post(running, {"by": [*headers]}, headers=headers).status_code == 200
        with httpx2.Client() as client:
            assert client.get(f"{running.url}/_aquila/health").json() == {"status": "ok"}
    assert len(provider.requests) == 3
    assert all(TOKEN not in "".join(headers.values()) for headers in provider.headers)
    assert provider.headers[0]["authorization"] == "Bearer the-real-key"
    assert provider.headers[1]["x-api-key"] == "the-real-key"


def test_a_dummy_key_becomes_the_servers_and_another_stays(serve: Serve, provider: Upstream, root: Path) -> None:
    with serve(record="all", key="sk-the-real-key-0123456789") as running:
        for key in ("aquila-no-key", "sk-the-clients-own-key-012345"):
            post(running, {"key": len(key)}, headers={"authorization": f"Bearer {key}"})
    sent = [headers["authorization"] for headers in provider.headers]
    assert sent == ["Bearer sk-the-real-key-0123456789", "Bearer sk-the-clients-own-key-012345"]
    assert "sk-the" not in (root / "x.yaml").read_text()


def test_reset_stores_and_begins_anew(serve: Serve, provider: Upstream, root: Path) -> None:
    with serve(record="all") as running:
        post(running, body("hi"))
        assert not (root / "x.yaml").exists()
        assert post(running, None, "/_aquila/reset").json() == {"status": "ok"}
        assert len(load_cassette(root / "x.yaml").interactions) == 1
    with serve() as running:
        assert [post(running, body("hi")).status_code for _ in range(2)] == [200, 404]
        post(running, None, "/_aquila/reset")
        assert post(running, body("hi")).status_code == 200


def test_eight_clients_at_once_get_the_right_answers(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=[body])
    for record in ("all", None):
        barrier = threading.Barrier(8)
        answers: dict[int, Any] = {}

        def ask(number: int, barrier: threading.Barrier = barrier, answers: dict[int, Any] = answers) -> None:
            barrier.wait(10)
            answers[number] = post(running, {"number": number}).json()

        with serve(record=record) as running:
            threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert answers == {number: {"number": number} for number in range(8)}
    assert len(provider.requests) == 8


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_listening_elsewhere_wants_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="AQUILA_SERVER_TOKEN"):
        open_listening_socket(host, 0)
    with pytest.raises(ConfigError, match="too short"):
        open_listening_socket(host, 0, token="short")


def test_a_port_that_is_taken_and_an_upstream_that_is_none_are_told() -> None:
    with open_listening_socket("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="cannot listen on"):
        open_listening_socket("127.0.0.1", taken.getsockname()[1])
    for upstream in ("ftp://x", "https://", "https://x/?a=1"):
        with pytest.raises(ConfigError, match="not the URL of a server"):
            Proxy(lambda: None, upstream=upstream)  # type: ignore[arg-type, return-value]
    with pytest.raises(UnknownTransport):
        Proxy(lambda: None, upstream="nonsense")  # type: ignore[arg-type, return-value]


def test_the_command_serves_until_it_is_interrupted(provider: Upstream, root: Path, tmp_path: Path) -> None:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("AQUILA_SESSION", "PYTHONPATH")}

    def command(*options: str) -> subprocess.Popen[str]:
        words = ["serve", *options, "--cassette", "x", "--port", "0", "--upstream", provider.url]
        return subprocess.Popen(
            [sys.executable, "-m", "aquila.cli", *words],
            cwd=tmp_path,
            env=surroundings,
            stdout=subprocess.PIPE,
            text=True,
        )

    runs = [
        (["--record"], "record what is missing", 1),
        (["--record=all"], "record everything", 1),
        ([], "replay", 0),
    ]
    for options, mode, recorded in runs:
        with command(*options) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert f"({mode})" in line
            url = line.split("OPENAI_BASE_URL=")[1].strip()
            asked = ["-H", "content-type: application/json", "-d", json.dumps(body("hi"))]
            done = subprocess.run(["curl", "-sS", f"{url}/chat/completions", *asked], capture_output=True, check=True)
            assert done.stdout == b"".join(chat_chunks("one two three"))
            process.send_signal(signal.SIGTERM if recorded else signal.SIGINT)
            assert process.wait(20) == 0
            assert process.stdout.read().strip() == f"{recorded} recorded"
    assert len(provider.requests) == 2


def test_the_fixture_serves_the_tests_own_cassette(pytester: pytest.Pytester, provider: Upstream) -> None:
    pytester.makepyfile(
        """
        import os, subprocess, pytest

        def curl(url, prompt):
            command = ["curl", "-sS", url + "/chat/completions", "-H", "content-type: application/json"]
            return subprocess.run([*command, "-d", f'{{"prompt": "{prompt}"}}'], capture_output=True, text=True).stdout

        def test_it(aquila_server, aquila_cassette):
            assert os.environ["OPENAI_BASE_URL"] == aquila_server.base_url
            assert "three" in curl(os.environ["OPENAI_BASE_URL"], "curl")
            import openai
            with openai.OpenAI(api_key="x") as client:
                stream = client.chat.completions.create(model="m", messages=[], stream=True)
                assert len(list(stream)) > 3

        def test_a_miss_fails_the_test(aquila_server):
            assert "cassette_miss" in curl(aquila_server.base_url, "never recorded")
        """
    )
    plain = ("-p", "no:cacheprovider", "-p", "no:xdist")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", provider.url + "/v1")
        pytester.runpytest_subprocess("--aquila-record", "-k", "test_it", *plain).assert_outcomes(
            passed=1, deselected=1
        )
    assert len(provider.requests) == 2
    replayed = pytester.runpytest_subprocess(*plain)
    replayed.assert_outcomes(passed=1, failed=1)
    replayed.stdout.fnmatch_lines(["aquila: 2 replayed, 0 recorded, 1 missed*"])
    assert len(provider.requests) == 2

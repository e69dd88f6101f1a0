"""The server records and replays for any client, chunk by chunk, and lets nobody use it for more."""

from __future__ import annotations

import contextlib
import errno
import http.client
import itertools
import json
import queue
import re
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest

from aquila.cassettes.matching.miss_message import Explanation
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cli.serve import scope_options
from aquila.errors import ConfigError, UnknownTransport
from aquila.recording.scope import Scope
from aquila.recording.sessions import miss_explanation
from aquila.recording.storing.recorder import ScopeRecording
from aquila.server.access_log import RequestLog
from aquila.server.admission import Admission
from aquila.server.application import build_application
from aquila.server.background_server import BackgroundServer, RenewableScope, open_listening_socket
from aquila.transports.callers.proxy import Proxy
from tests.server.conftest import ADMISSION, TOKEN, Serve
from tests.support.clients import PATH, body
from tests.support.http_server import LoopbackServer
from tests.support.server import json_answer, serving
from tests.support.threads import run_at_once
from tests.support.upstream import Answer, Upstream, chat_chunks, streamed


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
            assert received.wait(60), "the first chunk was held back"

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
    with BackgroundServer(build_application(Proxy(lambda: scope), ADMISSION)) as running:
        answer = post(running, {"data": []}, "/v1/traces/ingest")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "side_request")
    assert answer.headers["x-should-retry"] == "false"
    assert (scope.close().recorded, len(scope.misses.hear())) == (0, 0)


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


def test_others_are_answered_while_a_miss_is_explained(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def explain(*_: object) -> Explanation:
        begun.set()
        assert go_on.wait(20)  # only a loop that is blocked lets this time pass
        return Explanation("it took long")

    monkeypatch.setattr(miss_explanation, "explain_miss", explain)
    with serve() as running, ThreadPoolExecutor() as threads:
        missing = threads.submit(post, running, body("hi"))
        assert begun.wait(60)
        assert httpx2.get(f"{running.url}/_aquila/health", timeout=60).json() == {"status": "ok"}
        go_on.set()
        assert missing.result().json()["error"]["message"] == "it took long"


def test_what_has_missed_can_be_asked_for_until_a_reset(serve: Serve, provider: Upstream) -> None:
    with serve() as running:
        said = post(running, body("hi")).json()["error"]["message"]
        assert httpx2.get(f"{running.url}/_aquila/misses").json() == {"misses": [said]}
        httpx2.post(f"{running.url}/_aquila/reset")
        assert httpx2.get(f"{running.url}/_aquila/misses").json() == {"misses": []}


def test_a_token_in_the_place_of_a_key_in_the_query_uses_the_key_of_the_server(
    serve: Serve, provider: Upstream, root: Path
) -> None:
    with serve(record="all", key="sk-the-key-of-the-server") as running:
        assert post(running, body("hi"), f"{PATH}?key=aquila-no-key").status_code == 401
        assert post(running, body("hi"), f"{PATH}?alt=sse&key={TOKEN}").status_code == 200
    assert [path for path, _ in provider.requests] == [f"{PATH}?alt=sse&key=sk-the-key-of-the-server"]
    stored = (root / "x.yaml").read_text()
    assert "sk-the-key" not in stored
    assert TOKEN not in stored


def test_requests_name_their_cassette_by_header_or_in_the_path(serve: Serve, provider: Upstream, root: Path) -> None:
    with serve(record="all", cassette=None) as running:
        assert post(running, body("hi"), headers={"x-aquila-cassette": "by/header"}).status_code == 200
        for name in ("größe".encode(), "maß".encode("latin-1")):
            assert post(running, body("hi"), headers={"x-aquila-cassette": name}).status_code == 200
        assert post(running, body("hi"), "/@by%2Fpath" + PATH + "?a=1").status_code == 200
        refused = post(running, body("hi"))
        assert refused.status_code == 400
        assert "--cassette" in refused.json()["error"]["message"]
    assert [path for path, _ in provider.requests] == [*[PATH] * 3, PATH + "?a=1"]
    assert all("x-aquila-cassette" not in headers for headers in provider.headers)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.yaml")) == [
        *("by/header.yaml", "by/path.yaml", "größe.yaml", "maß.yaml")
    ]


@pytest.mark.parametrize("record", [None, "all"])
def test_a_cassettes_name_never_leaves_the_folder(
    record: str | None, serve: Serve, provider: Upstream, tmp_path: Path
) -> None:
    with serve(record=record) as running:
        post(running, {})
        before = set(tmp_path.rglob("*"))
        for name in ("..%2F..%2Fetc%2Fx", "%2Fetc%2Fx", "%20", ".journal%2Fx", "a%00b", "x" * 300):
            answer = post(running, {}, f"/@{name}/v1/x")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "CassetteNameError"), name
        assert set(tmp_path.rglob("*")) == before
    assert len(provider.requests) == (record is not None)


def test_any_path_and_method_is_passed_through(serve: Serve) -> None:
    asked = [("GET", path) for path in ("/", "/v1/models", "/v1/files/a%2Fb?x=1&x=2", "/api/chat")]
    asked += [(method, "/v1/files/1") for method in ("POST", "PUT", "PATCH", "DELETE")]
    # An upstream that is given as ``ws://`` gets plain requests, too.
    with (
        serving(by=lambda seen: json_answer([seen.method, seen.path])) as upstream,
        serve(record="all", upstream=upstream.url.replace("http", "ws", 1)) as running,
        httpx2.Client() as client,
    ):
        for method, path in asked:
            assert client.request(method, running.url + path).json() == [method, path]


def test_a_head_request_is_told_the_length_in_a_replay_too(serve: Serve, root: Path) -> None:
    class Sized(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "123456789")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with LoopbackServer(("127.0.0.1", 0), Sized) as sized:
        thread = threading.Thread(target=sized.serve_forever)
        thread.start()
        at = f"ws://127.0.0.1:{sized.server_address[1]}"
        try:
            with serve(record="all", upstream=at) as server:
                assert httpx2.head(server.url + "/file").headers["content-length"] == "123456789"
        finally:
            sized.shutdown()
            thread.join()
    with serve(upstream=at) as server:
        assert httpx2.head(server.url + "/file").headers["content-length"] == "123456789"


def test_the_upstream_is_fixed(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running, httpx2.Client() as client:
        client.get(running.url + "/v1/models", headers={"x-forwarded-host": "evil.example", "forwarded": "host=evil"})
        assert client.get(running.url + "//evil.example/v1/models").status_code == 200
    assert [path for path, _ in provider.requests] == ["/v1/models", "/evil.example/v1/models"]
    assert {headers["host"] for headers in provider.headers} == {provider.url.removeprefix("http://")}


def test_a_client_that_leaves_is_recorded_as_leaving(
    serve: Serve, provider: Upstream, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = threading.Event()
    finish = ScopeRecording.store_interaction

    def finished(*arguments: Any, **options: Any) -> None:
        finish(*arguments, **options)
        stored.set()

    monkeypatch.setattr(ScopeRecording, "store_interaction", finished)
    provider.script = lambda path, body: streamed("one two", before_chunk=lambda n: n < 2 or stored.wait(60))
    with (
        serve(record="all") as running,
        httpx2.Client() as client,
        client.stream("POST", running.url + PATH, json={}) as answer,
    ):
        received, chunks = b"", answer.iter_raw()  # kept: a dropped one closes the answer
        while b"one" not in received:
            received += next(chunks)
        answer.close()
        assert stored.wait(60), "the server did not notice that its client had left"
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert (interaction.response.end, interaction.response.body) == ("silent", received)


class Held:
    """A provider's script that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def __call__(self, path: str, body: bytes) -> Answer:
        self.asked.set()
        self.let_go.wait(60)
        return Answer()


def send_request(running: BackgroundServer) -> socket.socket:
    raw = socket.create_connection(running.address)
    raw.sendall(f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}".encode())
    return raw


def test_a_client_that_leaves_before_the_answer_begins_is_recorded_so_and_may_leave_again(
    serve: Serve, provider: Upstream, root: Path
) -> None:
    lines: queue.Queue[str] = queue.Queue()
    provider.script = held = Held()
    with serve(record="all", log=RequestLog(str, lines.put)) as running:
        with send_request(running):
            assert held.asked.wait(60)
        assert lines.get(timeout=60).startswith(f"POST {PATH} - left ")
    held.let_go.set()
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert (interaction.response.end, interaction.response.has_begun) == ("silent", False)
    with serve(log=RequestLog(str, lines.put)) as running:
        send_request(running).close()
        assert lines.get(timeout=60).startswith(f"POST {PATH} - left ")
        assert httpx2.get(f"{running.url}/_aquila/misses").json() == {"misses": []}


def test_an_answer_has_the_date_and_the_server_of_its_provider_alone(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running:
        names = [name.lower() for name, _ in post(running, body("hi")).headers.raw]
    assert len(names) == len(set(names))
    assert b"uvicorn" not in b"".join(names)


@pytest.mark.slow
def test_a_request_that_is_being_answered_when_the_server_ends_is_a_line_in_the_log_and_no_traceback(
    serve: Serve, provider: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    provider.script = held = Held()
    with serve(record="all", log=RequestLog(str, lines.append)) as running:
        raw = send_request(running)
        assert held.asked.wait(60)
    with raw:
        assert raw.recv(100) == b""
    held.let_go.set()
    assert lines[0].startswith(f"POST {PATH} - server ended ")
    assert "Traceback" not in capfd.readouterr().err


def test_an_answer_to_a_request_from_before_a_reset_is_not_recorded_but_a_line_in_the_log_and_no_traceback(
    serve: Serve, provider: Upstream, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines: queue.Queue[str] = queue.Queue()
    held, noted = Held(), threading.Event()

    def script(path: str, body: bytes) -> Answer:
        held(path, body)
        return streamed("one two", before_chunk=lambda number: number < 2 or noted.wait(60))

    provider.script = script
    with serve(record="all", log=RequestLog(str, lines.put)) as running:
        with send_request(running) as raw:
            assert held.asked.wait(60)
            post(running, None, "/_aquila/reset")
            assert lines.get(timeout=60).startswith("POST /_aquila/reset 200 answered ")
            held.let_go.set()
            while b"one" not in raw.recv(4096):
                pass
        assert lines.get(timeout=60).startswith(f"POST {PATH} 200 recorded, client left ")
        noted.set()
    assert "Traceback" not in capfd.readouterr().err
    assert not (root / "x.yaml").exists()


def test_a_stream_whose_provider_has_not_ended_it_after_its_terminator_is_recorded_at_a_reset(
    serve: Serve, provider: Upstream, root: Path
) -> None:
    """As of a client that reads only up to the terminator, and then resets the server for its next test."""
    pieces, ended = chat_chunks("one"), threading.Event()
    provider.script = lambda path, body: Answer(
        chunks=[*pieces, b"\n"], before_chunk=lambda number: number < len(pieces) or ended.wait(60)
    )
    with serve(record="all") as running:
        with httpx2.Client() as client, client.stream("POST", running.url + PATH, json={}) as answer:
            arriving = answer.iter_raw()
            while b"[DONE]" not in next(arriving):
                pass
            post(running, None, "/_aquila/reset")
        ended.set()
        (interaction,) = load_cassette(root / "x.yaml").interactions
    assert (interaction.response.end, interaction.response.body) == ("complete", b"".join(pieces))


def test_an_answer_that_breaks_off_breaks_off_for_the_client(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=chat_chunks("one two")[:2], breaks=True)
    for record in ("all", None):
        with serve(record=record) as running, pytest.raises(httpx2.RemoteProtocolError):
            chunks(running, {})


def test_an_upstream_that_is_away_is_a_502_which_says_whether_it_was_asked(serve: Serve, provider: Upstream) -> None:
    provider.url, back = "http://127.0.0.1:1", provider.url
    lines: list[str] = []
    for record in ("all", "missing", None):
        with serve(record=record, log=RequestLog(str, lines.append)) as running:
            answer = post(running, {})
        provider.url = back
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
        assert "x-should-retry" not in answer.headers
        assert ("the upstream was not asked" in answer.json()["error"]["message"]) is (record != "all")
    assert [line.split()[3] for line in lines] == ["failed", "replayed", "replayed"]


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
    with serve(record="all", admission=Admission(TOKEN, needs_token=True), key="the-real-key") as running:
        assert post(running, {}).status_code == 401
        assert post(running, {}, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert post(running, {}, "/_aquila/reset").status_code == 401
        assert httpx2.get(f"{running.url}/_aquila/misses").status_code == 401
        shown = [
            {"authorization": f"Bearer {TOKEN}"},
            {"authorization": f"bearer   {TOKEN}"},
            {"authorization": f"Bearer hf_{TOKEN}"},
            {"x-api-key": TOKEN},
            {"x-aquila-token": TOKEN},
        ]
        for number, headers in enumerate(shown):
            assert post(running, {"by": number}, headers=headers).status_code == 200
        with httpx2.Client() as client:
            assert client.get(f"{running.url}/_aquila/health").json() == {"status": "ok"}
    assert all(TOKEN not in "".join(headers.values()) for headers in provider.headers)
    sent = [headers.get("authorization") or headers.get("x-api-key") for headers in provider.headers]
    assert sent == ["Bearer the-real-key", "bearer   the-real-key", "Bearer the-real-key", "the-real-key", None]


def test_the_servers_key_is_used_only_for_a_client_that_shows_the_token(
    serve: Serve, provider: Upstream, root: Path
) -> None:
    own = {"authorization": "Bearer sk-" + "the-clients-own-key-012345"}
    dummy = {"authorization": "Bearer aquila-no-key"}
    with serve(record="all", key="sk-" + "the-servers-key-0123456789") as running:
        for headers in (dummy, {"authorization": "Bearer hf_aquila-no-key"}, {"x-api-key": "aquila-no-key"}):
            withheld = post(running, {"key": "the server's"}, headers=headers)
            assert (withheld.status_code, withheld.json()["error"]["code"]) == (401, "no_token")
            assert "printed it when it started" in withheld.json()["error"]["message"]
        assert provider.requests == []
        for headers in ({**dummy, "x-aquila-token": TOKEN}, {"authorization": f"Bearer {TOKEN}"}):
            assert post(running, {"key": "the server's"}, headers=headers).status_code == 200
        for headers in (own, {**own, "x-aquila-token": TOKEN}):
            assert post(running, {"key": "its own"}, headers=headers).status_code == 200
    sent = [headers["authorization"].removeprefix("Bearer sk-") for headers in provider.headers]
    assert sent == ["the-servers-key-0123456789"] * 2 + ["the-clients-own-key-012345"] * 2
    assert "-key-" not in (root / "x.yaml").read_text()
    with serve(key="sk-" + "the-servers-key-0123456789") as running:
        for asked in ("the server's", "its own"):  # what was withheld is not counted as a recording
            for _ in range(2):
                assert post(running, {"key": asked}, headers=dummy).status_code == 200


@pytest.mark.parametrize("key", [None, "aquila-no-key"])
def test_a_dummy_key_is_passed_on_where_the_server_has_no_key(
    key: str | None, serve: Serve, provider: Upstream
) -> None:
    with serve(record="all", key=key) as running:
        assert post(running, {}, headers={"authorization": "Bearer aquila-no-key"}).status_code == 200
        assert post(running, {}, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert [headers["authorization"] for headers in provider.headers] == ["Bearer aquila-no-key"] * 2


def test_what_a_web_page_sends_reaches_nothing(serve: Serve, provider: Upstream, root: Path) -> None:
    of_pages = [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"connection": "upgrade", "upgrade": "websocket"},
    ]
    asked = [("POST", PATH), ("GET", "/v1/models"), ("POST", "/_aquila/reset"), ("GET", "/_aquila/health")]
    with serve(record="all", key="the-real-key") as running, httpx2.Client() as client:
        client.post(running.url + PATH, json=body("hi"), headers={"x-aquila-token": TOKEN})
        for (method, path), headers in itertools.product(asked, of_pages):
            refused = client.request(method, running.url + path, headers={"x-aquila-token": TOKEN, **headers})
            assert refused.status_code == (400 if "upgrade" in headers else 403), (method, path, headers)
            assert not {name for name in refused.headers if name.startswith("access-control-")}
        assert not (root / "x.yaml").exists(), "it was reset"
    assert len(provider.requests) == 1


def test_a_page_that_asks_first_is_told_nothing(serve: Serve, provider: Upstream) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with serve(record="all") as running, httpx2.Client() as client:
        for origin, status in (("http://evil.example", 403), (running.url, 405), (None, 405)):
            headers = asked if origin is None else {**asked, "origin": origin}
            answer = client.request("OPTIONS", running.url + PATH, headers=headers)
            assert answer.status_code == status
            assert not {name for name in answer.headers if name.startswith("access-control-")}
    assert provider.requests == []


def test_nothing_below_the_servers_own_path_is_passed_on(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running, httpx2.Client() as client:
        for method, path, status in (
            ("GET", "reset", 405),
            ("POST", "health", 405),
            ("POST", "nothing", 404),
            ("GET", "", 404),
        ):
            assert client.request(method, f"{running.url}/_aquila/{path}").status_code == status
    assert provider.requests == []


def test_a_client_that_leaves_in_the_body_sends_nothing_upstream(serve: Serve, provider: Upstream, root: Path) -> None:
    lines: queue.Queue[str] = queue.Queue()
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n"
    partial = (
        "content-length: 100\r\n\r\n{",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nnonsense\r\n",
    )
    with serve(record="all", log=RequestLog(str, lines.put)) as running:
        for sent in partial:
            with socket.create_connection(running.address) as raw:
                raw.sendall((head + sent).encode())
                raw.shutdown(socket.SHUT_WR)
                assert lines.get(timeout=60).startswith(f"POST {PATH} - left ")
        assert post(running, {}).status_code == 200
    assert [sent for _, sent in provider.requests] == [b"{}"]
    assert len(load_cassette(root / "x.yaml").interactions) == 1


def test_each_request_is_a_line_in_the_log(serve: Serve, provider: Upstream) -> None:
    lines: list[str] = []
    log = RequestLog(lambda target: target.replace("secret", "[redacted]"), lines.append)
    with serve(record="missing", log=log) as running:
        post(running, body("hi"))
        post(running, body("hi"), f"{PATH}?key=secret&{'x' * 300}")
        post(running, body("hi"), headers={"origin": "http://evil.example"})
        provider.script = lambda path, body: Answer(breaks=True)
        with contextlib.suppress(httpx2.HTTPError):
            post(running, body("breaks"))
    with serve(log=log) as running:
        post(running, body("hi"))
        post(running, body("ho"))
        with httpx2.Client() as client:
            client.get(f"{running.url}/_aquila/health")
    expected = [  # a client may ask again before the line of its last answer is written
        f"POST {PATH} 200 recorded N ms",
        f"POST {PATH}?key=[redacted]&{'x' * 264}... 200 recorded N ms",
        f"POST {PATH} 403 refused N ms",
        f"POST {PATH} 200 recorded, broke off N ms",
        f"POST {PATH} 200 replayed N ms",
        f"POST {PATH} 404 missed N ms",
        "GET /_aquila/health 200 answered N ms",
    ]
    assert sorted(re.sub(r"\d+ ms", "N ms", line) for line in lines) == sorted(expected)


def test_an_answer_that_was_cut_off_is_cut_off_again_and_the_log_of_requests_alone_tells(
    serve: Serve, provider: Upstream, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lines: list[str] = []
    provider.script = lambda path, body: Answer(breaks=True)
    with serve(record="all") as running:
        for _ in range(2):
            with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
                post(running, body("breaks"))
    caplog.clear()
    with serve(log=RequestLog(str, lines.append)) as running:
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete"):
            post(running, body("breaks"))
        sent = json.dumps(body("breaks"))
        head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(sent)}\r\n\r\n"
        with socket.create_connection(running.address) as raw:  # two at once: the second is not answered
            raw.sendall((head + sent).encode() * 2)
            received = b"".join(iter(lambda: raw.recv(4096), b""))
        assert (received.count(b"HTTP/1.1 200"), received.endswith(b"0\r\n\r\n")) == (1, False)
    assert [line.rsplit(" ", 2)[0] for line in lines] == [f"POST {PATH} 200 replayed, broke off"] * 2
    assert (capfd.readouterr().err, caplog.records) == ("", [])


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


def test_what_was_recorded_before_a_reset_is_counted_at_the_end(provider: Upstream, root: Path) -> None:
    served = RenewableScope(
        lambda: Scope(kind="block", name="aquila serve", default_cassette="x", options=scope_options("all"))
    )
    app = build_application(Proxy(lambda: served.scope, upstream=provider.url, key=None), ADMISSION)
    with BackgroundServer(app, token=TOKEN) as running:
        post(running, body("hi"))
        anyio.run(served.reset_scope)
        post(running, body("ho"))
    assert served.close() == 2


def test_eight_clients_at_once_get_the_right_answers(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(chunks=[body])
    for record in ("all", None):
        barrier = threading.Barrier(8)
        answers: dict[int, Any] = {}

        def ask(number: int, barrier: threading.Barrier = barrier, answers: dict[int, Any] = answers) -> None:
            barrier.wait(60)
            answers[number] = post(running, {"number": number}).json()

        with serve(record=record) as running:
            run_at_once(partial(ask, number) for number in range(8))
        assert answers == {number: {"number": number} for number in range(8)}
    assert len(provider.requests) == 8


def test_the_lowest_ports_need_a_permission_and_another_port_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match=r"cannot listen on .*Permission denied; name another port with --port"):
        open_listening_socket("127.0.0.1", 80)


def test_a_port_that_is_taken_and_an_upstream_that_is_none_are_told() -> None:
    for host, port in (("127.0.0.1", 99999999), ("127.0.0.1", -1), ("x" * 300, 0), ("a b", 0)):
        with pytest.raises(ConfigError, match=r"no port|cannot listen on"):
            open_listening_socket(host, port)
    with (
        open_listening_socket("127.0.0.1", 0) as taken,
        pytest.raises(ConfigError, match=r"cannot listen on .*another port with --port"),
    ):
        open_listening_socket("127.0.0.1", taken.getsockname()[1])
    for upstream in ("ftp://x", "https://", "https://x/?a=1", "http://[::1", "http://x:a", "http://x:99999"):
        with pytest.raises(ConfigError, match="not the URL of a server"):
            Proxy(lambda: None, upstream=upstream)  # type: ignore[arg-type, return-value]
    with pytest.raises(UnknownTransport):
        Proxy(lambda: None, upstream="nonsense")  # type: ignore[arg-type, return-value]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.slow
def test_the_fixture_serves_the_tests_own_cassette(pytester: pytest.Pytester, provider: Upstream) -> None:
    pytester.makepyfile(
        """
        import os, subprocess, sys, pytest

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
            program = "import sys, httpx2; print(httpx2.post(sys.argv[1], json={'prompt': 'child'}).text)"
            child = [sys.executable, "-c", program, aquila_server.base_url + "/chat/completions"]
            assert "three" in subprocess.run(child, capture_output=True, text=True).stdout
            assert aquila_cassette.all_played

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
    assert len(provider.requests) == 3
    replayed = pytester.runpytest_subprocess(*plain)
    replayed.assert_outcomes(passed=1, failed=1)
    replayed.stdout.fnmatch_lines(["aquila: 3 replayed, 0 recorded, 1 missed*"])
    assert len(provider.requests) == 3


def test_it_ends_while_its_upstream_keeps_connections_open(serve: Serve, provider: Upstream) -> None:
    with serving(by=lambda seen: json_answer({})) as keeping:
        provider.url = keeping.url
        with serve(record="all") as running:
            assert post(running, body("hi")).status_code == 200


@pytest.mark.parametrize(
    "path", ["/../x", "/v1/../../x", "/v1/%2e%2E/x", "/v1/..%2Fx", "/v1/..", "/v1/..\\x", "/@y/../x"]
)
def test_no_path_leads_out_of_that_of_the_upstream(path: str, serve: Serve, provider: Upstream) -> None:
    provider.url += "/below"
    with serve(record="all") as running, contextlib.closing(http.client.HTTPConnection(*running.address)) as client:
        client.request("GET", path)
        refused = client.getresponse()
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (400, "invalid_request")
        client.request("GET", "/v1/files/a..b?path=../x")
        assert client.getresponse().read()
    assert [asked for asked, _ in provider.requests] == ["/below/v1/files/a..b?path=../x"]

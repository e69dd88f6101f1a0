"""How fast `aquila serve` replays, beside a bare ASGI application on the same server that returns the same bytes."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import traffic
from benchmarks.harness import Report, duration, main, paired

CALL = traffic.interaction(0)
STREAM = traffic.streamed(200)
PATH = "/v1/chat/completions"


def _bare(pipe: Connection) -> None:
    """The floor: constant bytes, in the same chunks."""
    from aquila.server.background_server import make_server, open_listening_socket

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        response = (STREAM if b'"stream":true' in body else CALL).response
        headers = [(name.encode(), value.encode()) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        for chunk in response.chunks:
            await send({"type": "http.response.body", "body": chunk.data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with open_listening_socket("127.0.0.1", 0) as bound:
        pipe.send(bound.getsockname()[1])
        make_server(app).run([bound])


def _aquila(pipe: Connection) -> None:
    from aquila.recording.scope import Scope
    from aquila.server.admission import Admission
    from aquila.server.application import build_application
    from aquila.server.background_server import make_server, open_listening_socket
    from aquila.transports.callers.proxy import Proxy

    scope = Scope(kind="block", default_cassette="traffic", options={"transport": "replay", "repeat": "last"})
    with open_listening_socket("127.0.0.1", 0) as bound:
        pipe.send(bound.getsockname()[1])
        make_server(build_application(Proxy(lambda: scope), Admission("no token is needed"))).run([bound])


class _Client:
    """Sends all requests over one connection, as clients do."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._call = json.dumps(traffic.body_of(0), separators=(",", ":")).encode()
        self._stream = json.dumps(traffic.body_of(0, stream=True), separators=(",", ":")).encode()

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        self._connection.request("POST", PATH, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        return answer

    def call(self) -> None:
        assert self._ask(self._call).read() == CALL.response.body

    def stream(self) -> None:
        assert self._ask(self._stream).read() == STREAM.response.body

    def first_chunk(self) -> float:
        start = time.perf_counter()
        answer = self._ask(self._stream)
        answer.read1(1)
        taken = time.perf_counter() - start
        answer.read()
        return taken


def run(report: Report) -> None:
    """Measure."""
    from aquila.cassettes.model import Cassette
    from aquila.cassettes.storage.cassette_files import save_cassette

    with tempfile.TemporaryDirectory() as name:
        os.environ["AQUILA_CASSETTE_DIR"] = name
        save_cassette(Path(name) / "traffic.yaml", Cassette.from_interactions([CALL, STREAM]))
        context = multiprocessing.get_context("spawn")
        clients: dict[str, _Client] = {}
        processes = []
        for subject, serve in (("bare ASGI", _bare), ("aquila serve", _aquila)):
            mine, its = context.Pipe()
            process = context.Process(target=serve, args=(its,), daemon=True)
            process.start()
            processes.append(process)
            clients[subject] = _Client(mine.recv())
        try:
            _measure(report, clients)
        finally:
            for process in processes:
                process.terminate()
                process.join()


def _measure(report: Report, clients: dict[str, _Client]) -> None:
    for title, action, number in (("A chat completion", "call", 50), ("A stream of 200 chunks", "stream", 5)):
        subjects: dict[str, Callable[[], object]] = {name: getattr(one, action) for name, one in clients.items()}
        times = paired(subjects, number=number, clock=time.perf_counter)
        report.table(f"{title} over loopback, one client", times, base="bare ASGI")
        rates = ", ".join(f"{name} {1 / times.median(name):.0f} requests a second" for name in clients)
        report.note(rates)
    first = {name: sorted(one.first_chunk() for _ in range(51))[25] for name, one in clients.items()}
    report.note("To the first chunk of a stream: " + ", ".join(f"{name} {duration(t)}" for name, t in first.items()))


if __name__ == "__main__":
    main(run)

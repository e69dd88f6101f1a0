"""Bodies of 200 MB and streams of 100,000 chunks: recorded and replayed, beside the plain client on a loopback socket.

Each measurement runs in a process of its own, because its peak memory counts too. The clock is wall time, because
reading from a socket and writing to a disk is mostly waiting.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from benchmarks.harness import QUICK, Report, in_process, main

MEGABYTES = 20 if QUICK else 200
EVENTS = 10_000 if QUICK else 100_000
ROUNDS = 3 if QUICK else 5
_BLOCK = Random(1).randbytes(1024 * 1024)

_CLIENT = """
import contextlib, json, resource, sys, time
import httpx2
mode, what, url, megabytes, folder = sys.argv[1:6]
megabytes = int(megabytes)
if what == "stream":
    import openai
if mode != "plain":
    import aquila
    from aquila.recording import runtime
    within = aquila.use_cassette("large", transport=mode, cassette_dir=folder, loopback="all")
else:
    within = contextlib.nullcontext()

def pieces():
    for number in range(megabytes):
        yield block

def download():
    with client.stream("GET", url + "/download") as answer:
        return sum(map(len, answer.iter_raw()))

def upload():
    headers = {"content-type": "application/octet-stream"}
    return len(client.post(url + "/upload", content=pieces(), headers=headers).content)

def stream():
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
    return sum(len(chunk.choices) for chunk in answer)

import random
block = random.Random(2).randbytes(1024 * 1024)
client = openai.OpenAI(base_url=url + "/v1", api_key="sk-none") if what == "stream" else httpx2.Client()
with contextlib.suppress(Exception):
    (client if what != "stream" else httpx2.Client()).get(url + "/nothing")
start, cpu = time.perf_counter(), time.process_time()
with within:
    got = globals()[what]()
taken, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)
print(json.dumps([taken, cpu, peak, got]))
"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        count = MEGABYTES if self.path == "/download" else 0
        self.send_response(200)
        self.send_header("Content-Length", str(count * len(_BLOCK)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        for _ in range(count):
            self.wfile.write(_BLOCK)

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self._skip(size + 2)
            self.rfile.readline()
        else:
            self._skip(int(self.headers["Content-Length"]))
        self.send_response(200)
        if self.path != "/v1/chat/completions":
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            return
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, EVENTS, 50):
            self.wfile.write(b"".join(map(_event, range(start, start + 50))))
        self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def _skip(self, size: int) -> None:
        while size and (read := len(self.rfile.read(min(size, 1 << 20)))):
            size -= read


def _event(number: int) -> bytes:
    delta = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
    value = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    data = b"data: " + json.dumps(value).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextlib.contextmanager
def _serve() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()


def run(report: Report) -> None:
    """Measure downloads, uploads and a long stream."""
    with _serve() as url, tempfile.TemporaryDirectory() as folder:
        for what in ("download", "upload", "stream"):
            _measure(report, what, url, Path(folder))


def _measure(report: Report, what: str, url: str, folder: Path) -> None:
    taken: dict[str, list[list[float]]] = {"plain": [], "record": [], "replay": []}
    for number in range(ROUNDS):
        place = folder / f"{what}-{number}"
        for mode, results in taken.items():
            result = in_process(_CLIENT, mode, what, url, str(MEGABYTES), str(place))
            assert isinstance(result, list)
            results.append(result)
        assert len({result[-1][3] for result in taken.values()}) == 1, "not the same answer"
    title = f"{EVENTS:,} events through the openai client" if what == "stream" else f"{what} of {MEGABYTES} MB"
    report.heading(title)
    middle = {
        mode: [statistics.median(result[at] for result in results) for at in range(3)]
        for mode, results in taken.items()
    }
    report.rows(
        ("", "time", "CPU", "most memory"),
        [(mode, f"{wall:.2f} s", f"{cpu:.2f} s", f"{peak:.0f} MB") for mode, (wall, cpu, peak) in middle.items()],
    )

    def paired_median(mode: str, at: int, *, ratio: bool = False) -> float:
        pairs = zip(taken[mode], taken["plain"], strict=True)
        return statistics.median([mine[at] / base[at] if ratio else mine[at] - base[at] for mine, base in pairs])

    for mode, seconds, times in (("record", 2.0, 1.2), ("replay", 0.3, 1.05)):
        if what == "stream":
            report.aim(f"{title}: {mode}", paired_median(mode, 1, ratio=True), at_most=times, unit="x")
        else:
            report.aim(f"{title}: {mode}, above plain", paired_median(mode, 0), at_most=seconds, unit="s")
        report.aim(f"{title}: {mode}, memory above plain", paired_median(mode, 2), at_most=150, unit="MB")


if __name__ == "__main__":
    main(run)

"""Large bodies: on a real socket, in real processes. They lie beside the cassette, and are never held as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

import aquila
from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.codecs.event_streams import stream_writer
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction import window_redaction
from aquila.cassettes.storage import body_writer, cassette_files, large_bodies
from aquila.errors import CassetteCorrupt, CassetteMiss, CassetteWriteError
from aquila.recording.storing import interrupted_runs
from tests.support.http_server import LoopbackServer
from tests.support.slow import slow_but

KEY = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0"
BLOCK = random.Random(7).randbytes(64 * 1024)
OPTIONS: dict[str, Any] = {"loopback": "all"}


class Handler(BaseHTTPRequestHandler):
    """``/bytes/<n>`` answers n blocks, ``/key`` a key in much text, ``/endless`` never ends; POST answers a hash."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        kind, _, number = self.path.strip("/").partition("/")
        self.send_response(200)
        if kind == "endless":
            self.send_header("Content-Length", str(10**12))
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(BLOCK)
        if kind == "events":
            self.send_header("Content-Type", "text/event-stream")
        pieces = [BLOCK] * int(number or 0)
        if kind == "key":
            pieces = [b"word " * 60_000, b"the key is " + KEY[:9].encode(), KEY[9:].encode() + b" " + b"word " * 60_000]
        elif kind == "events":
            pieces = [b'data: {"n": %d, "delta": "word"}\n\n' % n for n in range(int(number))]
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def do_POST(self) -> None:
        digest = hashlib.sha256()
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                digest.update(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            digest.update(self.rfile.read(int(self.headers["Content-Length"])))
        answer = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = LoopbackServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cassettes"
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", str(folder))
    return folder


def bodies(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("sha256-*") if path.parent.name == "@bodies")


def use(name: str, transport: str, **options: Any) -> Any:
    return aquila.use_cassette(name, transport=transport, **OPTIONS, **options)


def get(address: str) -> list[bytes]:
    with httpx2.Client() as client, client.stream("GET", address) as answer:
        return list(answer.iter_raw())


async def get_async(address: str) -> list[bytes]:
    async with httpx2.AsyncClient() as client, client.stream("GET", address) as answer:
        return [piece async for piece in answer.aiter_raw()]


def get_requests(address: str) -> list[bytes]:
    import requests

    return list(requests.get(address, stream=True, timeout=60).iter_content(65536))


@pytest.mark.parametrize("client", slow_but(["httpx2", "requests"], ["httpx2", "async", "requests", "httpx"]))
@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
def test_a_large_answer_lies_beside_the_cassette_and_replays_from_there(
    client: str, suffix: str, url: str, root: Path
) -> None:
    def fetch() -> list[bytes]:
        address = f"{url}/bytes/20"
        if client == "async":
            return anyio.run(get_async, address)
        if client == "requests":
            return get_requests(address)
        if client == "httpx":
            httpx = pytest.importorskip("httpx")
            with httpx.Client() as opened, opened.stream("GET", address) as answer:
                return list(answer.iter_raw())
        return get(address)

    with use(f"folder/large{suffix}", "record"):
        live = fetch()
    assert b"".join(live) == BLOCK * 20
    (body,) = bodies(root)
    assert body.parent == root / "folder" / "@bodies"
    assert body.name == "sha256-" + hashlib.sha256(BLOCK * 20).hexdigest()
    assert (root / "folder" / f"large{suffix}").stat().st_size < 4000
    assert "* binary" in (body.parent / ".gitattributes").read_text()
    assert not list((root / ".journal").glob("*.bodies"))
    with use(f"folder/large{suffix}", "replay"):
        again = fetch()
    assert b"".join(again) == b"".join(live)
    assert again == live or client == "requests"  # which reads pieces of its own


def test_while_it_is_recorded_the_journal_does_not_hold_it(url: str, root: Path) -> None:
    with use("large", "record"):
        get(f"{url}/bytes/20")
        (journal,) = (root / ".journal").glob("*.journal")
        assert journal.stat().st_size < 4000
        (kept,) = journal.with_suffix(".bodies").glob("sha256-*")
        assert kept.stat().st_size == 20 * len(BLOCK)


def test_two_cassettes_of_a_folder_share_a_body(url: str, root: Path) -> None:
    for name in ("one", "two"):
        with use(name, "record"):
            get(f"{url}/bytes/20")
    assert len(bodies(root)) == 1


def test_a_secret_in_a_large_answer_never_reaches_the_disk(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with use("large", "record"):
        live = b"".join(get(f"{url}/key"))
        assert KEY.encode() in live
        for path in (root / ".journal").rglob("*"):
            assert path.is_dir() or KEY.encode() not in path.read_bytes()
    (body,) = bodies(root)
    assert body.read_bytes() == live.replace(KEY.encode(), b"[redacted]")
    with use("large", "replay"):
        assert b"".join(get(f"{url}/key")) == body.read_bytes()


def upload(url: str, blocks: int, last: bytes = b"") -> bytes:
    def pieces() -> Iterator[bytes]:
        for _ in range(blocks):
            yield BLOCK
        yield last

    with httpx2.Client() as client:
        return client.post(f"{url}/upload", content=pieces()).content


async def upload_async(url: str, blocks: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(blocks):
            yield BLOCK

    async with httpx2.AsyncClient() as client:
        return (await client.post(f"{url}/upload", content=pieces())).content


def test_a_large_upload_reaches_the_server_whole_and_lies_beside_the_cassette(url: str, root: Path) -> None:
    expected = hashlib.sha256(BLOCK * 20).hexdigest()
    with use("large", "record"):
        assert upload(url, 20).decode() == expected
        assert anyio.run(upload_async, url, 20).decode() == expected
    (body,) = bodies(root)
    assert body.name == f"sha256-{expected}"
    with use("large", "replay"):
        assert upload(url, 20).decode() == expected
        assert anyio.run(upload_async, url, 20).decode() == expected
    with use("large", "replay") as cassette, httpx2.Client() as client:
        assert client.post(f"{url}/upload", content=BLOCK * 20).text == expected  # the same bytes, in memory
        with pytest.raises(CassetteMiss):
            upload(url, 20, b"!")
        cassette.forget_misses()


def test_a_miss_of_a_large_upload_searches_it_for_secrets_once_and_recordings_not_at_all(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[list[bytes]] = []
    search = window_redaction.redact_pieces

    def redact_pieces(pieces: Iterable[bytes], *others: Any, **named: Any) -> Any:
        searched.append(list(pieces))
        return search(searched[-1], *others, **named)

    with use("large", "record"), httpx2.Client() as client:
        for last in b"12":
            client.post(f"{url}/upload", content=BLOCK * 5 + bytes([last]))
    monkeypatch.setattr(window_redaction, "redact_pieces", redact_pieces)
    with use("large", "replay") as cassette, httpx2.Client() as client:
        with pytest.raises(CassetteMiss, match=r"body: *\n *recorded"):
            client.post(f"{url}/upload", content=BLOCK * 5 + b"3")
        cassette.forget_misses()
    assert searched == [[BLOCK * 5 + b"3"]]


def test_a_large_upload_of_a_form_is_compared_without_its_boundary(url: str, root: Path) -> None:
    def send(data: bytes) -> str:
        with httpx2.Client() as client:
            return client.post(f"{url}/upload", files={"file": ("sound.wav", data)}, data={"model": "m"}).text

    with use("large", "record"):
        live = send(BLOCK * 20)
    assert len(bodies(root)) == 1
    with use("large", "replay") as cassette:
        assert send(BLOCK * 20) == live
        with pytest.raises(CassetteMiss):
            send(BLOCK * 20 + b"!")
        cassette.forget_misses()


@pytest.mark.slow
def test_a_secret_in_a_large_upload_is_redacted_and_still_matches(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with use("large", "record"):
        live = upload(url, 20, b" " + KEY.encode())
    (body,) = bodies(root)
    assert KEY.encode() not in body.read_bytes()
    with use("large", "replay"):
        assert upload(url, 20, b" " + KEY.encode()) == live


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.unlink(), "is missing.*::test_a_missing_or_changed_body"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "does not have the 1,310,720 bytes.*::test_a_missing"),
        (lambda path: path.write_bytes(b"!" + path.read_bytes()[1:]), "was changed: its content does not fit its name"),
        (
            lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
            "is a pointer of Git LFS, not the body. Get it with: git lfs pull",
        ),
    ],
)
def test_a_missing_or_changed_body_is_named_with_what_to_type(damage: Any, what: str, url: str, root: Path) -> None:
    with use("large", "record"):
        get(f"{url}/bytes/20")
    (body,) = bodies(root)
    damage(body)
    with use("large", "replay"), pytest.raises(CassetteCorrupt) as caught:
        get(f"{url}/bytes/20")
    assert str(body) in str(caught.value)
    assert re.search(what, str(caught.value))
    assert "git" in str(caught.value)
    with use("large", "record", record="all"):  # and recording again heals it
        get(f"{url}/bytes/20")
    with use("large", "replay"):
        assert b"".join(get(f"{url}/bytes/20")) == BLOCK * 20


@pytest.mark.parametrize(
    ("events", "in_a_file"), [(20_000, False), pytest.param(200_000, True, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_an_event_stream_stays_readable_as_long_as_its_table_is_short(
    events: int, in_a_file: bool, url: str, root: Path
) -> None:
    with use("stream", "record"):
        live = b"".join(get(f"{url}/events/{events}"))
    assert bool(bodies(root)) == in_a_file
    with use("stream", "replay"):
        assert b"".join(get(f"{url}/events/{events}")) == live


@pytest.mark.slow
def test_the_table_of_a_long_stream_is_written_once(url: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    write = stream_writer._write_checked_table
    monkeypatch.setattr(
        stream_writer, "_write_checked_table", lambda chunks: [written.append(len(chunks)), write(chunks)][1]
    )
    with use("stream", "record"):
        get(f"{url}/events/20000")
    assert len(written) == 1


def test_a_linked_cassette_finds_its_large_bodies(url: str, root: Path) -> None:
    with use("elsewhere/large", "record"):
        get(f"{url}/bytes/20")
    (root / "linked.yaml").symlink_to(root / "elsewhere" / "large.yaml")
    with use("linked", "replay"):
        assert b"".join(get(f"{url}/bytes/20")) == BLOCK * 20
    with use("linked", "record"):
        get(f"{url}/bytes/21")
    with use("elsewhere/large", "replay"):
        assert b"".join(get(f"{url}/bytes/21")) == BLOCK * 21


def test_an_upload_that_is_replayed_is_not_written_to_disk_again(
    url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with use("large", "record"):
        live = upload(url, 20)

    def fail(*_: object, **__: object) -> None:
        raise OSError("written to disk")

    monkeypatch.setattr(body_writer, "BodyWriter", fail)
    with use("large", "replay") as cassette:
        assert upload(url, 20) == live
        assert cassette.all_played


_RECORD_AND_WAIT = """
import sys, httpx2, aquila
with aquila.use_cassette("large", transport="record", cassette_dir=sys.argv[1], loopback="all"):
    httpx2.get(sys.argv[2] + "/bytes/20")
    with httpx2.stream("GET", sys.argv[2] + "/endless") as answer:
        got = 0
        for piece in answer.iter_raw():
            got += len(piece)
            if got > 3_000_000:
                print("spilled", flush=True)
"""


@pytest.mark.slow
def test_a_kill_while_a_body_is_written_loses_nothing_that_was_finished(url: str, root: Path) -> None:
    command = [sys.executable, "-c", _RECORD_AND_WAIT, str(root), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "spilled\n"
        process.send_signal(signal.SIGKILL)
    assert list((root / ".journal").glob("*.bodies/.*.tmp"))
    assert interrupted_runs.recover_journals(root).cassettes == [(root / "large.yaml", 1)]
    assert not list((root / ".journal").glob("*.bodies"))
    with use("large", "replay"):
        assert b"".join(get(f"{url}/bytes/20")) == BLOCK * 20


@pytest.mark.slow
def test_two_processes_may_write_the_same_body_at_once(url: str, root: Path) -> None:
    code = (
        "import sys, httpx2, aquila\n"
        "with aquila.use_cassette(sys.argv[3], transport='record', cassette_dir=sys.argv[1], loopback='all'):\n"
        "    httpx2.get(sys.argv[2] + '/bytes/40')\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(root), url, f"c{n}"]) for n in range(4)]
    assert [process.wait() for process in running] == [0, 0, 0, 0]
    assert len(bodies(root)) == 1
    for number in range(4):
        with use(f"c{number}", "replay"):
            assert b"".join(get(f"{url}/bytes/40")) == BLOCK * 40


_ON_A_FULL_DISK = """
import resource, signal, sys, httpx2, aquila
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    with aquila.use_cassette("large", transport="record", cassette_dir=sys.argv[1], loopback="all"):
        with httpx2.stream("GET", sys.argv[2] + "/bytes/40") as answer:
            got = 0
            for piece in answer.iter_raw():
                got += len(piece)
                print(got, flush=True)
except aquila.errors.CassetteWriteError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_told_after_the_caller_has_the_whole_answer(url: str, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(root), url], capture_output=True, text=True, check=True
    )
    *read, error = done.stdout.splitlines()
    assert int(read[-1]) == 40 * len(BLOCK)
    assert error.startswith("cannot write ")
    assert "free the disk" in error
    assert not bodies(root)
    assert not list((root / ".journal").glob("*.bodies/*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_the_request(url: str, root: Path) -> None:
    root.mkdir()
    root.chmod(0o500)
    with pytest.raises(CassetteWriteError), use("large", "record"):
        get(f"{url}/bytes/20")


_MEMORY = """
import re, sys, httpx2, aquila
mode, folder, url = sys.argv[1:]
import contextlib
within = aquila.use_cassette("large", transport=mode, cassette_dir=folder, loopback="all")
with within, httpx2.stream("GET", url + "/bytes/1600") as answer:
    print(sum(map(len, answer.iter_raw())))
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_a_body_of_100_mb_is_recorded_and_replayed_in_far_less_memory(url: str, root: Path) -> None:
    for mode in ("record", "replay"):
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, mode, str(root), url], capture_output=True, text=True, check=True
        )
        size, peak = map(int, done.stdout.split())
        assert size == 1600 * len(BLOCK)
        assert peak < 90


def large_interaction(answer: bytes = BLOCK * 8, asked: bytes = b"") -> Interaction:
    chunks = tuple(RecordedChunk(answer[at : at + 50_000], at) for at in range(0, len(answer), 50_000))
    return Interaction(RecordedRequest("POST", "https://x.test/v1/files", (), asked), RecordedResponse(200, (), chunks))


@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
def test_a_large_body_reads_back_as_the_chunks_and_bytes_that_it_was(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    before = large_interaction(asked=BLOCK * 9)
    cassette_files.save_cassette(path, Cassette((before,)))
    (after,) = cassette_files.load_cassette(path, copies_folder=tmp_path / "copies").interactions
    (again,) = cassette_files.load_cassette(path, copies_folder=tmp_path / "copies").interactions
    assert again == after
    assert isinstance(after.request, StoredRequest)
    assert isinstance(after.response.chunks, StoredChunks)
    assert after.request.body == before.request.body
    assert tuple(after.response.chunks) == before.response.chunks
    assert after.response.chunks[-1] == before.response.chunks[-1]
    assert after.response.chunks[2:4] == before.response.chunks[2:4]
    assert after.response.body == before.response.body


def test_the_same_file_in_another_folder_has_the_bodies_of_that_folder(tmp_path: Path) -> None:
    paths = [tmp_path / name / "x.yaml" for name in ("a", "b")]
    for path in paths:
        cassette_files.save_cassette(path, Cassette((large_interaction(),)))
    for path in paths:
        (one,) = cassette_files.load_cassette(path).interactions
        assert isinstance(one.response.chunks, StoredChunks)
        assert one.response.chunks.file.path.parent == path.parent / "@bodies"


@pytest.mark.parametrize("name", ["sha256-../../x", "../" + "a" * 64, "sha256-" + "A" * 64])
def test_the_name_of_a_body_is_no_way_out_of_its_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    cassette_files.save_cassette(path, Cassette((large_interaction(),)))
    path.write_text(re.sub("sha256-[0-9a-f]+", name, path.read_text()))
    with pytest.raises(CassetteCorrupt, match="'body_file' must be sha256- and the hash of the body"):
        cassette_files.load_cassette(path)


def test_unused_bodies_are_those_that_no_file_beside_their_folder_names(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    cassette_files.save_cassette(path, Cassette((large_interaction(),)))
    (used,) = bodies(tmp_path)
    cassette_files.save_cassette(path, Cassette((large_interaction(), large_interaction(BLOCK * 9))))
    cassette_files.save_cassette(path, Cassette((large_interaction(BLOCK * 9),)))
    assert large_bodies.find_unused_bodies(tmp_path) == [used]

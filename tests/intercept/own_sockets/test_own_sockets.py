"""Clients that speak HTTP over sockets of their own are recorded and replayed, under the provider's real name."""

from __future__ import annotations

import json
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.real_hosts import real_hosts
from tests.support.upstream import Answer, Upstream

HOST = "api.openai.com"
PARTS = ["Far", " out", " at", " sea", "."]

CLIENTS = '''
import asyncio, json, socket, ssl

HEAD = "POST /v1/chat/completions HTTP/1.1\\r\\nHost: api.openai.com\\r\\nAuthorization: Bearer sk-own\\r\\n"

def request(prompt):
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    return f"{HEAD}Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n".encode() + body

def read(file):
    """The status, and the chunks of the body."""
    status = int(file.readline().split()[1])
    fields = {}
    while (line := file.readline().strip()):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if b"content-length" in fields:
        return status, [file.read(int(fields[b"content-length"]))]
    chunks = []
    while size := int(file.readline(), 16):
        chunks.append(file.read(size))
        file.readline()
    return status, chunks

def over_socket(prompt):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.sendall(request(prompt))
            return read(safe.makefile("rb"))

async def read_stream(receive):
    import io
    data = b""
    while more := await receive():
        data += more
    return read(io.BytesIO(data))

def over_asyncio(prompt):
    async def ask():
        reader, writer = await asyncio.open_connection("api.openai.com", 443, ssl=True)
        writer.write(request(prompt))
        await writer.drain()
        answer = await read_stream(lambda: reader.read(65536))
        writer.close()
        return answer
    return asyncio.run(ask())

def over_uvloop(prompt):
    import uvloop
    async def ask():
        reader, writer = await asyncio.open_connection("api.openai.com", 443, ssl=True)
        writer.write(request(prompt))
        answer = await read_stream(lambda: reader.read(65536))
        writer.close()
        return answer
    return uvloop.run(ask())

def over_trio(prompt):
    import trio
    async def ask():
        async with await trio.open_ssl_over_tcp_stream("api.openai.com", 443, https_compatible=True) as stream:
            await stream.send_all(request(prompt))
            return await read_stream(stream.receive_some)
    return trio.run(ask)

def over_anyio(prompt):
    import anyio
    async def ask():
        async with await anyio.connect_tcp("api.openai.com", 443, tls=True, tls_standard_compatible=False) as stream:
            await stream.send(request(prompt))
            async def receive():
                try:
                    return await stream.receive()
                except anyio.EndOfStream:
                    return b""
            return await read_stream(receive)
    return anyio.run(ask)

def over_httpcore(prompt):
    import httpcore2
    head, _, body = request(prompt).partition(b"\\r\\n\\r\\n")
    fields = [tuple(line.split(b": ")) for line in head.split(b"\\r\\n")[1:]]
    with httpcore2.ConnectionPool() as pool:
        with pool.stream("POST", "https://api.openai.com/v1/chat/completions", headers=fields, content=body) as answer:
            return answer.status, list(answer.iter_stream())

def over_plain_socket(prompt):
    with socket.create_connection(("api.openai.com", 80)) as plain:
        plain.sendall(request(prompt))
        return read(plain.makefile("rb"))

def after_first_part(prompt):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.sendall(request(prompt))
            file = safe.makefile("rb")
            while file.readline().strip():
                pass
            return file.read(int(file.readline(), 16))

def over_impatient_socket(prompt):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.settimeout(0.5)
            safe.sendall(request(prompt))
            return read(safe.makefile("rb"))

def send(data):
    with socket.create_connection(("api.openai.com", 80)) as plain:
        plain.sendall(data)
        return plain.recv(100)
'''

WAYS = [
    "over_socket",
    "over_asyncio",
    "over_uvloop",
    "over_trio",
    "over_anyio",
    "over_httpcore",
]


def events(parts: list[str]) -> list[bytes]:
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": part}}]}
        for part in parts
    ]
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


@pytest.fixture
def provider() -> Iterator[Upstream]:
    with real_hosts(HOST, script=lambda path, body: Answer(chunks=events(PARTS))) as running:
        yield running


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    pytester.makepyfile(ownclients=CLIENTS)

    def run_tests(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_own=textwrap.dedent(source))
        return pytester.runpytest("-p", "no:cacheprovider", *options)

    return run_tests


ASKING = """
    import ownclients

    def test_it(aquila_cassette):
        status, chunks = ownclients.{way}({prompt!r})
        text = b"".join(chunks).decode()
        assert status == 200, text
        assert text.endswith("data: [DONE]\\n\\n") and " sea" in text
        assert len(chunks) == 6
    """


@pytest.mark.parametrize("way", WAYS)
def test_what_a_client_asks_over_its_own_socket_is_recorded_and_replayed(
    way: str, run: Run, provider: Upstream, pytester: pytest.Pytester
) -> None:
    recorded = run(ASKING.format(way=way, prompt="Where?"), "--aquila-record")
    recorded.assert_outcomes(passed=1)
    assert len(provider.requests) == 1
    (cassette,) = (pytester.path / "cassettes").rglob("*.yaml")
    assert "Far out at sea." in cassette.read_text()
    assert "sk-own" not in cassette.read_text()
    run(ASKING.format(way=way, prompt="Where?")).assert_outcomes(passed=1)
    drifted = run(ASKING.format(way=way, prompt="When?"))
    drifted.assert_outcomes(failed=1)
    drifted.stdout.fnmatch_lines(["*messages[[]0[]].content differs*"])
    assert len(provider.requests) == 1


def test_a_script_answers_such_a_client_and_a_fault_breaks_its_connection(run: Run, provider: Upstream) -> None:
    run(
        """
        import pytest
        import ownclients

        def test_script(aquila_script):
            aquila_script.reply("Far out.")
            status, chunks = ownclients.over_plain_socket("Where?")
            assert status == 200 and b"out" in b"".join(chunks)

        @pytest.mark.aquila(faults="cut_stream")
        def test_fault(aquila_script):
            aquila_script.reply("Far out at sea, where nobody is.")
            with pytest.raises((OSError, ValueError)):
                ownclients.over_socket("Where?")

        @pytest.mark.aquila(faults="overloaded")
        def test_overloaded(aquila_script):
            aquila_script.reply("Far out.")
            assert ownclients.over_socket("Where?")[0] in (503, 529)
        """
    ).assert_outcomes(passed=3)
    assert provider.requests == []


def test_a_miss_is_told_as_an_error_that_is_not_tried_again_and_fails_the_test(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import json
        import ownclients

        def test_it(aquila_cassette):
            status, chunks = ownclients.over_socket("Where?")
            assert status == 404
            assert json.loads(b"".join(chunks))["error"]["code"] == "cassette_miss"
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteMiss*"])
    assert provider.requests == []


def test_what_is_no_request_of_http_1_is_refused_by_name(run: Run, provider: Upstream) -> None:
    result = run(
        """
        import pytest
        import ownclients

        @pytest.mark.parametrize("data", [b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n", b"\\x00\\x01\\r\\n\\r\\n"])
        def test_it(data, aquila_cassette):
            assert ownclients.send(data) == b""
        """
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*a connection to api.openai.com:80 was refused: no cassette can answer its client*"])


def test_conversations_in_threads_and_in_turn_are_each_recorded(run: Run, provider: Upstream) -> None:
    source = """
        import concurrent.futures
        import ownclients

        def test_it(aquila_cassette):
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(ownclients.over_socket, [f"Where is {n}?" for n in range(8)]))
            answers += [ownclients.over_socket("And?"), ownclients.over_socket("And?")]
            assert [status for status, _ in answers] == [200] * 10
        """
    run(source, "--aquila-record").assert_outcomes(passed=1)
    assert len(provider.requests) == 10
    run(source).assert_outcomes(passed=1)
    assert len(provider.requests) == 10


def test_a_client_that_leaves_early_is_recorded_and_replayed_as_it_was(run: Run, provider: Upstream) -> None:
    source = """
        import ownclients

        def test_it(aquila_cassette):
            assert b"Far" in ownclients.after_first_part("Where?")
        """
    run(source, "--aquila-record").assert_outcomes(passed=1)
    run(source).assert_outcomes(passed=1)
    assert len(provider.requests) == 1


def test_a_client_that_stops_waiting_is_replayed_as_it_was(run: Run) -> None:
    source = """
        import pytest
        import ownclients

        @pytest.mark.parametrize("silent_after", [0, 2])
        def test_it(silent_after, aquila_cassette):
            with pytest.raises(TimeoutError):
                ownclients.over_impatient_socket(f"Be silent after {silent_after}!")
        """
    released = threading.Event()

    def fall_silent(path: str, body: bytes) -> Answer:
        count = int(json.loads(body)["messages"][0]["content"][-2])
        return Answer(chunks=events(PARTS), before_chunk=lambda number: number == count and released.wait(60))

    with real_hosts(HOST, script=fall_silent) as provider:
        try:
            run(source, "--aquila-record").assert_outcomes(passed=2)
            run(source).assert_outcomes(passed=2)
        finally:
            released.set()
        assert len(provider.requests) == 2


def test_nothing_is_left_of_it_after_its_test(run: Run, provider: Upstream) -> None:
    run(
        """
        import socket, threading
        import pytest
        import ownclients
        from aquila.errors import LiveCallRefused

        connected = []

        def test_first(aquila_cassette):
            connected.append(socket.create_connection(("api.openai.com", 443)))
            assert ownclients.over_socket("Where?")[0] == 200

        def test_second(aquila_refusals):
            assert not [thread for thread in threading.enumerate() if thread.name == "aquila-provider"]
            with connected[0] as left:
                left.settimeout(20)
                assert left.recv(1) == b""
            with pytest.raises(LiveCallRefused):
                socket.create_connection(("api.openai.com", 443))
            with pytest.raises(LiveCallRefused):
                ownclients.ssl.create_default_context().wrap_bio(
                    ownclients.ssl.MemoryBIO(), ownclients.ssl.MemoryBIO(), server_hostname="api.openai.com"
                )
            aquila_refusals.forget()
        """,
        "--aquila-record",
    ).assert_outcomes(passed=2)


def test_a_child_process_is_answered_too(run: Run, provider: Upstream) -> None:
    source = """
        import subprocess, sys
        import pytest

        @pytest.mark.parametrize("prompt", {prompts})
        def test_it(prompt, aquila_script):
            aquila_script.reply("Far out.")
            asking = "import ownclients; print(ownclients.over_socket('Where?')[0])"
            assert subprocess.run([sys.executable, "-c", asking], capture_output=True, text=True).stdout == "200\\n"
        """
    run(source.format(prompts=["Where?"])).assert_outcomes(passed=1)
    assert provider.requests == []

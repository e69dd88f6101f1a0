"""Recording is a tee, and replay gives back what came over the wire."""

from __future__ import annotations

import datetime
import gc
import gzip
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import httpx2
import pytest

import aquila
from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss, CassetteWriteError, PlayedOut
from tests.support.alike import replayed_alike
from tests.support.runs import name_upstream
from tests.support.threads import run_at_once
from tests.support.upstream import Answer, Upstream, chat_chunks, streamed, upstream

URL = "https://provider.example/v1/chat/completions"


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream(lambda path, body: Answer(chunks=[b'{"ok":', b"true}"])) as running:
        yield running


@pytest.fixture
def recording(root: Path, server: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """What ``record`` records from is the server."""

    name_upstream("server", server.transport())
    monkeypatch.setenv("AQUILA_TRANSPORT", "record")
    monkeypatch.setenv("AQUILA_UPSTREAM", "server")
    return server


def ask(prompt: str, client: httpx2.Client | None = None) -> list[bytes]:
    with client or aquila.http_client() as http, http.stream("POST", URL, json={"prompt": prompt}) as response:
        return list(response.iter_raw())


def interactions(root: Path, name: str) -> tuple[Interaction, ...]:
    return load_cassette(root / f"{name}.yaml").interactions


def test_a_recording_replays_chunk_by_chunk_without_the_server(root: Path, recording: Upstream) -> None:
    assert replayed_alike(lambda: ask("hi")) == [b'{"ok":', b"true}"]
    assert len(recording.requests) == 1


def test_a_recording_says_what_it_was_recorded_from_and_which_model_answered(root: Path, recording: Upstream) -> None:
    recording.script = lambda path, body: Answer(chunks=[b'{"model":"small-model-2",', b'"choices":[]}'])
    with aquila.use_cassette("x"):
        ask("hi")
    (stored,) = interactions(root, "x")
    assert (stored.upstream, stored.model) == ("server", "small-model-2")


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="there is no other clock")
def test_the_pace_of_an_answer_is_kept_where_a_test_has_stopped_the_clock(
    root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As freezegun stops it."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        time.sleep(0.02)
        return httpx2.Response(200, content=b"late")

    name_upstream("late", httpx2.MockTransport(answer))
    monkeypatch.setenv("AQUILA_UPSTREAM", "late")
    with monkeypatch.context() as stopped, aquila.use_cassette("x"):
        stopped.setattr(time, "monotonic", lambda: 1.0)
        ask("hi")
    (stored,) = interactions(root, "x")
    assert stored.response.started >= 20
    assert stored.response.chunks[0].at >= 20


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (time, "strftime", lambda *arguments: "now"),
        (time, "gmtime", lambda *arguments: "now"),
        (datetime, "datetime", SimpleNamespace(now=lambda *arguments: 0)),
    ],
    ids=["strftime", "gmtime", "datetime"],
)
def test_a_recording_has_its_date_whatever_a_test_has_put_in_the_place_of_a_clock(
    module: object, name: str, other: object, root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_upstream("here", httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"now")))
    monkeypatch.setenv("AQUILA_UPSTREAM", "here")
    with aquila.use_cassette("x"), monkeypatch.context() as patched:
        patched.setattr(module, name, other)
        ask("hi")
    (stored,) = interactions(root, "x")
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(stored.recorded)
    assert abs(age) < datetime.timedelta(hours=1)


def test_a_chunk_reaches_the_caller_before_the_next_one_is_sent(recording: Upstream) -> None:
    received = threading.Event()

    def hold_back(number: int) -> None:
        if number == 1:
            assert received.wait(60), "the first chunk was held back by the recorder"

    recording.script = lambda path, body: streamed("one two three", before_chunk=hold_back)
    with aquila.use_cassette("x"), aquila.http_client() as http, http.stream("POST", URL, json={}) as response:
        chunks = response.iter_raw()
        first = next(chunks)
        received.set()
        assert [first, *chunks] == chat_chunks("one two three")


def test_a_stream_that_the_caller_left_ends_where_it_left(root: Path, recording: Upstream) -> None:
    recording.script = lambda path, body: streamed("one two three")

    def first_two(further: bool) -> list[bytes]:
        with aquila.http_client() as http, http.stream("POST", URL, json={}) as response:
            chunks = response.iter_raw()
            taken = [next(chunks), next(chunks)]
            if further:
                next(chunks)
            return taken

    with aquila.use_cassette("x"):
        recorded = first_two(False)
    (stored,) = interactions(root, "x")
    assert stored.response.end == "closed"
    with aquila.use_cassette("x", transport="replay"):
        assert first_two(False) == recorded
    with aquila.use_cassette("x", transport="replay"), pytest.raises(CassetteMiss, match="ends after 2 chunks"):
        first_two(True)


def test_a_stream_left_at_its_terminator_is_complete(root: Path, recording: Upstream) -> None:
    recording.script = lambda path, body: streamed("one")
    with aquila.use_cassette("x"), aquila.http_client() as http, http.stream("POST", URL, json={}) as response:
        for chunk in response.iter_raw():
            if b"[DONE]" in chunk:
                break
    (stored,) = interactions(root, "x")
    assert stored.response.end == "complete"


def test_a_broken_stream_breaks_again_with_the_same_class_of_error(root: Path, recording: Upstream) -> None:
    recording.script = lambda path, body: Answer(chunks=chat_chunks("one two")[:3], breaks=True)

    def broken() -> tuple[list[bytes], type[Exception]]:
        seen = []
        with (
            pytest.raises(httpx2.TransportError) as caught,
            aquila.http_client() as http,
            http.stream("POST", URL, json={}) as response,
        ):
            for chunk in response.iter_raw():
                seen.append(chunk)
        return seen, caught.type

    assert replayed_alike(broken)[0] == chat_chunks("one two")[:3]
    assert interactions(root, "x")[0].response.end == "broken"


def test_compressed_answers_are_stored_readable_and_seen_alike_by_recorder_and_replay(
    root: Path, recording: Upstream
) -> None:
    body = gzip.compress(b'{"text":"' + b"a" * 5000 + b'"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    recording.script = lambda path, body_: Answer(headers=headers, chunks=[body[:20], body[20:]])
    assert b"".join(replayed_alike(lambda: ask("hi"))) == b'{"text":"' + b"a" * 5000 + b'"}'
    assert interactions(root, "x")[0].response.first_header("content-encoding") == ""


def test_the_nth_identical_request_gets_the_nth_recording_and_one_more_what_repeat_says(recording: Upstream) -> None:
    answers = iter([b"1", b"2", b"3"])
    recording.script = lambda path, body: Answer(chunks=[next(answers)])
    with aquila.use_cassette("x"):
        assert [ask("hi"), ask("hi"), ask("other")] == [[b"1"], [b"2"], [b"3"]]
    with aquila.use_cassette("x", transport="replay") as cassette:
        assert [ask("other"), ask("hi"), ask("hi")] == [[b"3"], [b"1"], [b"2"]]
        with pytest.raises(PlayedOut):
            ask("hi")
        assert len(cassette.misses) == 1
    with aquila.use_cassette("x", transport="replay", repeat="last"):
        assert [ask("hi"), ask("hi"), ask("hi")] == [[b"1"], [b"2"], [b"2"]]
    with aquila.use_cassette("x", transport="replay", repeat="first"):
        assert [ask("hi"), ask("hi"), ask("hi")] == [[b"1"], [b"1"], [b"1"]]


def test_recording_keeps_what_matches_and_asks_only_for_the_rest(root: Path, recording: Upstream) -> None:
    with aquila.use_cassette("x"):
        ask("one")
    before = interactions(root, "x")
    with aquila.use_cassette("x"):
        ask("one")
        ask("two")
    assert [body for _, body in recording.requests] == [b'{"prompt":"one"}', b'{"prompt":"two"}']
    assert interactions(root, "x")[:1] == before


def test_a_block_that_fails_replaces_nothing_and_keeps_its_recording_beside(root: Path, recording: Upstream) -> None:
    with aquila.use_cassette("x"):
        ask("one")
    before = (root / "x.yaml").read_bytes()
    with pytest.raises(RuntimeError), aquila.use_cassette("x", record="all"):
        ask("one")
        raise RuntimeError
    assert (root / "x.yaml").read_bytes() == before
    assert load_cassette(root / "x.pending.yaml").interactions


def test_a_retried_failure_is_not_kept_and_the_last_one_is_not_waited_for(root: Path, recording: Upstream) -> None:
    answers = iter([Answer(429, chunks=[b"slow"]), Answer(200), Answer(503, {"retry-after-ms": "9000"}, [b"down"])])
    recording.script = lambda path, body: next(answers)
    with aquila.use_cassette("x"), aquila.http_client() as http:
        for prompt, retry in (("a", 0), ("a", 1), ("b", 0)):
            http.post(URL, json={"prompt": prompt}, headers={"x-stainless-retry-count": str(retry)})
    assert [row.response.status for row in interactions(root, "x")] == [200, 503]
    with aquila.use_cassette("x", transport="replay"), aquila.http_client() as http:
        headers = http.post(URL, json={"prompt": "b"}).headers
        assert (headers["x-should-retry"], headers["retry-after-ms"]) == ("false", "9000")


def test_every_failure_is_kept_on_request_and_followed_at_once(recording: Upstream) -> None:
    answers = iter([Answer(429, {"retry-after": "20"}), Answer(200)])
    recording.script = lambda path, body: next(answers)
    with aquila.use_cassette("x", record_errors="all"), aquila.http_client() as http:
        http.post(URL, headers={"x-stainless-retry-count": "0"})
        http.post(URL, headers={"x-stainless-retry-count": "1"})
    with aquila.use_cassette("x", transport="replay"), aquila.http_client() as http:
        first = http.post(URL, headers={"x-stainless-retry-count": "0"})
        assert (first.status_code, first.headers["retry-after"], first.headers["retry-after-ms"]) == (429, "20", "1")
        assert http.post(URL, headers={"x-stainless-retry-count": "1"}).status_code == 200


def test_a_call_outside_any_scope_is_stored_when_its_answer_ends(root: Path, recording: Upstream) -> None:
    assert ask("hi", aquila.http_client(cassette="alone")) == [b'{"ok":', b"true}"]
    assert len(interactions(root, "alone")) == 1


def test_an_async_call_outside_any_scope_is_stored_when_its_answer_ends(
    root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask_async() -> bytes:
        client = aquila.async_http_client(cassette="alone")
        async with client as http, http.stream("POST", URL, json={"prompt": "hi"}) as response:
            return await response.aread()

    assert anyio.run(ask_async) == b'{"ok":true}'
    assert len(interactions(root, "alone")) == 1
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")
    assert anyio.run(ask_async) == b'{"ok":true}'
    assert len(recording.requests) == 1


def test_a_folder_that_cannot_be_written_is_noticed_before_anything_is_paid_for(
    root: Path, recording: Upstream
) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(CassetteWriteError, match="cannot write"), aquila.use_cassette("x"):
        ask("hi")
    assert recording.requests == []


def test_replay_in_recorded_time_waits_as_long_as_the_answer_took(
    recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aquila.transports import replay

    slept: list[float] = []
    monkeypatch.setattr(replay.time, "sleep", slept.append)
    gate = threading.Event()
    recording.script = lambda path, body: streamed("one two", before_chunk=lambda n: gate.wait(0.02))
    with aquila.use_cassette("x"):
        ask("hi")
    assert slept == []
    with aquila.use_cassette("x", transport="replay"):
        ask("hi")
    assert slept == []
    with aquila.use_cassette("x", transport="replay", replay_timing="recorded") as cassette:
        ask("hi")
        response = cassette._scope.sessions.session_for("x", "replay").plays.in_order()[0].response
    assert sum(slept) == pytest.approx(response.chunks[-1].at / 1000)
    slept.clear()
    with aquila.use_cassette("x", transport="replay", replay_timing=2):
        ask("hi")
    assert sum(slept) == pytest.approx(response.chunks[-1].at / 1000 * 2)


def test_async_clients_record_and_replay_the_same(
    root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.script = lambda path, body: streamed("one two three")

    async def run() -> list[bytes]:
        async with (
            aquila.use_cassette("x"),
            aquila.async_http_client() as http,
            http.stream("POST", URL, json={"prompt": "hi"}) as response,
        ):
            return [chunk async for chunk in response.aiter_raw()]

    assert anyio.run(run) == chat_chunks("one two three")
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")
    assert anyio.run(run) == chat_chunks("one two three")
    with aquila.use_cassette("x"):
        assert ask("hi") == chat_chunks("one two three")
    assert len(recording.requests) == 1


def test_an_async_stream_left_by_cancellation_is_recorded_as_left(root: Path, recording: Upstream) -> None:
    leave = threading.Event()
    recording.script = lambda path, body: streamed("one two", before_chunk=lambda n: n < 2 or leave.wait(60))

    async def run() -> None:
        async with aquila.use_cassette("x"), aquila.async_http_client() as http:
            with anyio.CancelScope() as cancel:
                async with http.stream("POST", URL, json={}) as response:
                    seen = 0
                    async for _ in response.aiter_raw():
                        seen += 1
                        if seen == 2:
                            cancel.cancel()

    anyio.run(run)
    leave.set()
    (stored,) = interactions(root, "x")
    assert (stored.response.end, len(stored.response.chunks)) == ("silent", 2)


def test_eight_threads_get_eight_right_answers(recording: Upstream) -> None:
    recording.script = lambda path, body: Answer(chunks=[body])
    prompts = [f"prompt {number}" for number in range(8)]
    with aquila.use_cassette("x"):
        for prompt in prompts:
            ask(prompt)
    for _ in range(5):
        wrong: list[str] = []
        barrier = threading.Barrier(8)

        def check(prompt: str, barrier: threading.Barrier = barrier, wrong: list[str] = wrong) -> None:
            barrier.wait()
            if ask(prompt) != [b'{"prompt":"%s"}' % prompt.encode()]:
                wrong.append(prompt)

        with aquila.use_cassette("x", transport="replay") as cassette:
            run_at_once(partial(check, prompt) for prompt in prompts)
            assert cassette.all_played
        assert wrong == []


@pytest.mark.slow
def test_two_hundred_tasks_share_identical_and_distinct_prompts(
    recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(1000))
    recording.script = lambda path, body: Answer(chunks=[b"%d" % next(count)])
    with aquila.use_cassette("x"):
        for number in range(200):
            ask("same" if number % 2 else f"prompt {number}")
    monkeypatch.setenv("AQUILA_TRANSPORT", "replay")

    async def run() -> dict[int, bytes]:
        answers: dict[int, bytes] = {}

        async def one(http: httpx2.AsyncClient, number: int) -> None:
            prompt = "same" if number % 2 else f"prompt {number}"
            answers[number] = (await http.post(URL, json={"prompt": prompt})).content

        async with aquila.use_cassette("x"), aquila.async_http_client() as http, anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(one, http, number)
        return answers

    answers = anyio.run(run)
    assert {number: answers[number] for number in range(0, 200, 2)} == {n: b"%d" % n for n in range(0, 200, 2)}
    assert sorted(answers[n] for n in range(1, 200, 2)) == sorted(b"%d" % n for n in range(1, 200, 2))


def test_a_plugin_can_say_what_identifies_a_request_and_what_is_secret(root: Path, recording: Upstream) -> None:
    from aquila.hookspecs import hookimpl

    class Plugin:
        @hookimpl
        def aquila_key(self, request: object) -> object:
            return "always the same"

        @hookimpl
        def aquila_redactors(self) -> list[object]:
            return [lambda text: text.replace("Sesame", "[redacted]")]

    plugin = aquila.register(Plugin())
    try:
        with aquila.use_cassette("x"):
            ask("open Sesame")
        with aquila.use_cassette("x", transport="replay"):
            ask("anything")
        assert b"Sesame" not in (root / "x.yaml").read_bytes()
    finally:
        aquila.unregister(plugin)


@pytest.mark.parametrize("transport", ["record", "replay"])
def test_an_async_body_that_is_read_again_at_its_terminator_is_not_given_twice(
    transport: str, root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=b"".join(chat_chunks("one two")))  # can be iterated any number of times

    name_upstream("server", httpx2.MockTransport(answer))

    async def read_twice() -> list[bytes]:
        async with (
            aquila.use_cassette("x"),
            aquila.async_http_client() as http,
            http.stream("POST", URL, json={"prompt": "hi"}) as response,
        ):
            first = [chunk async for chunk in response.aiter_raw()]
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            return first + [chunk async for chunk in response.stream]

    anyio.run(read_twice)
    monkeypatch.setenv("AQUILA_TRANSPORT", transport)
    assert b"".join(anyio.run(read_twice)) == b"".join(chat_chunks("one two"))
    (stored,) = interactions(root, "x")
    assert (stored.response.body, stored.response.end) == (b"".join(chat_chunks("one two")), "complete")


def test_a_request_that_got_no_answer_leaves_no_old_one_in_its_place(
    root: Path, recording: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:

    answers: list[object] = [b"old", httpx2.ConnectError("down"), b"new"]

    def answer(request: httpx2.Request) -> httpx2.Response:
        given = answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return httpx2.Response(200, content=given)

    name_upstream("server", httpx2.MockTransport(answer))
    with aquila.use_cassette("x"):
        ask("hi")
    monkeypatch.setenv("AQUILA_RECORD", "all")
    with aquila.use_cassette("x"):
        with pytest.raises(httpx2.ConnectError):
            ask("hi")
        assert ask("hi") == [b"new"]
    assert [(row.response.status, row.response.error) for row in interactions(root, "x")] == [
        (0, "ConnectError: down"),
        (200, ""),
    ]


@pytest.mark.slow
def test_an_answer_that_was_dropped_without_being_closed_is_recorded_as_left(root: Path, recording: Upstream) -> None:

    made = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"ok"))  # leaves no socket open
    name_upstream("server", made)
    with aquila.use_cassette("x"), aquila.http_client() as http:
        assert http.send(http.build_request("POST", URL, json={}), stream=True).status_code == 200
        gc.collect()
    (stored,) = interactions(root, "x")
    assert (stored.response.end, stored.response.chunks) == ("closed", ())


def test_a_format_that_a_plugin_brings_is_recorded_into_listed_and_replayed(root: Path, recording: Upstream) -> None:
    from aquila.cassettes.codecs import Codec, codec_for
    from aquila.cassettes.storage.cassette_files import find_cassette_files
    from aquila.hookspecs import hookimpl

    class Own:
        suffix = ".own"
        dumps = staticmethod(codec_for(Path("a.msgpack")).dumps)
        loads = staticmethod(codec_for(Path("a.msgpack")).loads)

    class Plugin:
        @hookimpl
        def aquila_codecs(self) -> list[Codec]:
            return [Own()]

    plugin = aquila.register(Plugin())
    try:
        with aquila.use_cassette("x.own"):
            recorded = ask("hi")
        with aquila.use_cassette("x.own", transport="replay"):
            assert ask("hi") == recorded
        assert list(find_cassette_files(root)) == [root / "x.own"]
    finally:
        aquila.unregister(plugin)

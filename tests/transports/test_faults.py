"""Faults as clients see them: each in its own class of error, at once, and the good answer after it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import httpx2
import pytest
import requests
from websockets.sync.client import connect

import aquila
import tests.support.preloaded  # noqa: F401
from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.errors import CassetteMiss, ConfigError, RequestTimeout
from aquila.faults.plan import FaultPlan
from aquila.recording.scope import look_for_scope
from aquila.recording.sessions.session import Session
from aquila.scripting.script import Script
from aquila.testing import use_script
from aquila.transports.asking_again import UpstreamTrouble, ask_again
from tests.support.failing_clients import BODY, what_is_seen
from tests.support.runs import name_upstream
from tests.support.slow import slow_but
from tests.support.threads import run_at_once

URL = "https://api.openai.com/v1"
STREAMED = {**BODY, "stream": True}


pytestmark = pytest.mark.usefixtures("root")
TIMEOUTS = {
    "httpx": "httpx.ReadTimeout",
    "httpx async": "httpx.ReadTimeout",
    "httpx2": "httpx2.ReadTimeout",
    "openai": "openai.APITimeoutError",
    "openai async": "openai.APITimeoutError",
    "openai streamed": "openai.APITimeoutError",
    "aquila": "aquila.errors.RequestTimeout",
    "requests": "requests.exceptions.ReadTimeout",
    "urllib3": "urllib3.exceptions.MaxRetryError",
    "aiohttp": "aiohttp.client_exceptions.SocketTimeoutError",
}
REFUSALS = {
    "httpx": "httpx.ConnectError",
    "httpx async": "httpx.ConnectError",
    "httpx2": "httpx2.ConnectError",
    "openai": "openai.APIConnectionError",
    "openai async": "openai.APIConnectionError",
    "openai streamed": "openai.APIConnectionError",
    "aquila": "aquila.errors.ConnectionFailed",
    "requests": "requests.exceptions.ConnectionError",
    "urllib3": "urllib3.exceptions.MaxRetryError",
    "aiohttp": "aiohttp.client_exceptions.ClientConnectorError",
}


@pytest.mark.parametrize("client", slow_but(["httpx", "requests", "aiohttp", "openai"], list(TIMEOUTS)))
def test_each_client_sees_its_own_errors(client: str) -> None:
    for fault, seen in (("timeout", TIMEOUTS), ("connection_refused", REFUSALS)):
        with use_script(faults=f"{fault}(times=None)") as script:
            script.reply("one two three")
            assert what_is_seen(client, URL, 0)[0].replace("._exceptions", "") == seen[client], fault


@pytest.mark.parametrize("client", slow_but(["openai"], ["openai", "openai async", "openai streamed", "aquila"]))
def test_a_client_of_an_sdk_that_tries_again_gets_the_good_answer_at_once(client: str) -> None:
    begun = time.monotonic()
    with use_script(faults="rate_limit(times=2, retry_after=60)") as script:
        script.reply("one two three")
        assert what_is_seen(client, URL, 2)[0] in ("one two three", "200", "5")
    assert not script.left
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_sdk_of_openai_does_not_wait_longer_than_two_minutes(form: str) -> None:
    with use_script(faults=f"rate_limit(3600, form={form!r})") as script:
        script.reply("one two three")
        assert what_is_seen("openai", URL, 2)[0] == "openai.RateLimitError"
        assert what_is_seen("openai", URL, 2)[0] == "one two three"
    assert len(script.requests) == 2


def ask_within(limits: aquila.Timeouts) -> None:
    with use_script(faults="timeout") as script:
        script.reply("one two three")
        aquila.ask("hi", timeout=limits, max_retries=0)


async def stream_within(limits: aquila.Timeouts) -> None:
    with use_script(faults="stall") as script:
        script.reply("one two three")
        async with aquila.astream("hi", timeout=limits) as stream:
            assert [event async for event in stream] == []


def test_the_shortest_limit_ends_a_silence_at_once() -> None:
    limits = aquila.Timeouts(total=3600, idle=7200, read=7200)
    with pytest.raises(RequestTimeout, match="total"):
        ask_within(limits)
    with pytest.raises(RequestTimeout, match="total"):
        anyio.run(stream_within, limits)


def read_with_requests() -> None:
    with requests.post(f"{URL}/chat/completions", json=STREAMED, stream=True, timeout=3600) as answer:
        b"".join(answer.iter_content())


def read_with_httpx2() -> None:
    with httpx2.stream("POST", f"{URL}/chat/completions", json=STREAMED, timeout=3600) as answer:
        b"".join(answer.iter_bytes())


async def read_with_aiohttp(limits: aiohttp.ClientTimeout, **options: Any) -> None:
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        session.post(f"{URL}/chat/completions", json=STREAMED, **options) as answer,
    ):
        await answer.read()


READERS: dict[str, Callable[[], None]] = {
    "requests": read_with_requests,
    "httpx2": read_with_httpx2,
    "aiohttp": lambda: anyio.run(read_with_aiohttp, aiohttp.ClientTimeout(sock_read=3600)),
    "aiohttp, total": lambda: anyio.run(read_with_aiohttp, aiohttp.ClientTimeout(total=3600)),
    "aiohttp, number": lambda: asyncio.run(read_with_aiohttp(aiohttp.ClientTimeout(), timeout=3600)),
}
IN_BODY: dict[str, Mapping[str, type[Exception]]] = {
    "cut_stream(after=2)": {
        "requests": requests.exceptions.ChunkedEncodingError,
        "httpx2": httpx2.RemoteProtocolError,
        "aiohttp": aiohttp.ClientPayloadError,
        "aiohttp, total": aiohttp.ClientPayloadError,
        "aiohttp, number": aiohttp.ClientPayloadError,
    },
    "stall(after=2)": {
        "requests": requests.exceptions.ConnectionError,
        "httpx2": httpx2.ReadTimeout,
        "aiohttp": aiohttp.SocketTimeoutError,
        "aiohttp, total": TimeoutError,
        "aiohttp, number": TimeoutError,
    },
    "stall(seconds=7200, after=2)": {
        "requests": requests.exceptions.ConnectionError,
        "httpx2": httpx2.ReadTimeout,
        "aiohttp": aiohttp.SocketTimeoutError,
        "aiohttp, total": TimeoutError,
        "aiohttp, number": TimeoutError,
    },
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("fault", IN_BODY)
def test_a_reader_meets_what_happens_in_the_midst_of_a_stream(reader: str, fault: str) -> None:
    with use_script(faults=fault) as script:
        script.reply("one two three")
        with pytest.raises(IN_BODY[fault][reader]):
            READERS[reader]()
        READERS[reader]()
    assert not script.left


def test_a_wrong_fault_is_refused_where_it_is_written() -> None:
    for make in (lambda faults: aquila.use_cassette("x", faults=faults), lambda faults: use_script(faults=faults)):
        with pytest.raises(ConfigError, match=r"did you mean 'cut_stream'"):
            make("cut_strem")
        with pytest.raises(ConfigError, match="names none"):
            make("")


def test_faults_in_a_list_come_in_their_order(root: Path) -> None:
    (root / "x.script.yaml").parent.mkdir()
    (root / "x.script.yaml").write_text("script:\n- reply: one two three\n")
    with aquila.use_cassette("x", faults=["unauthorized", "forbidden"]):
        assert [what_is_seen("httpx2", URL, 0)[0] for _ in range(3)] == ["401", "403", "200"]


def record_two_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "x.script.yaml").parent.mkdir()
    (root / "x.script.yaml").write_text("script:\n- reply: one\n- reply: two\n")
    monkeypatch.setenv("AQUILA_SCRIPT", "x")
    with aquila.use_cassette("recorded", transport="record", upstream="script"):
        assert [aquila.ask("hi").text for _ in range(2)] == ["one", "two"]


def test_an_answer_that_arrives_whole_under_a_fault_is_used_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(times: int) -> list[str]:
        return [aquila.ask("hi").text for _ in range(times)]

    with use_script(faults="one_byte(times=2), finish_length") as script:
        script.reply("one").reply("two").reply("three")
        assert ask(4) == ["one", "two", "three", "three"]
    assert not script.left

    record_two_answers(root, monkeypatch)
    with aquila.use_cassette("recorded", transport="replay", faults="one_byte") as cassette:
        assert ask(2) == ["one", "two"]
    assert cassette.all_played
    with aquila.use_cassette("recorded", transport="replay", faults="one_byte(times=None)"):
        assert ask(2) == ["one", "two"]
        with pytest.raises(CassetteMiss):
            ask(1)
    name_upstream("numbers", httpx2.MockTransport(lambda request: httpx2.Response(200, json=next(numbers))))
    numbers = itertools.count(1)
    with aquila.use_cassette("none", transport="numbers", faults="one_byte"), aquila.http_client() as http:
        assert [http.post(f"{URL}/chat/completions", json=BODY).json() for _ in range(2)] == [1, 2]
    for repeat, said in (("first", ["one"] * 3), ("last", ["one", "two", "two"])):
        with aquila.use_cassette("recorded", transport="replay", faults="one_byte(times=2)", repeat=repeat):
            assert ask(3) == said


def ask_over_http(text: str) -> str:
    return aquila.ask(text).text


def ask_over_web_socket(text: str) -> str:
    said = ""
    with connect("wss://api.openai.com/v1/responses") as connection:
        connection.send(json.dumps({"type": "response.create", "model": "m", "input": text}))
        while (event := json.loads(connection.recv()))["type"] != "response.incomplete":
            said += event["delta"] if event["type"] == "response.output_text.delta" else ""
    return said


def ask_at_once(texts: Sequence[str], ask: Callable[[str], str] = ask_over_http) -> list[str]:
    """Return what the model says, in any order, to threads that ask for ``texts``."""
    said: list[str] = []
    contexts = [contextvars.copy_context() for _ in texts]
    pairs = zip(contexts, texts, strict=True)
    run_at_once([partial(each.run, lambda text: said.append(ask(text)), text) for each, text in pairs])
    return sorted(said)


def look_together(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    """Let two threads that call a method of ``kind`` return from it together, unless one waits for the other."""
    looking, look = threading.Barrier(2), getattr(kind, name)

    def wait(*arguments: Any) -> Any:
        seen = look(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):  # nobody else can look meanwhile
            looking.wait(0.05)
        return seen

    monkeypatch.setattr(kind, name, wait)


@pytest.mark.parametrize(
    ("fault", "ask"),
    [("one_byte", ask_over_http), ("finish_length", ask_over_http), ("finish_length", ask_over_web_socket)],
)
def test_threads_that_meet_a_fault_at_once_get_an_answer_each(
    fault: str, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["0", "1", "2", "3"]
    look_together(monkeypatch, Script, "peek")
    with use_script(faults=fault) as script:
        for text in texts:
            script.reply(text)
        assert ask_at_once(texts, ask) == texts
    assert not script.left


def test_threads_with_equal_requests_get_a_recording_each_under_a_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_two_answers(root, monkeypatch)
    played, decide, meet = threading.Event(), Session.decide, FaultPlan.meet

    def play(self: Session, request: RecordedRequest) -> Any:
        decision = decide(self, request)
        played.set()
        return decision

    def meet_and_wait(*arguments: Any) -> Any:
        met = meet(*arguments)
        if met is not None:
            played.wait(0.2)  # nobody else can play a recording meanwhile
        return met

    monkeypatch.setattr(Session, "decide", play)
    monkeypatch.setattr(FaultPlan, "meet", meet_and_wait)
    with aquila.use_cassette("recorded", transport="replay", faults="one_byte") as cassette:
        assert ask_at_once(["hi", "hi"]) == ["one", "two"]
    assert cassette.all_played


def test_an_answer_that_another_process_takes_meanwhile_is_not_given_again_under_a_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_two_answers(root, monkeypatch)
    meet, taken = FaultPlan.meet, []

    def meet_while_another_asks(plan: FaultPlan, key: str, good: Interaction, within: None) -> Any:
        met = meet(plan, key, good, within)
        taken.append(take(good.request))
        return met

    def play_recording(request: RecordedRequest) -> None:
        scope, _ = look_for_scope()
        assert scope is not None
        scope.sessions.opened()[0].decide(request)

    monkeypatch.setattr(FaultPlan, "meet", meet_while_another_asks)
    with aquila.use_cassette("recorded", transport="replay", faults="one_byte") as cassette:
        take: Callable[[RecordedRequest], object] = play_recording
        assert aquila.ask("hi").text == "two"
    assert cassette.all_played
    with use_script(faults="one_byte") as script:
        take = script.reply("one").reply("two").decide
        assert aquila.ask("hi").text == "two"
    assert len(taken) == 2
    assert not script.left


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="there is no other clock")
def test_the_pace_of_an_answer_is_kept_for_what_comes_after_a_fault_where_a_test_has_stopped_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        time.sleep(0.02)
        return httpx2.Response(200, json={"choices": []})

    name_upstream("late", httpx2.MockTransport(answer))
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)  # as freezegun stops it
    with aquila.use_cassette("x", transport="late", faults="overloaded"):
        scope, _ = look_for_scope()
        with aquila.http_client() as http:
            assert http.post(f"{URL}/chat/completions", json=BODY).status_code >= 500
        assert scope is not None
        (good,) = scope.faults.good_answers.values()
    assert good.chunks[0].at >= 20


@pytest.mark.skipif(not hasattr(time, "clock_gettime"), reason="there is no other clock")
def test_the_time_of_an_answer_that_is_asked_for_again_is_measured_where_a_test_has_stopped_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        time.sleep(0.02)
        return httpx2.Response(200, content=b"late")

    name_upstream("late", httpx2.MockTransport(answer))
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    asked = RecordedRequest("POST", f"{URL}/chat/completions", (), b"{}")
    assert ask_again(asked, "late", seconds=60).started >= 20


def test_an_address_that_cannot_be_asked_again_is_trouble_as_any_other() -> None:
    with pytest.raises(UpstreamTrouble, match="non-printable"):
        ask_again(RecordedRequest("GET", f"{URL}/\0", (), b""), "live", seconds=1)

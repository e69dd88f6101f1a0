"""``websocket=True``: one call, its tools and its retries over one connection."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

import aquila
from aquila.errors import (
    AuthenticationError,
    BadRequest,
    ConfigError,
    ConnectionFailed,
    InvalidAnswer,
    MissingDependency,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RequestTimeout,
    StreamBroken,
    StreamClosed,
    StreamTimeout,
    ToolError,
)
from aquila.events import Chunk, Done, Retry
from aquila.intercept.web_sockets import own_connections
from tests.support.engines import KEY, Engine, cancel_while_reading, live
from tests.support.limits import with_a_limit_in_time
from tests.support.provider import responses_events, responses_stream
from tests.support.responses_over_sockets import (
    answering,
    called,
    close_with,
    error_event,
    fall_silent,
    over_socket,
    then,
)
from tests.support.server import json_answer, serving
from tests.support.threads import run_at_once
from tests.support.web_sockets import break_off

ONE_PIECE = responses_events("one")[:3]


def double(x: int) -> int:
    """Double a number."""
    return x * 2


async def halve(x: int) -> int:
    """Halve a number."""
    return x // 2


def test_what_arrives_while_a_stream_is_closed_is_no_error_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    more = threading.Event()

    def speak_on(connection: Any) -> None:
        more.wait(60)
        connection.send("too late")

    def close_slowly(connection: Any, close_socket: Callable[[], None]) -> None:
        if threading.current_thread() is not connection.recv_events_thread:
            with connection.protocol_mutex:
                connection.protocol.receive_eof()
            more.set()
            connection.recv_events_thread.join(60)
        close_socket()

    monkeypatch.setattr(own_connections, "_wake_and_close", close_slowly)
    with answering(then(ONE_PIECE, speak_on)) as provider, aquila.stream("Hi", **live(over_socket(provider))) as stream:
        next(iter(stream))
    assert more.is_set()
    assert caplog.records == []


def test_the_answer_equals_the_one_over_http(engine: Engine) -> None:
    with serving(responses_stream("one ", "two")) as server:
        plain = engine.events("Hi", endpoint="responses", base_url=server.url)
    with answering(responses_events("one ", "two")) as provider:
        events = engine.events("Hi", metadata={"job": 7}, **over_socket(provider))
        assert provider.asked == [
            {
                "type": "response.create",
                "model": "test-model",
                "input": [{"role": "user", "content": "Hi"}],
                "metadata": {"job": "7"},
            }
        ]
        assert provider.server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert [type(event) for event in events] == [type(event) for event in plain]
    assert [event for event in events if isinstance(event, Chunk)] == [Chunk("one "), Chunk("two")]
    one, other = events[-1].response, plain[-1].response
    assert (one.text, one.usage, one.raw, one.messages) == (other.text, other.usage, other.raw, other.messages)
    assert one.meta["metadata"] == {"job": 7}


def test_tool_results_are_sent_over_the_same_connection_without_the_earlier_input(engine: Engine) -> None:
    with answering(
        called(("double", '{"x": 4}'), ("halve", '{"x": 4}'), id="resp_a"),
        called(("double", '{"x": 5}'), id="resp_b"),
        responses_events("all done", id="resp_c"),
    ) as provider:
        options = {
            "tools": [double, halve],
            "instructions": "Count.",
            "tool_choice": "required",
            "concurrent_tools": True,
        }
        reply = engine.ask("Hi", **over_socket(provider, **options))
        first, second, third = provider.asked
        assert provider.connections == 1
    assert first["input"] == [{"role": "user", "content": "Hi"}]
    assert "previous_response_id" not in first
    assert second["previous_response_id"] == "resp_a"
    assert [(item["type"], item["output"]) for item in second["input"]] == [
        ("function_call_output", "8"),
        ("function_call_output", "2"),
    ]
    assert (second["instructions"], second["tools"]) == (first["instructions"], first["tools"])
    assert (first["tool_choice"], second["tool_choice"]) == ("required", "auto")
    assert third["previous_response_id"] == "resp_b"
    assert [item["output"] for item in third["input"]] == ["10"]
    assert (reply.text, reply.meta["turns"], reply.meta["retries"]) == ("all done", 3, 0)
    assert reply.usage.total_tokens == 21
    assert [message.role for message in reply.messages] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_a_conversation_that_the_caller_continues_is_not_continued_in_another_way(engine: Engine, field: str) -> None:
    with answering(called(("double", '{"x": 4}'), id="resp_a"), responses_events("all done")) as provider:
        engine.ask("Hi", **over_socket(provider, tools=[double], provider_options={field: "given"}))
        sent = provider.asked
    assert [each[field] for each in sent] == ["given", "given"]
    assert ("previous_response_id" in sent[1]) is (field == "previous_response_id")
    assert [item.get("type", "message") for item in sent[1]["input"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]


def test_an_answer_with_a_schema_is_parsed(engine: Engine) -> None:
    class City(BaseModel):
        name: str

    with answering(responses_events('{"name": "Ulm"}')) as provider:
        assert engine.ask("Hi", response_format=City, **over_socket(provider)).parsed == City(name="Ulm")
        assert provider.asked[0]["text"]["format"]["name"] == "City"


def test_sinks_get_the_events(engine: Engine) -> None:
    kept = aquila.Sink.collector()
    with answering(responses_events("one ", "two")) as provider:
        assert engine.push("Hi", sink=kept, **over_socket(provider)).text == "one two"
    assert kept.text == "one two"


def test_the_connection_is_closed_when_the_call_is_over(engine: Engine) -> None:
    with answering(responses_events("one")) as provider:
        engine.ask("Hi", **over_socket(provider))
        assert provider.ended.wait(60)
        assert provider.closed == [1000]


def test_the_connection_is_closed_when_a_tool_raises(engine: Engine) -> None:
    def fail(x: int) -> int:
        """Fail."""
        raise ValueError("broken")

    with answering(called(("fail", '{"x": 4}'))) as provider:
        with pytest.raises(ToolError):
            engine.ask("Hi", tools=[fail], tool_errors="raise", **over_socket(provider))
        assert provider.ended.wait(60)
        assert provider.closed == [1000]


class TestRefusals:
    """What a provider refuses is the error that it is over HTTP."""

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(401, AuthenticationError), (400, BadRequest), (429, RateLimited), (503, ProviderUnavailable)],
    )
    def test_an_error_event_is_the_error_of_its_status(
        self, engine: Engine, status: int, kind: type[ProviderError]
    ) -> None:
        refusal = error_event(status, "some_code", f"key {KEY}")
        with answering(refusal) as provider, pytest.raises(kind, match="some_code") as caught:
            engine.ask("Hi", max_retries=0, **over_socket(provider))
        error = caught.value
        assert isinstance(error, ProviderError)
        assert error.status == status
        assert KEY not in str(error)
        with (
            serving(
                json_answer({"error": error_event(status, "some_code", f"key {KEY}")[0]["error"]}, status)
            ) as server,
            pytest.raises(kind) as plain,
        ):
            engine.ask("Hi", max_retries=0, endpoint="responses", base_url=server.url)
        assert str(plain.value).partition(" answered ")[2] == str(error).partition(" answered ")[2]

    @pytest.mark.parametrize("event", [error_event(None, "rate_limit_exceeded")[0], {"type": "error", "code": "429"}])
    def test_an_error_event_without_a_status_is_the_error_of_its_code(
        self, engine: Engine, event: dict[str, Any]
    ) -> None:
        with answering([event]) as provider, pytest.raises(RateLimited):
            engine.ask("Hi", max_retries=0, **over_socket(provider))

    def test_a_temporary_refusal_is_retried(self, engine: Engine) -> None:
        refusal = error_event(429, headers={"Retry-After-Ms": "1"})
        with answering(refusal, responses_events("ok")) as provider:
            events = engine.events("Hi", **over_socket(provider))
            assert provider.asked[0] == provider.asked[1]
        assert [event.delay for event in events if isinstance(event, Retry)] == [0.001]
        assert events[-1].response.meta["retries"] == 1

    def test_a_refused_handshake_is_the_error_of_its_status(self, engine: Engine) -> None:
        def refuse(connection: Any, request: Any) -> Any:
            response = connection.respond(401, '{"error": {"message": "wrong key", "code": "invalid_api_key"}}')
            response.headers["x-request-id"] = "req_1"
            return response

        with answering() as provider:
            provider.server.refuse = refuse
            with pytest.raises(AuthenticationError, match=r"wrong key \(invalid_api_key\)") as caught:
                engine.ask("Hi", **over_socket(provider))
        assert (caught.value.status, caught.value.request_id) == (401, "req_1")

    @pytest.mark.parametrize(("status", "kind"), [(404, BadRequest), (200, InvalidAnswer), (501, ProviderUnavailable)])
    def test_a_server_that_speaks_no_web_sockets_is_named(
        self, engine: Engine, status: int, kind: type[Exception]
    ) -> None:
        with serving(json_answer({"error": {"message": "what?"}}, status)) as server:
            options = {"endpoint": "responses", "websocket": True, "base_url": server.url, "max_retries": 0}
            with pytest.raises(kind, match="leave out websocket=True"):
                engine.ask("Hi", **options)

    @pytest.mark.parametrize("message", ["{", "[]", "{}", '{"type": "response.completed"}'])
    def test_what_is_not_the_protocol_is_an_invalid_answer(self, engine: Engine, message: str) -> None:
        with answering(lambda connection: connection.send(message)) as provider, pytest.raises(InvalidAnswer):
            engine.ask("Hi", **over_socket(provider))

    def test_messages_about_the_connection_are_ignored(self, engine: Engine) -> None:
        said = [{"type": "ping"}, *responses_events("ok"), {"type": "rate_limits.updated", "rate_limits": []}]
        with answering(said) as provider:
            assert engine.ask("Hi", **over_socket(provider)).text == "ok"


class TestLostConnections:
    def test_a_connection_that_breaks_before_the_answer_is_retried(self, engine: Engine) -> None:
        with answering(break_off, responses_events("ok")) as provider:
            events = engine.events("Hi", max_retries=1, **over_socket(provider))
            assert provider.connections == 2
        assert [type(event.error) for event in events if isinstance(event, Retry)] == [ConnectionFailed]

    def test_without_retries_a_broken_connection_is_an_error(self, engine: Engine) -> None:
        with answering(break_off) as provider, pytest.raises(ConnectionFailed):
            engine.ask("Hi", max_retries=0, **over_socket(provider))

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            *((then(ONE_PIECE, end), StreamBroken) for end in (break_off, close_with(1011), close_with(1000))),
            ([*ONE_PIECE, *error_event(500, "server_error")], ProviderUnavailable),
        ],
    )
    def test_an_answer_that_has_begun_is_not_sent_again(
        self, engine: Engine, answer: Any, error: type[Exception]
    ) -> None:
        with answering(answer) as provider:
            with pytest.raises(error):
                engine.ask("Hi", **over_socket(provider))
            assert len(provider.asked) == 1

    def test_a_refused_connection_is_an_error(self, engine: Engine) -> None:
        with answering() as provider:
            gone = over_socket(provider)
        with pytest.raises(ConnectionFailed):
            engine.ask("Hi", max_retries=0, **gone)

    @pytest.mark.parametrize(
        "loss",
        [
            error_event(400, "previous_response_not_found"),
            error_event(400, "websocket_connection_limit_reached"),
            break_off,
            close_with(1001),
        ],
    )
    def test_a_lost_conversation_is_sent_again_as_a_whole_on_a_new_connection(self, engine: Engine, loss: Any) -> None:
        with answering(
            called(("double", '{"x": 4}')), loss, called(("double", '{"x": 5}'), id="resp_2"), responses_events("ok")
        ) as provider:
            reply = engine.ask("Hi", tools=[double], max_retries=0, **over_socket(provider))
            first, lost, whole, last = provider.asked
            assert provider.connections == 2
        assert lost["previous_response_id"] == "resp_1"
        assert "previous_response_id" not in whole
        assert whole["input"][0] == first["input"][0]
        assert [item.get("type") for item in whole["input"]] == [None, "function_call", "function_call_output"]
        assert (last["previous_response_id"], len(last["input"])) == ("resp_2", 1)
        assert (reply.text, reply.meta["retries"]) == ("ok", 1)

    def test_a_lost_conversation_is_sent_again_only_once(self, engine: Engine) -> None:
        lost = error_event(400, "previous_response_not_found")
        with answering(called(("double", '{"x": 4}')), lost, lost) as provider, pytest.raises(BadRequest):
            engine.ask("Hi", tools=[double], **over_socket(provider))

    def test_a_lost_response_that_the_caller_has_named_is_an_error(self, engine: Engine) -> None:
        with answering(error_event(400, "previous_response_not_found")) as provider:
            with pytest.raises(BadRequest):
                engine.ask("Hi", previous_response_id="resp_0", **over_socket(provider))
            assert len(provider.asked) == 1

    def test_results_of_tool_calls_without_ids_are_sent_with_the_whole_conversation(self, engine: Engine) -> None:
        """The provider would not find what the output belongs to."""
        nameless = called(("double", '{"x": 4}'))
        for event in nameless:
            for item in [event.get("item"), *event.get("response", {}).get("output", [])]:
                if item:
                    item["call_id"] = item["id"] = ""
        with answering(nameless, responses_events("ok")) as provider:
            engine.ask("Hi", tools=[double], **over_socket(provider))
            assert "previous_response_id" not in provider.asked[1]
            assert len(provider.asked[1]["input"]) == 3


class TestLimits:
    def test_silence_within_the_answer_has_its_limit(self, engine: Engine) -> None:
        def scenario(limit: float) -> None:
            with answering(then(ONE_PIECE, fall_silent)) as provider:
                with pytest.raises(StreamTimeout, match="nothing arrived"):
                    engine.ask("Hi", timeout=limit, **over_socket(provider))
                assert provider.ended.wait(60)

        with_a_limit_in_time(scenario, 0.1)

    def test_silence_before_the_answer_has_its_limit(self, engine: Engine) -> None:
        def scenario(limit: float) -> None:
            timeouts = aquila.Timeouts(read=limit)
            with answering(fall_silent) as provider, pytest.raises(RequestTimeout, match="did not begin to answer"):
                engine.ask("Hi", timeout=timeouts, max_retries=0, **over_socket(provider))

        with_a_limit_in_time(scenario, 0.1)

    def test_the_whole_call_has_its_limit(self, engine: Engine) -> None:
        def scenario(limit: float) -> None:
            with answering(called(("double", '{"x": 4}')), then(ONE_PIECE, fall_silent)) as provider:
                with pytest.raises(RequestTimeout, match="total"):
                    timeouts = aquila.Timeouts(total=limit)
                    engine.ask("Hi", timeout=timeouts, tools=[double], **over_socket(provider))
                assert len(provider.asked) == 2

        with_a_limit_in_time(scenario, 0.2)


class TestLeaving:
    def test_a_stream_that_is_left_early_ends_the_connection(self) -> None:
        with answering(then(ONE_PIECE, fall_silent)) as provider:
            with aquila.stream("Hi", **live(over_socket(provider))) as stream:
                assert next(event for event in stream if isinstance(event, Chunk)) == Chunk("one")
            assert provider.ended.wait(60)

    def test_an_asynchronous_stream_that_is_left_early_ends_the_connection(self) -> None:
        async def scenario(options: dict[str, Any]) -> None:
            async with aquila.astream("Hi", **live(options)) as stream:
                async for event in stream:
                    if isinstance(event, Chunk):
                        break

        with answering(then(ONE_PIECE, fall_silent)) as provider:
            asyncio.run(scenario(over_socket(provider)))
            assert provider.ended.wait(60)

    def test_a_cancelled_task_ends_the_connection(self) -> None:
        with answering(then(ONE_PIECE, fall_silent)) as provider:
            asyncio.run(cancel_while_reading(**live(over_socket(provider))))
            assert provider.ended.wait(60)

    def test_a_stream_that_another_thread_closes_ends_while_the_provider_is_silent(self) -> None:
        arrived = threading.Event()
        with answering(then(ONE_PIECE, fall_silent)) as provider:
            sink = aquila.Sink.callback(lambda event: arrived.set() if isinstance(event, Chunk) else None)
            stream = aquila.stream("Hi", sink=sink, **live(over_socket(provider)))
            assert arrived.wait(60)
            stream.close()
            with pytest.raises(StreamClosed):
                stream.result()
            assert provider.ended.wait(60)

    def test_an_interrupt_ends_the_connection(self) -> None:
        def interrupt(connection: Any) -> None:
            signal.raise_signal(signal.SIGUSR1)
            fall_silent(connection)

        def strike(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGUSR1, strike)
        try:
            with answering(then(ONE_PIECE, interrupt)) as provider:
                with pytest.raises(KeyboardInterrupt):
                    aquila.ask("Hi", **live(over_socket(provider)))
                assert provider.ended.wait(60)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_a_stream_with_many_unread_messages_can_be_left(self) -> None:
        flood = [*ONE_PIECE, *([ONE_PIECE[2]] * 2000)]
        with answering(flood) as provider:
            with aquila.stream("Hi", **live(over_socket(provider))) as stream:
                next(iter(stream))
            assert provider.ended.wait(60)


class TestWhatItNeeds:
    def test_the_responses_api_is_needed(self) -> None:
        with pytest.raises(ConfigError, match="'websocket' belongs to endpoint='responses'"):
            aquila.ask("Hi", websocket=True)

    def test_background_answers_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="'background' cannot be combined with websocket=True"):
            aquila.ask("Hi", websocket=True, endpoint="responses", background=True)

    def test_the_local_model_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="'local' answers here, and does not speak WebSockets"):
            aquila.ask("Hi", websocket=True, endpoint="responses", transport="local")

    def test_an_sdk_that_is_too_old_is_named(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        from openai.resources.responses import AsyncResponses, Responses

        for kind in (Responses, AsyncResponses):
            monkeypatch.delattr(kind, "connect")
        with answering() as provider, pytest.raises(MissingDependency, match=r"needs openai 3\.8 or newer"):
            engine.ask("Hi", **over_socket(provider))

    def test_a_missing_websockets_library_is_named(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "websockets.sync.client", None)
        monkeypatch.setitem(sys.modules, "websockets.asyncio.client", None)
        with answering() as provider, pytest.raises(MissingDependency, match=r"aquila-llm\[websockets\]"):
            engine.ask("Hi", **over_socket(provider))

    def test_half_of_a_character_is_refused(self, engine: Engine) -> None:
        with answering() as provider, pytest.raises(aquila.errors.InvalidMessage, match="half of a character"):
            engine.ask("\ud800", **over_socket(provider))

    def test_trio_is_refused(self) -> None:
        trio = pytest.importorskip("trio")
        with answering() as provider, pytest.raises(ConfigError, match="needs asyncio"):
            trio.run(lambda: aquila.aask("Hi", **live(over_socket(provider))))


def test_calls_in_threads_have_connections_of_their_own() -> None:
    together = threading.Barrier(4)

    def answer(connection: Any) -> None:
        together.wait(60)
        for event in responses_events("ok"):
            connection.send(json.dumps(event))

    replies: list[str] = []
    with answering(*[answer] * 4) as provider:
        options = live(over_socket(provider))
        run_at_once([lambda: replies.append(aquila.ask("Hi", **options).text)] * 4)
        assert provider.connections == 4
    assert replies == ["ok"] * 4


def test_hooks_are_called_for_each_request_of_the_connection(engine: Engine) -> None:
    class Meter:
        def __init__(self) -> None:
            self.asked: list[tuple[int, str | None]] = []
            self.answered: list[int] = []
            self.pieces: list[str] = []

        @aquila.hookspecs.hookimpl
        def aquila_request_start(self, request: Any, turn: int) -> None:
            self.asked.append((turn, request.get("previous_response_id")))

        @aquila.hookspecs.hookimpl
        def aquila_request_stop(self, answer: Any) -> None:
            self.answered.append(answer.usage.total_tokens)

        @aquila.hookspecs.hookimpl
        def aquila_chunk(self, event: Any) -> None:
            self.pieces += [event.text] if isinstance(event, Chunk) else []

    meter = aquila.register(Meter())
    try:
        with answering(called(("double", '{"x": 4}')), responses_events("all ", "done")) as provider:
            events = engine.events("Hi", tools=[double], **over_socket(provider))
    finally:
        aquila.unregister(meter)
    assert isinstance(events[-1], Done)
    assert meter.asked == [(1, None), (2, "resp_1")]
    assert meter.answered == [7, 7]
    assert meter.pieces == ["all ", "done"]

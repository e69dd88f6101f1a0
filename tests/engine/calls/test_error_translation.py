"""Failures of a provider, and the errors that callers get for them."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator

import pytest

import aquila
from aquila import errors
from aquila.engine.calls.error_translation import (
    ErrorContext,
    error_from_object,
    error_of_protocol,
    error_of_status,
    translate_error,
)
from aquila.engine.calls.timeouts import Timeouts
from aquila.events import Event, Retry
from aquila.recording.network.no_network import NoNetwork
from tests.support.engines import KEY, Engine
from tests.support.limits import with_a_limit_in_time
from tests.support.provider import STREAMS, chat_chunk, chat_stream, one_call, response_object
from tests.support.server import Answer, json_answer, serving, sse

ERROR = {"error": {"message": "no such model", "type": "invalid_request_error", "code": "model_not_found"}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.AuthenticationError),
        (403, errors.AuthenticationError),
        (404, errors.BadRequest),
        (408, errors.ProviderUnavailable),
        (409, errors.BadRequest),
        (418, errors.BadRequest),
        (422, errors.BadRequest),
        (429, errors.RateLimited),
        (500, errors.ProviderUnavailable),
        (503, errors.ProviderUnavailable),
    ],
)
def test_status_becomes_an_error_with_status_request_id_and_message(
    engine: Engine, status: int, kind: type[errors.ProviderError]
) -> None:
    with serving(json_answer(ERROR, status, x_request_id="req_9")) as server, pytest.raises(kind) as caught:
        engine.ask("Hi", base_url=server.url, max_retries=0)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.request_id, error.body["code"]) == (status, "req_9", "model_not_found")
    host = server.url.removeprefix("http://").removesuffix("/v1")
    assert f"{host} answered {status}: no such model (model_not_found) [request req_9]" in str(error)


@pytest.mark.parametrize(
    "asked", [{"retry_after": "500"}, {"x_ratelimit_reset_tokens": "6m0s"}], ids=["retry-after", "reset"]
)
def test_error_says_that_a_wait_of_more_than_two_minutes_is_not_retried(engine: Engine, asked: dict[str, str]) -> None:
    with serving(json_answer(ERROR, 429, **asked)) as server, pytest.raises(errors.RateLimited) as caught:
        engine.ask("Hi", base_url=server.url)
    assert len(server.seen) == 1
    assert str(caught.value).endswith(
        "). Try again later, after the seconds in retry_after of this error: no wait above 2 minutes is retried, "
        "whatever max_retries= is"
    )


def test_error_without_a_json_body_is_summarised(engine: Engine) -> None:
    page = Answer([b"<html><body>Bad gateway" + b"x" * 5000], 502, "text/html")
    with serving(page, Answer([b"a page"], 502, "text/html"), Answer([], 500, "")) as server:
        for _ in range(2):
            with pytest.raises(errors.ProviderUnavailable, match="answered 502: an HTML page instead of JSON"):
                engine.ask("Hi", base_url=server.url, max_retries=0)
        with pytest.raises(errors.ProviderUnavailable, match="answered 500: no body"):
            engine.ask("Hi", base_url=server.url, max_retries=0)


def test_key_that_a_provider_echoes_is_in_no_error(engine: Engine) -> None:
    body = {
        "error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key", "sent": [KEY], KEY: ""}
    }
    with serving(json_answer(body, 401)) as server, pytest.raises(errors.AuthenticationError) as caught:
        engine.ask("Hi", base_url=server.url)
    assert "Incorrect API key provided: [redacted]" in str(caught.value)
    assert KEY not in str(caught.value) + repr(caught.value) + repr(caught.value.body)
    cause = caught.value.__cause__  # which a traceback shows, too
    assert cause is not None
    assert KEY not in repr(cause) + repr(vars(cause).get("body")) + repr(vars(cause).get("message"))


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} ", f"{KEY}\x01", f"{KEY}é"])
def test_key_that_a_header_cannot_carry_is_refused_and_not_shown(engine: Engine, key: str) -> None:
    with serving(chat_stream("ok")) as server, pytest.raises(errors.ConfigError, match="the API key holds") as caught:
        engine.ask("Hi", base_url=server.url, api_key=key, max_retries=0)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert not server.seen


@pytest.mark.parametrize("key", ["ollama", "x", "EMPTY"])
def test_placeholder_instead_of_a_key_is_not_redacted_from_an_error(key: str) -> None:
    body = {"message": f"model 'm' not found, try pulling it first: {key} pull m, or ask an expert"}
    error = translate_error(error_from_object(body), ErrorContext("host", Timeouts(), (key,)), begun=True)
    assert body["message"] in str(error)


@pytest.mark.parametrize("status", [200, 500])
def test_key_at_the_end_of_a_shortened_body_is_in_no_error(engine: Engine, status: int) -> None:
    for before in (200 - len(KEY) // 2, 199):
        echo = Answer([f"{'x' * before}{KEY}".encode()], status, "text/plain")
        with serving(echo) as server, pytest.raises(errors.ProviderError) as caught:
            engine.ask("Hi", base_url=server.url, max_retries=0)
        assert KEY[:6] not in str(caught.value)


def test_json_that_is_no_answer_is_shown_without_the_key(engine: Engine, endpoint: str) -> None:
    # As MiniMax and others report an error, with the status 200.
    for before in ("", "x" * 1590):
        other = json_answer({"base_resp": {"status_msg": f"login fail {before}{KEY}"}})
        with serving(other) as server, pytest.raises(errors.InvalidAnswer, match="login fail") as caught:
            engine.ask("Hi", base_url=server.url, endpoint=endpoint)
        assert "login fail" in caught.value.body["base_resp"]["status_msg"]
        assert KEY[:6] not in f"{caught.value} {caught.value.body}"


def test_stream_without_a_choice_is_shown_without_the_key(engine: Engine) -> None:
    other = sse({"base_resp": {"status_msg": f"login fail {KEY}"}})
    with serving(other) as server, pytest.raises(errors.InvalidAnswer, match=r"no choice: .*login fail") as caught:
        engine.ask("Hi", base_url=server.url)
    assert KEY[:6] not in f"{caught.value} {caught.value.body}"


def test_key_at_the_end_of_a_shortened_message_is_in_no_error() -> None:
    context = ErrorContext("host", Timeouts(), (KEY,))
    for before in (*range(700, 1700), 5000):
        made = error_from_object({"message": "x" * before + KEY})
        translated = translate_error(made, context, begun=True)
        refused = error_of_status(400, {"message": "x" * before + KEY}, context, headers={})
        for error in (translated, refused):
            assert KEY[:6] not in str(error)
            assert len(str(error)) < 2000


def test_key_among_the_fields_of_an_answer_is_in_no_error() -> None:
    assert KEY not in str(error_of_protocol(KeyError(KEY), ErrorContext("host", Timeouts(), (KEY,)), "chat"))


def test_html_instead_of_json_is_an_invalid_answer(engine: Engine, endpoint: str) -> None:
    page = Answer([b"<!DOCTYPE html><html>Welcome</html>"], 200, "text/html; charset=utf-8")
    with serving(page) as server, pytest.raises(errors.InvalidAnswer, match="an HTML page instead of JSON") as caught:
        engine.ask("Hi", base_url=server.url, endpoint=endpoint)
    assert caught.value.status == 200


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer([], content_type="text/event-stream"), "empty stream"),
        (Answer([b"data: {not json}\n\n"]), "not JSON"),
        (Answer([b"data: [1, 2]\n\n"]), "not of the chat API"),
        (Answer([b'data: {"choices": 5}\n\n']), "not of the chat API"),
        (Answer([b'data: {"choices": [{"index": 0, "delta": 7}]}\n\n']), "not of the chat API"),
        (Answer([sse(chat_chunk(content={"a": 1}))]), r"delta.content is an object, not a text or a list"),
        (Answer([sse(chat_chunk(refusal=5, finish="stop"))]), "not of the chat API"),
        (json_answer({"choices": [{"message": {"tool_calls": [None]}}]}), "not of the chat API"),
        (Answer([b"\xff\xfe\n\n"], content_type="application/json"), "answered 200 with application/json"),
        (Answer([b"[]"], content_type="application/json"), "answered 200"),
        (Answer([b'{"hello": 1}'], content_type="application/json"), "not a chat completion"),
        (Answer([b'{"choices": [], "object": "x"}'], content_type="application/json"), "no 'choices'"),
        (Answer([b"pong"], content_type="text/plain"), "answered 200 with text/plain: pong"),
    ],
)
def test_answer_that_is_not_of_the_protocol_is_invalid(engine: Engine, answer: Answer, message: str) -> None:
    with serving(answer) as server, pytest.raises(errors.InvalidAnswer, match=message):
        engine.ask("Hi", base_url=server.url)


def test_responses_answer_that_is_not_of_the_protocol_is_invalid(engine: Engine) -> None:
    answers = [
        Answer(),
        json_answer({"output": "x"}),
        json_answer({"output": [{"type": "function_call"}]}),
        Answer([b'data: {"type": 5}\n\n']),
        Answer([sse({"type": "response.completed", "response": response_object([{"type": "function_call"}])})]),
    ]
    with serving(*answers) as server:
        for _ in answers:
            with pytest.raises(errors.InvalidAnswer):
                engine.ask("Hi", base_url=server.url, endpoint="responses")


def test_connection_that_breaks_in_mid_stream_is_a_broken_stream(engine: Engine, endpoint: str) -> None:
    body = STREAMS[endpoint]("half", "lost")
    answer = Answer([body[: body.index(b"lost") - 30]], broken=True)
    with serving(answer) as server, pytest.raises(errors.StreamBroken, match="ended in mid-stream"):
        engine.ask("Hi", base_url=server.url, endpoint=endpoint)
    assert len(server.seen) == 1  # what has begun is not asked for again


def test_stream_that_ends_without_a_finish_reason_is_broken(engine: Engine, endpoint: str) -> None:
    if endpoint == "chat":
        body = sse(chat_chunk("half"), done=True)
    else:
        body = STREAMS["responses"]("half").partition(b"event: response.completed")[0]
    with (
        serving(body) as server,
        pytest.raises(errors.StreamBroken, match="after 4 characters: the answer is not complete"),
    ):
        engine.ask("Hi", base_url=server.url, endpoint=endpoint)


def test_refused_connection_is_a_connection_error(engine: Engine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(errors.ConnectionFailed, match=r"no connection to 127.0.0.1:\d+ \(ConnectError"):
            engine.ask("Hi", base_url=url, max_retries=0)


def test_refused_request_is_sent_again_after_the_delay_the_provider_asks_for(engine: Engine) -> None:
    refusal = json_answer(ERROR, 429, retry_after_ms="1")
    with serving(refusal, refusal, chat_stream("ok")) as server:
        events = engine.events("Hi", base_url=server.url)
    retries = [event for event in events if isinstance(event, Retry)]
    assert [(event.attempt, event.delay) for event in retries] == [(1, 0.001), (2, 0.001)]
    assert all(isinstance(event.error, errors.RateLimited) for event in retries)
    reply = events[-1].response
    assert (reply.text, reply.meta["retries"], reply.meta["turns"]) == ("ok", 2, 1)


def test_number_of_retries_can_be_set(engine: Engine) -> None:
    refusal = json_answer(ERROR, 503, retry_after_ms="1")
    for limit in (0, 1, 3):
        with serving(*[refusal] * 9) as server, pytest.raises(errors.ProviderUnavailable):
            engine.ask("Hi", base_url=server.url, max_retries=limit)
        assert len(server.seen) == limit + 1


def test_request_that_cannot_succeed_is_sent_once(engine: Engine) -> None:
    told = json_answer(ERROR, 500, x_should_retry="false")
    late = json_answer(ERROR, 429, retry_after="3600")
    for answer in (json_answer(ERROR, 400), json_answer(ERROR, 401), told, late):
        with serving(*[answer] * 3) as server, pytest.raises(errors.ProviderError):
            engine.ask("Hi", base_url=server.url)
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "too fast", "code": "rate_limit_exceeded"}, errors.RateLimited),
        ({"message": "oops", "type": "server_error"}, errors.ProviderUnavailable),
        ({"message": "bad call", "type": "invalid_request_error", "code": "tool_use_failed"}, errors.BadRequest),
        ({"message": "who knows"}, errors.ProviderError),
    ],
)
def test_error_object_inside_a_stream_is_an_error(engine: Engine, error: dict[str, str], kind: type) -> None:
    body = sse(chat_chunk("half"), {"error": error})
    with serving(Answer([body], headers={"x-request-id": "req_1"})) as server, pytest.raises(kind) as caught:
        engine.ask("Hi", base_url=server.url)
    assert type(caught.value) is kind
    assert error["message"] in str(caught.value)
    assert (caught.value.request_id, caught.value.body["message"]) == ("req_1", error["message"])


def test_failed_response_is_an_error(engine: Engine) -> None:
    failure = {"code": "server_error", "message": "the model fell over"}
    events = [
        {"type": "response.failed", "response": response_object([], "failed", error=failure), "sequence_number": 1},
        {"type": "error", "code": "rate_limit_exceeded", "message": "the model fell over", "sequence_number": 1},
    ]
    with serving(*(sse(event, done=False, event=True) for event in events)) as server:
        with pytest.raises(errors.ProviderUnavailable, match="the model fell over"):
            engine.ask("Hi", base_url=server.url, endpoint="responses")
        with pytest.raises(errors.RateLimited, match="the model fell over"):
            engine.ask("Hi", base_url=server.url, endpoint="responses")


def test_total_time_bounds_retries_and_waits(engine: Engine) -> None:
    refusal = json_answer(ERROR, 503, retry_after="60")
    with serving(*[refusal] * 9) as server:
        started = time.monotonic()
        with pytest.raises(errors.RequestTimeout, match=r"total: the call to .* took longer than 0.1 s") as caught:
            engine.ask("Hi", base_url=server.url, timeout=aquila.Timeouts(total=0.1))
        assert not isinstance(caught.value.__cause__, errors.RequestTimeout)  # its traceback would say the same twice
        assert time.monotonic() - started < 50


def test_an_error_in_a_list_is_read(engine: Engine) -> None:
    body = json.dumps([{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}])
    refusal = Answer([body.encode()], 400, content_type="application/json")
    with serving(refusal) as server, pytest.raises(errors.BadRequest, match=r"API key not valid\. \(400\)") as caught:
        engine.ask("Hi", base_url=server.url)
    assert caught.value.body["status"] == "INVALID_ARGUMENT"


def test_no_further_retry_is_reported_after_the_total_time(engine: Engine) -> None:
    def scenario(limit: float) -> None:
        told: list[Event] = []
        options = {"timeout": aquila.Timeouts(total=limit), "sink": aquila.Sink.callback(told.append)}
        with serving(json_answer(ERROR, 503, retry_after="60")) as server, pytest.raises(errors.RequestTimeout):
            engine.ask("Hi", base_url=server.url, **options)
        assert [event.attempt for event in told if isinstance(event, Retry)] == [1]

    with_a_limit_in_time(scenario, 0.1)


def staying_alive(sign: bytes, *first: bytes, kind: str = "text/event-stream") -> Answer:
    """Return an answer that sends a sign of life every few milliseconds, so that no read of it waits for long."""

    def pieces() -> Iterator[bytes]:
        yield from first
        for _ in range(1000):
            threading.Event().wait(0.01)
            yield sign

    return Answer(pieces(), content_type=kind)


@pytest.mark.parametrize("form", ["stream", "one piece"])
def test_total_time_ends_an_answer_that_only_stays_alive(engine: Engine, form: str) -> None:
    stream = (b": ping\n\n", sse(chat_chunk("first"), done=False))
    answer = staying_alive(*stream) if form == "stream" else staying_alive(b" ", kind="application/json")
    with serving(answer) as server:
        with pytest.raises(errors.RequestTimeout, match="total"):
            engine.ask("Hi", base_url=server.url, timeout=aquila.Timeouts(idle=20, total=0.3))
        assert server.left.wait(60)


def test_total_time_limits_asynchronous_tools(engine: Engine) -> None:
    def scenario(limit: float) -> None:
        waiting: list[bool] = []

        async def forever() -> None:
            waiting.append(True)
            await asyncio.Event().wait()

        with serving(one_call("forever", "{}")) as server, pytest.raises(errors.RequestTimeout, match="total"):
            engine.ask("Hi", base_url=server.url, tools=[forever], timeout=aquila.Timeouts(total=limit))
        assert waiting

    with_a_limit_in_time(scenario, 0.3)


def test_total_time_counts_before_the_answer_begins(engine: Engine) -> None:
    def silent(seen: object) -> Answer:
        waited.wait(60)
        return Answer()

    waited = threading.Event()
    with serving(by=silent) as server, pytest.raises(errors.RequestTimeout, match="total"):
        engine.ask("Hi", base_url=server.url, timeout=aquila.Timeouts(idle=20, total=0.2))
    waited.set()


def test_error_of_a_transport_is_raised_unchanged(engine: Engine) -> None:
    import httpx2

    class Refusing(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
        calls = 0

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            self.calls += 1
            raise miss

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.calls += 1
            raise miss

    miss = errors.CassetteMiss("nothing like it")
    transport = Refusing()
    with pytest.raises(errors.CassetteMiss) as caught:
        engine.ask("Hi", transport=transport)
    assert caught.value is miss
    assert transport.calls == 1


@pytest.mark.parametrize("raised", [errors.CassetteMiss("nothing like it"), RuntimeError("a bug of the transport")])
def test_error_of_a_transport_that_the_sdk_has_wrapped_is_raised_unchanged(raised: Exception) -> None:
    # As openai 3.0 does it, which calls every failed request a connection error.
    import httpx2
    import openai

    from aquila.engine.calls.error_translation import ErrorContext, translate_error

    wrapped = openai.APIConnectionError(request=httpx2.Request("POST", "https://api.openai.com/v1/chat/completions"))
    wrapped.__cause__ = raised
    context = ErrorContext("api.openai.com", aquila.Timeouts())
    assert translate_error(wrapped, context, begun=False) is raised


@pytest.mark.parametrize(
    "error",
    [
        errors.RateLimited("what happened", status=429, retry_after=1.5),
        errors.LimitReached("what happened", limit="10/minute", retry_after=1.5),
        errors.BudgetExceeded("what happened", budget="1 USD a day", spent=1.0, resets_at=None),
        errors.RemoteTaskError("app.Failed", "what happened"),
        NoNetwork("what happened"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_with_fields_of_its_own_comes_through_a_pickle(error: Exception) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))

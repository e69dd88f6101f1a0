"""Telemetry: hooks, OpenTelemetry, and the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

import aquila
from aquila import plugins
from aquila.errors import ConfigError, RateLimited, SinkError, StreamBroken
from aquila.events import Chunk, Done, ToolCall, ToolResult, Usage
from aquila.hookspecs import CallInfo, hookimpl
from tests.support.engines import Engine, live
from tests.support.provider import (
    chat_calls,
    chat_stream,
    message_item,
    one_call,
    response_object,
    tool_fragment,
)
from tests.support.server import Answer, json_answer, serving

REFUSAL = json_answer({"error": {"message": "slow down"}}, 429, retry_after_ms="1")


@aquila.tool
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


class Recorder:
    """Notes every hook."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    @hookimpl
    def aquila_call_start(self, call: CallInfo) -> None:
        self.heard.append(("call_start", {"call": call}))

    @hookimpl
    def aquila_request_start(self, call: CallInfo, request: Any, turn: int) -> None:
        self.heard.append(("request_start", {"request": request, "turn": turn}))

    @hookimpl
    def aquila_chunk(self, call: CallInfo, event: Any) -> None:
        self.heard.append(("chunk", {"event": event}))

    @hookimpl
    def aquila_request_stop(self, call: CallInfo, turn: int, answer: Any, error: Any, seconds: float) -> None:
        self.heard.append(("request_stop", {"turn": turn, "answer": answer, "error": error, "seconds": seconds}))

    @hookimpl
    def aquila_retry(self, event: Any) -> None:
        self.heard.append(("retry", {"event": event}))

    @hookimpl
    def aquila_tool_call(self, event: Any) -> None:
        self.heard.append(("tool_call", {"event": event}))

    @hookimpl
    def aquila_tool_result(self, event: Any, seconds: float) -> None:
        self.heard.append(("tool_result", {"event": event, "seconds": seconds}))

    @hookimpl
    def aquila_call_stop(self, call: CallInfo, result: Any, error: Any, seconds: float) -> None:
        self.heard.append(("call_stop", {"result": result, "error": error, "seconds": seconds}))

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    def told(self, name: str) -> list[dict[str, Any]]:
        return [arguments for each, arguments in self.heard if each == name]


def without_model(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "model"}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    plugin = aquila.register(Recorder())
    yield plugin
    aquila.unregister(plugin)


def test_hooks_are_called_from_start_to_stop_of_a_call(engine: Engine, recorder: Recorder) -> None:
    with serving(REFUSAL, one_call("add", '{"a": 1}'), chat_stream("2")) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[add], metadata={"id": 9}, temperature=0.5)
    assert recorder.names() == [
        *("call_start", "request_start", "request_stop", "retry", "request_start", "request_stop", "chunk"),
        *("tool_call", "tool_result", "request_start", "chunk", "request_stop", "chunk", "call_stop"),
    ]
    call = recorder.told("call_start")[0]["call"]
    assert (call.ref, call.operation, call.model, call.transport) == (reply.meta["ref"], "chat", "test-model", "live")
    assert (call.metadata, call.options["temperature"]) == ({"id": 9}, 0.5)
    assert [start["turn"] for start in recorder.told("request_start")] == [1, 1, 2]
    refused, called, answered = recorder.told("request_stop")
    assert isinstance(refused["error"], RateLimited)
    assert called["answer"].finish_reason == "tool_calls"
    assert (answered["answer"].id, answered["answer"].usage.total_tokens) == ("chatcmpl-1", 7)
    assert [type(each["event"]) for each in recorder.told("chunk")] == [Usage, Chunk, Usage]
    assert recorder.told("tool_result")[0]["event"].value == 2
    assert recorder.told("retry")[0]["event"].attempt == 1
    assert recorder.told("call_stop")[0]["result"] == reply
    assert all(each["seconds"] >= 0 for each in recorder.told("request_stop") + recorder.told("call_stop"))


def test_a_call_whose_sink_fails_has_failed(engine: Engine, recorder: Recorder) -> None:
    def fail(event: object) -> None:
        raise OSError("full")

    for ask in (engine.ask, engine.push):
        with serving(chat_stream("2")) as server, pytest.raises(SinkError) as caught:
            ask("Hi", base_url=server.url, sink=aquila.Sink.callback(fail))
        assert recorder.told("request_stop")[-1]["error"] is caught.value
        assert recorder.told("call_stop")[-1]["error"] is caught.value


def test_a_plugin_is_told_of_calls_that_begin_after_its_registration(engine: Engine) -> None:
    late = Recorder()

    def join() -> None:
        aquila.register(late)

    with serving(one_call("join", "{}"), chat_stream("2"), chat_stream("3")) as server:
        try:
            engine.ask("Hi", base_url=server.url, tools=[join])
            # It gets the remaining events of this call if there are other listeners.
            assert "call_start" not in late.names()
            late.heard.clear()
            engine.ask("Hi", base_url=server.url)
        finally:
            aquila.unregister(late)
    assert late.names() == ["call_start", "request_start", "chunk", "request_stop", "chunk", "call_stop"]


def test_a_call_starts_when_its_stream_is_first_read() -> None:
    late = Recorder()
    with serving(chat_stream("1")) as server, aquila.stream("Hi", **live({"base_url": server.url})) as stream:
        aquila.register(late)
        try:
            list(stream)
        finally:
            aquila.unregister(late)
    assert late.names() == ["call_start", "request_start", "chunk", "request_stop", "chunk", "call_stop"]


def test_hooks_are_told_how_a_call_failed_or_was_abandoned(engine: Engine, recorder: Recorder) -> None:
    with serving(Answer([chat_stream("x")[:100]], broken=True)) as server, pytest.raises(StreamBroken) as caught:
        engine.ask("Hi", base_url=server.url)
    assert recorder.told("request_stop")[0]["error"] is caught.value
    assert recorder.told("call_stop")[0]["error"] is caught.value
    recorder.heard.clear()
    with serving(chat_stream("a", "b")) as server, aquila.stream("Hi", **live({"base_url": server.url})) as stream:
        next(iter(stream))
    assert recorder.names() == ["call_start", "request_start", "chunk", "request_stop", "call_stop"]
    assert recorder.told("call_stop")[0] | {"seconds": 0} == {"result": None, "error": None, "seconds": 0}


def test_every_poll_of_a_background_answer_starts_and_stops_a_request(engine: Engine, recorder: Recorder) -> None:
    states = [response_object([], state, usage=None) for state in ("queued", "in_progress")]
    with serving(*map(json_answer, [*states, response_object([message_item("four")])])) as server:
        engine.ask("Hi", base_url=server.url, endpoint="responses", background=True, poll_interval=0)
    requests = [name for name in recorder.names() if name.startswith("request")]
    assert requests == ["request_start", "request_stop"] * 3
    assert [told["answer"] is None for told in recorder.told("request_stop")] == [True, True, False]


def test_a_call_that_is_left_at_its_last_event_is_complete(recorder: Recorder) -> None:
    async def asynchronously(url: str) -> None:
        async with aquila.astream("Hi", **live({"base_url": url})) as stream:
            async for event in stream:
                if isinstance(event, Done):
                    break

    with serving(chat_stream("a"), chat_stream("a")) as server:
        with aquila.stream("Hi", **live({"base_url": server.url})) as stream:
            for event in stream:
                if isinstance(event, Done):
                    break
        asyncio.run(asynchronously(server.url))
    assert [told["result"].text for told in recorder.told("call_stop")] == ["a", "a"]


def test_a_transcription_and_a_deletion_end_with_their_results(recorder: Recorder) -> None:
    deleted = {"id": "resp_1", "object": "response", "deleted": True}
    with serving(json_answer({"text": "four"}), json_answer(deleted)) as server:
        text = aquila.transcribe(b"sound", **live({"base_url": server.url}))
        aquila.delete_response("resp_1", **without_model(live({"base_url": server.url})))
    assert [told["result"] for told in recorder.told("call_stop")] == [text, True]


def test_plugin_that_raises_is_reported_and_breaks_nothing(
    engine: Engine, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @hookimpl(tryfirst=True)
        def aquila_chunk(self) -> None:
            raise ZeroDivisionError("in the plugin")

    broken = aquila.register(Broken)
    try:
        with serving(chat_stream("a")) as server:
            assert engine.ask("Hi", base_url=server.url).text == "a"
    finally:
        aquila.unregister(broken)
    assert "chunk" in recorder.names()  # the others still get events
    records = [record for record in caplog.records if "failed in aquila_chunk" in record.getMessage()]
    assert records
    assert records[0].exc_info is not None
    assert records[0].getMessage() == "plugin Broken failed in aquila_chunk"


def test_plugin_is_checked_when_it_is_registered() -> None:
    class Misspelt:
        @hookimpl
        def aquila_chunks(self) -> None: ...

    class Wrong:
        @hookimpl
        def aquila_chunk(self, nonsense: int) -> None: ...

    class Nothing:
        pass

    for plugin, reason in ((Misspelt, "aquila_chunks"), (Wrong, "nonsense"), (Nothing, "implements no hook")):
        with pytest.raises(ConfigError, match=reason):
            aquila.register(plugin)
    with serving(chat_stream("a")) as server:
        assert aquila.ask("Hi", **live({"base_url": server.url})).text == "a"


def test_plugins_of_packages_are_found_by_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    class Found(metadata.Distribution):
        def read_text(self, filename: str) -> str | None:
            points = "[aquila]\nmine = tests.engine.calls.test_telemetry:Recorder\n"
            return {"METADATA": "Name: found\n", "entry_points.txt": points}.get(filename)

        def locate_file(self, path: Any) -> Any:
            return path

    monkeypatch.setattr("importlib.metadata.distributions", lambda: [Found()])
    monkeypatch.setattr(plugins, "_has_installed_plugins", plugins._has_installed_plugins.__wrapped__)
    assert plugins.plugin_manager.__wrapped__().get_plugin("mine") is Recorder


def test_log_is_quiet_and_without_content_unless_asked(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("aquila").handlers)
    with serving(*[chat_stream("the answer")] * 2) as server, caplog.at_level(logging.DEBUG, logger="aquila"):
        engine.ask("the prompt", base_url=server.url)
        assert "request 1 to test-model" in caplog.text
        assert "the prompt" not in caplog.text
        assert "the answer" not in caplog.text
        monkeypatch.setenv("AQUILA_LOG_CONTENT", "on")
        engine.ask("the prompt", base_url=server.url)
    assert "the prompt" in caplog.text
    assert "the answer" in caplog.text


class TestOpenTelemetry:
    """Spans and metrics, as the SDK's in-memory exporter sees them."""

    @pytest.fixture
    def exported(self) -> Iterator[Any]:
        trace = pytest.importorskip("opentelemetry.sdk.trace")
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        from aquila.otel import OpenTelemetry

        spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = trace.TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(spans))
        meters = MeterProvider([reader])
        plugin = aquila.register(OpenTelemetry(tracer_provider=provider, meter_provider=meters))
        yield spans, reader, provider
        aquila.unregister(plugin)
        meters.shutdown()
        provider.shutdown()

    def test_each_request_and_each_tool_is_a_span(self, engine: Engine, exported: Any) -> None:
        spans, reader, provider = exported
        with serving(one_call("add", '{"a": 1}'), chat_stream("2")) as server:
            with provider.get_tracer("app").start_as_current_span("work") as work:
                engine.ask("Hi", base_url=server.url, tools=[add], temperature=0, max_output_tokens=9)
            port = int(server.url.rpartition(":")[2].removesuffix("/v1"))
        finished = spans.get_finished_spans()
        assert [span.name for span in finished] == [
            *("chat test-model", "execute_tool add", "chat test-model", "work")
        ]  # fmt: skip
        first, tool, last, _ = finished
        assert dict(last.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "test-model",
            "gen_ai.request.stream": True,
            "gen_ai.request.temperature": 0,
            "gen_ai.request.max_tokens": 9,
            "gen_ai.response.id": "chatcmpl-1",
            "gen_ai.response.model": "test-model",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 5,
            "gen_ai.usage.output_tokens": 2,
            "gen_ai.usage.cache_read.input_tokens": 0,
            "gen_ai.usage.reasoning.output_tokens": 0,
            "server.address": "127.0.0.1",
            "server.port": port,
            "aquila.transport": "live",
        }
        assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
        assert tool.attributes["gen_ai.tool.call.id"] == "call_1"
        assert {span.parent.span_id for span in (first, tool, last)} == {work.get_span_context().span_id}
        assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
        metrics = self.metrics(reader)
        assert {p.attributes["gen_ai.token.type"]: p.sum for p in metrics["gen_ai.client.token.usage"]} == {
            "input": 10,
            "output": 4,
        }
        assert sum(point.count for point in metrics["gen_ai.client.operation.duration"]) == 2

    def test_span_of_a_tool_begins_when_the_tool_before_it_has_ended(self, engine: Engine, exported: Any) -> None:
        spans, _, _ = exported
        ended: list[int] = []

        def note() -> str:
            ended.append(time.time_ns())
            return "noted"

        calls = [tool_fragment(0, id="a", name="note"), tool_fragment(1, id="b", name="note")]
        with serving(chat_calls(*calls), chat_stream("2")) as server:
            engine.ask("Hi", base_url=server.url, tools=[note])
        first, second = [span for span in spans.get_finished_spans() if span.name == "execute_tool note"]
        assert first.start_time <= ended[0] <= second.start_time <= ended[1]

    def test_span_of_a_tool_takes_the_time_of_that_tool(self, exported: Any) -> None:
        # Of tools that run at the same time, the results are known when all have ended.
        spans, _, provider = exported
        from aquila.otel import OpenTelemetry

        plugin = OpenTelemetry(tracer_provider=provider)
        call = CallInfo("call-1", "chat", "test-model", "live", "http://127.0.0.1/v1")
        plugin.aquila_tool_call(call, ToolCall("call_1", "add", {}))
        plugin.aquila_tool_result(call, ToolResult("2", id="call_1"), seconds=0.25)
        (span,) = spans.get_finished_spans()
        assert span.end_time - span.start_time == 250_000_000

    def test_the_provider_has_the_name_that_the_conventions_give_it(self, exported: Any) -> None:
        spans, _, provider = exported
        from aquila.otel import OpenTelemetry

        plugin = OpenTelemetry(tracer_provider=provider)
        for host in ("api.anthropic.com", "eu.api.openai.com", "us-east-1.api.x.ai", "llm.example.com"):
            call = CallInfo(host, "chat", "test-model", "live", f"https://{host}/v1")
            plugin.aquila_request_start(call, {})
            plugin.aquila_request_stop(call, None, None, 0.1)
        named = [span.attributes["gen_ai.provider.name"] for span in spans.get_finished_spans()]
        assert named == ["anthropic", "openai", "x_ai", "openai"]

    def test_failed_request_is_a_span_with_its_error(self, engine: Engine, exported: Any) -> None:
        spans, reader, _ = exported
        with serving(REFUSAL) as server, pytest.raises(RateLimited):
            engine.ask("Hi", base_url=server.url, max_retries=0)
        (span,) = spans.get_finished_spans()
        assert span.attributes["error.type"] == "429"
        assert span.status.status_code.name == "ERROR"
        (point,) = self.metrics(reader)["gen_ai.client.operation.duration"]
        assert point.attributes["error.type"] == "429"

    def test_span_of_a_request_for_a_stored_answer_has_no_request_model(self, exported: Any) -> None:
        spans, _, _ = exported
        deleted = {"id": "resp_1", "object": "response", "deleted": True}
        done = response_object([message_item("four")])
        with serving(json_answer(done), json_answer(deleted)) as server:
            options = without_model(live({"base_url": server.url}))
            aquila.retrieve_response("resp_1", **options)
            aquila.delete_response("resp_1", **options)
        fetched, gone = spans.get_finished_spans()
        assert (fetched.name, gone.name) == ("retrieve_response", "delete_response")
        assert fetched.attributes["gen_ai.response.model"] == "test-model"
        for span in (fetched, gone):
            assert not {"gen_ai.request.model", "gen_ai.request.stream"} & set(span.attributes)

    def test_attribute_names_are_those_of_the_semantic_conventions(self) -> None:
        conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
        import ast
        import inspect

        import aquila.otel

        known = {value for value in vars(conventions).values() if isinstance(value, str)}
        used = {
            node.value
            for node in ast.walk(ast.parse(inspect.getsource(aquila.otel)))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("gen_ai.")
        }
        assert used - known == {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"}  # metrics

    def test_a_call_can_end_while_another_thread_begins_one(self, exported: Any) -> None:
        from aquila.otel import OpenTelemetry

        spans, _, provider = exported
        plugin = OpenTelemetry(tracer_provider=provider)

        class Ref(str):
            """The id of a call. Each comparison begins a request of another call, as a thread may at any time."""

            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                plugin.aquila_request_start(CallInfo(f"other {len(plugin._spans)}", "chat", "m"), {})
                return str(self) == other

            __hash__ = str.__hash__

        ended, other = CallInfo("ended", "chat", "m"), CallInfo("open", "chat", "m")
        for call in (ended, other):
            plugin.aquila_request_start(call, {})
        plugin.aquila_call_stop(CallInfo(Ref("ended"), "chat", "m"), None)
        assert len(spans.get_finished_spans()) == 1
        assert ("ended", "") not in plugin._spans
        assert ("open", "") in plugin._spans

    @staticmethod
    def metrics(reader: Any) -> dict[str, Any]:
        data = reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

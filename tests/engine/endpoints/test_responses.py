"""The Responses API beyond plain answers, and structured output on both endpoints."""

from __future__ import annotations

import json
import time
from typing import Any, Generic, TypeVar

import pydantic
import pytest

import aquila
from aquila import errors
from aquila.events import Chunk, Event, Progress, Reasoning
from tests.support.engines import Engine, live
from tests.support.provider import (
    STREAMS,
    call_item,
    chat_chunk,
    chat_stream,
    message_item,
    response_object,
    responses_events,
    responses_stream,
)
from tests.support.server import Answer, cut, json_answer, serving, sse
from tests.support.traffic import exchanges, needs_corpus

T = TypeVar("T")
QUEUED = response_object([], "queued", usage=None)
RUNNING = response_object([], "in_progress", usage=None)
DONE = response_object([message_item("four")])
FAILED = response_object([], "failed", error={"code": "server_error", "message": "it fell over"})
FAST: dict[str, Any] = {"endpoint": "responses", "background": True, "poll_interval": 0.001}


class City(pydantic.BaseModel):
    """A city."""

    name: str
    people: int = 0


def add(a: int) -> int:
    """Add one."""
    return a + 1


def web_search(query: str) -> str:
    return query


def test_calls_that_come_with_one_id_are_sent_back_with_the_ids_that_their_results_have(engine: Engine) -> None:
    calls = [call_item("add", '{"a": 1}'), call_item("add", '{"a": 2}')]
    with serving(responses_stream(items=calls), responses_stream("ok")) as server:
        engine.ask("Hi", base_url=server.url, endpoint="responses", tools=[add])
    _, *sent = server.seen[1].json["input"]
    assert [(item["type"], item["call_id"]) for item in sent] == [
        ("function_call", "call_1"),
        ("function_call", "call_1_1"),
        ("function_call_output", "call_1"),
        ("function_call_output", "call_1_1"),
    ]


def test_options_of_the_responses_api_are_sent(engine: Engine) -> None:
    with serving(responses_stream("ok")) as server:
        engine.ask(
            "Hi",
            base_url=server.url,
            endpoint="responses",
            store=False,
            reasoning={"effort": "low", "summary": "auto"},
            previous_response_id="resp_0",
            top_p=0.5,
            user="customer-17",
            service_tier="flex",
            truncation="auto",
            tools=["web_search"],
            max_tool_calls=2,
            text={"verbosity": "low"},
            response_format={"type": "json_object"},
        )
    sent = server.seen[0].json
    assert (sent["user"], sent["service_tier"], sent["truncation"]) == ("customer-17", "flex", "auto")
    assert sent["max_tool_calls"] == 2
    assert sent["text"] == {"verbosity": "low", "format": {"type": "json_object"}}
    assert sent["store"] is False
    assert sent["reasoning"] == {"effort": "low", "summary": "auto"}
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert (sent["previous_response_id"], sent["top_p"]) == ("resp_0", 0.5)


def test_reasoning_that_is_neither_stored_nor_encrypted_is_not_sent_back(engine: Engine) -> None:
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    whole = bare | {"id": "rs_2", "encrypted_content": "abc"}
    with serving(
        responses_stream("Hello", items=[bare, whole]), responses_stream("ok"), responses_stream("ok")
    ) as server:
        first = engine.ask("Hi", base_url=server.url, endpoint="responses")
        for store in (None, False):
            engine.ask([*first.messages, "More"], base_url=server.url, endpoint="responses", store=store)
    kinds = [[item.get("id") for item in seen.json["input"] if item.get("type") == "reasoning"] for seen in server.seen]
    assert kinds == [[], ["rs_1", "rs_2"], ["rs_2"]]


def test_options_are_translated_for_chat(engine: Engine) -> None:
    with serving(chat_stream("ok")) as server:
        engine.ask(
            "Hi",
            base_url=server.url,
            reasoning="low",
            store=True,
            metadata={"id": 5},
            stop=["."],
            top_p=0.5,
            user="customer-17",
            service_tier="flex",
            text={"verbosity": "low"},
        )
    sent = server.seen[0].json
    assert (sent["user"], sent["service_tier"], sent["verbosity"]) == ("customer-17", "flex", "low")
    assert (sent["reasoning_effort"], sent["store"], sent["metadata"]) == ("low", True, {"id": "5"})
    assert (sent["stop"], sent["top_p"]) == (["."], 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"background": True},
            "option 'background' belongs to endpoint='responses', and the chat API does not have it",
        ),
        ({"previous_response_id": "x"}, "'previous_response_id' belongs to endpoint='responses'"),
        ({"reasoning": {"summary": "auto"}}, "a summary belongs to endpoint='responses'"),
        ({"endpoint": "responses", "stop": "."}, "'stop' belongs to endpoint='chat'.*provider_options={'stop': ...}"),
        ({"truncation": "auto"}, "'truncation' belongs to endpoint='responses'"),
        ({"max_tool_calls": 2, "tools": ["web_search"]}, "'max_tool_calls' belongs to endpoint='responses'"),
        ({"max_tool_calls": 2, "endpoint": "responses"}, "'max_tool_calls' needs tools="),
        ({"text": {"style": "dry"}}, "option 'text': 'style' belongs to endpoint='responses'"),
        ({"text": {"format": {}}}, "has no 'format' here; give response_format="),
        ({"reasoning": {"efort": "low"}}, "has 'effort' and 'summary', and no 'efort'"),
        ({"response_format": int}, "must be a pydantic model or a dict"),
        ({"response_format": {}}, "needs a 'type'"),
        ({"stop": [1]}, "must be text or a list of texts"),
    ],
)
def test_options_of_the_other_endpoint_are_refused(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        engine.ask("Hi", **options)


def test_model_that_is_asked_for_is_parsed(engine: Engine, endpoint: str) -> None:
    with serving(STREAMS[endpoint]('{"name": "Ulm",', ' "people": 128000}')) as server:
        reply = engine.ask("A city", base_url=server.url, endpoint=endpoint, response_format=City)
    assert reply.parsed == City(name="Ulm", people=128000)
    sent = server.seen[0].json
    wanted = sent["response_format"] if endpoint == "chat" else sent["text"]["format"]
    assert wanted["type"] == "json_schema"
    inner = wanted["json_schema"] if endpoint == "chat" else wanted
    assert (inner["name"], inner["strict"]) == ("City", True)
    assert inner["schema"]["required"] == ["name", "people"]
    assert inner["schema"]["additionalProperties"] is False


def test_schema_given_as_a_dict_is_sent_in_the_form_of_each_endpoint(engine: Engine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    with serving(*[chat_stream("{}"), responses_stream("{}")] * 2) as server:
        for given in (wanted, {"type": "json_object"}):
            assert engine.ask("Hi", base_url=server.url, response_format=given).parsed is None
            engine.ask("Hi", base_url=server.url, endpoint="responses", response_format=given)
    chat, responses, plain_chat, plain_responses = (seen.json for seen in server.seen)
    assert chat["response_format"] == wanted
    assert responses["text"] == {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}
    assert plain_chat["response_format"] == {"type": "json_object"}
    assert plain_responses["text"] == {"format": {"type": "json_object"}}


def test_answer_that_is_not_of_the_model_is_invalid(engine: Engine, endpoint: str) -> None:
    with (
        serving(STREAMS[endpoint]('{"people": "many"}')) as server,
        pytest.raises(errors.InvalidAnswer, match="the answer is not a City: name: Field required; people: ") as caught,
    ):
        engine.ask("Hi", base_url=server.url, endpoint=endpoint, response_format=City)
    assert caught.value.body == '{"people": "many"}'


def test_unfinished_or_refused_answer_is_not_parsed(engine: Engine) -> None:
    refusal = message_item("") | {"content": [{"type": "refusal", "refusal": "No."}]}
    events = responses_events(items=[refusal])
    events.insert(2, {"type": "response.refusal.delta", "delta": "No.", "sequence_number": 9})
    with serving(chat_stream('{"na', finish="length"), sse(*events, done=False, event=True)) as server:
        assert engine.ask("Hi", base_url=server.url, response_format=City).parsed is None
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses", response_format=City)
    assert (reply.refusal, reply.text, reply.parsed) == ("No.", "", None)


def test_name_of_a_generic_model_is_one_that_providers_take(engine: Engine) -> None:
    class Page(pydantic.BaseModel, Generic[T]):
        rows: list[T]

    with serving(chat_stream('{"rows": [{"name": "Ulm"}]}')) as server:
        reply = engine.ask("Hi", base_url=server.url, response_format=Page[City])
    assert reply.parsed.rows == [City(name="Ulm")]
    assert server.seen[0].json["response_format"]["json_schema"]["name"] == "Page_City"


def test_name_of_a_model_without_letters_that_providers_take_is_replaced(engine: Engine) -> None:
    model = pydantic.create_model("\u57ce\u5e02", name=(str, ...))
    with serving(chat_stream('{"name": "Ulm"}')) as server:
        engine.ask("Hi", base_url=server.url, response_format=model)
    assert server.seen[0].json["response_format"]["json_schema"]["name"] == "answer"


@pytest.mark.parametrize("kind", ["keepalive", "response.keep_alive", "response.in_progress", "ping"])
def test_keep_alive_events_are_ignored(engine: Engine, kind: str) -> None:
    first, *others = responses_events("Eagles ", "soar")
    keeping = {"type": kind, "sequence_number": 1}
    body = sse(keeping, first, keeping, *others[:-1], keeping, others[-1], done=False, event=True)
    with serving(body) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses")
    assert (reply.text, reply.meta["id"]) == ("Eagles soar", "resp_1")


def test_text_that_is_only_in_the_final_event_is_emitted(engine: Engine) -> None:
    final = {"type": "response.completed", "response": response_object([message_item("Eagles soar")])}
    with serving(sse(final, done=False, event=True)) as server:
        events = engine.events("Hi", base_url=server.url, endpoint="responses")
    assert [event.text for event in events if isinstance(event, Chunk)] == ["Eagles soar"]
    assert events[-1].response.text == "Eagles soar"


def test_arguments_may_be_an_object_instead_of_json_text(engine: Engine, endpoint: str) -> None:
    def double(number: int) -> int:
        return 2 * number

    item: dict[str, Any] = {**call_item("double", ""), "arguments": {"number": 4}}
    called = {"index": 0, "id": "call_1", "function": {"name": "double", "arguments": {"number": 4}}}
    first = {
        "chat": sse(chat_chunk(tool_calls=[called], finish="tool_calls")),
        "responses": responses_stream(items=[item]),
    }
    with serving(first[endpoint], STREAMS[endpoint]("done")) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[double])
    assert [message.text for message in reply.messages if message.role == "tool"] == ["8"]


def test_reasoning_summary_is_kept_apart_from_the_text(engine: Engine) -> None:
    events = responses_events("42")
    events.insert(2, {"type": "response.reasoning_summary_text.delta", "delta": "Thinking.", "sequence_number": 9})
    with serving(sse(*events, done=False, event=True)) as server:
        told = engine.events("Hi", base_url=server.url, endpoint="responses", reasoning={"summary": "auto"})
    assert [event.text for event in told if isinstance(event, Reasoning)] == ["Thinking."]
    assert (told[-1].response.text, told[-1].response.reasoning) == ("42", "Thinking.")


def test_background_answer_is_polled_until_it_is_finished(engine: Engine) -> None:
    sink = aquila.Sink.collector()
    with serving(*map(json_answer, (QUEUED, RUNNING, DONE))) as server:
        reply = engine.ask("2+2?", base_url=server.url, sink=sink, **FAST)
    assert (reply.text, reply.usage.total_tokens, reply.meta["finish_reason"]) == ("four", 7, "stop")
    assert [(seen.method, seen.path) for seen in server.seen] == [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1"),
    ]
    assert server.seen[0].json["background"] is True
    assert "stream" not in server.seen[0].json
    assert [event.status for event in sink.events if isinstance(event, Progress)] == ["queued", "in_progress"]


BUSY = json_answer({"error": {"message": "busy"}}, 503, retry_after_ms="1")


@pytest.mark.parametrize("between", [json_answer(RUNNING), BUSY], ids=["running", "busy"])
def test_background_answer_that_is_streamed_and_breaks_is_fetched_to_its_end(engine: Engine, between: Answer) -> None:
    broken = Answer([sse(*responses_events("fo")[:3], done=False, event=True)], broken=True)
    with serving(broken, between, json_answer(DONE)) as server:
        told = engine.events("2+2?", base_url=server.url, **FAST)
    assert [event.text for event in told if isinstance(event, Chunk)] == ["fo", "ur"]
    assert told[-1].response.text == "four"
    assert server.seen[0].json["stream"] is True
    assert [seen.path for seen in server.seen[1:]] == ["/v1/responses/resp_1"] * 2


def test_background_answer_that_is_streamed_and_breaks_before_its_id_is_a_broken_stream(engine: Engine) -> None:
    nameless = sse({"type": "response.output_text.delta", "delta": "fo"}, done=False, event=True)
    with serving(Answer([nameless], broken=True)) as server, pytest.raises(errors.StreamBroken):
        engine.events("2+2?", base_url=server.url, **FAST)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ([QUEUED, FAILED], errors.ProviderUnavailable, "it fell over"),
        ([{**QUEUED, "id": None}], errors.InvalidAnswer, "id of the response is null"),
    ],
)
def test_background_answer_that_fails_or_has_no_id_is_an_error(
    engine: Engine, answers: list[dict[str, Any]], error: type[Exception], message: str
) -> None:
    with serving(*map(json_answer, answers)) as server, pytest.raises(error, match=message):
        engine.ask("2+2?", base_url=server.url, **FAST)


def test_polling_ends_with_the_total_time(engine: Engine) -> None:
    started = time.monotonic()
    with serving(by=lambda seen: json_answer(RUNNING)) as server, pytest.raises(errors.RequestTimeout, match="total"):
        engine.ask("Hi", base_url=server.url, **FAST | {"poll_interval": 600, "timeout": aquila.Timeouts(total=0.2)})
    assert time.monotonic() - started < 300


@needs_corpus
def test_recorded_background_answer_of_openai_is_polled(engine: Engine) -> None:
    recorded = exchanges("test_openai_responses/test_background_mode_vcr")
    with serving(*(Answer(cut(each.body), each.status, each.content_type) for each in recorded)) as server:
        reply = engine.ask("What is 2 + 2?", base_url=server.url, **FAST)
    assert reply.raw == recorded[-1].events[0]
    assert "4" in reply.text


def run(engine: Engine, name: str, *arguments: Any, **options: Any) -> Any:
    """Call a function of the package, or its asynchronous twin."""
    import asyncio

    if engine.name == "sync":
        return getattr(aquila, name)(*arguments, **operation(options))
    return asyncio.run(getattr(aquila, f"a{name}")(*arguments, **operation(options)))


def operation(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in live(options).items() if key != "model"}


def test_stored_answer_is_retrieved_cancelled_and_deleted(engine: Engine) -> None:
    cancelled = response_object([], "cancelled", usage=None)
    deleted = {"id": "resp_1", "object": "response", "deleted": True}
    with serving(*map(json_answer, (QUEUED, DONE, cancelled, deleted))) as server:
        url = server.url
        now = run(engine, "retrieve_response", "resp_1", base_url=url, metadata={"id": 1})
        assert (now.text, now.meta["finish_reason"], now.meta["metadata"]) == ("", "queued", {"id": 1})
        later = run(engine, "retrieve_response", now, base_url=url)
        assert (later.text, later.usage.total_tokens, later.messages[0].text) == ("four", 7, "four")
        assert run(engine, "cancel_response", later, base_url=url).meta["finish_reason"] == "cancelled"
        assert run(engine, "delete_response", "resp_1", base_url=url) is None
    assert [(seen.method, seen.path.removeprefix("/v1")) for seen in server.seen] == [
        ("GET", "/responses/resp_1"),
        ("GET", "/responses/resp_1"),
        ("POST", "/responses/resp_1/cancel"),
        ("DELETE", "/responses/resp_1"),
    ]


def test_stored_answer_has_its_tool_calls_or_raises_its_failure(engine: Engine) -> None:
    called = response_object([call_item("add", '{"a": 1}')])
    with serving(json_answer(called), json_answer(FAILED, x_request_id="r7")) as server:
        (call,) = run(engine, "retrieve_response", "resp_1", base_url=server.url).tool_calls
        assert (call.name, call.arguments) == ("add", {"a": 1})
        with pytest.raises(errors.ProviderUnavailable, match="it fell over") as caught:
            run(engine, "retrieve_response", "resp_1", base_url=server.url)
    assert caught.value.request_id == "r7"


def test_stored_answer_that_is_not_there_is_an_error(engine: Engine) -> None:
    missing = json_answer({"error": {"message": "Response with id 'resp_9' not found."}}, 404)
    with serving(missing) as server, pytest.raises(errors.BadRequest, match="'resp_9' not found"):
        run(engine, "retrieve_response", "resp_9", base_url=server.url)


def test_operations_on_stored_answers_refuse_other_arguments(engine: Engine) -> None:
    with pytest.raises(errors.ConfigError, match="the id of a response is text"):
        run(engine, "retrieve_response", 5)
    with pytest.raises(errors.UnknownOption, match="retrieve_response has no option 'temperature'"):
        run(engine, "retrieve_response", "resp_1", temperature=0)


class TestResearch:
    """Deep research, which is background answers with a web search."""

    def test_create_returns_at_once_and_result_waits(self, engine: Engine) -> None:
        sink = aquila.Sink.collector()
        with serving(*map(json_answer, (QUEUED, QUEUED, RUNNING, DONE))) as server:
            options = operation({"base_url": server.url})
            if engine.name == "sync":
                started = aquila.research.create("Why?", **options)
                seen = aquila.research.fetch(started, **options)
                done = aquila.research.result(started, poll_interval=0.001, sink=sink, **options)
            else:
                started, seen, done = self.asynchronously(options, sink)
        assert started.meta["finish_reason"] == seen.meta["finish_reason"] == "queued"
        assert done.text == "four"
        sent = server.seen[0].json
        assert sent["model"] == aquila.research.MODEL
        assert (sent["background"], sent["tools"]) == (True, [{"type": "web_search_preview"}])
        assert [event.status for event in sink.events if isinstance(event, Progress)] == ["in_progress"]

    @staticmethod
    def asynchronously(options: dict[str, Any], sink: aquila.Sink) -> tuple[Any, Any, Any]:
        import asyncio

        async def scenario() -> tuple[Any, Any, Any]:
            started = await aquila.research.acreate("Why?", **options)
            seen = await aquila.research.afetch(started, **options)
            done = await aquila.research.aresult(started, poll_interval=0.001, sink=sink, **options)
            return started, seen, done

        return asyncio.run(scenario())

    def test_stream_emits_the_steps_of_a_search(self, engine: Engine) -> None:
        search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "eagles"}}
        events = responses_events("four", items=[search])
        where = {"item_id": "ws_1", "output_index": 0, "sequence_number": 9}
        steps = [
            {"type": f"response.web_search_call.{step}", **where} for step in ("in_progress", "searching", "completed")
        ]
        events[2:2] = steps
        with serving(sse(*events, done=False, event=True)) as server:
            told = self.streamed(engine, operation({"base_url": server.url}))
        found = [event for event in told if isinstance(event, Progress) and event.kind == "web_search_call"]
        assert [event.status for event in found] == ["in_progress", "searching", "completed", "done"]
        assert found[-1].detail["action"] == {"query": "eagles"}
        assert told[-1].response.text == "four"

    @staticmethod
    def streamed(engine: Engine, options: dict[str, Any]) -> list[Event]:
        import asyncio

        async def scenario() -> list[Event]:
            async with aquila.research.astream("Why?", **options) as stream:
                return [event async for event in stream]

        return list(aquila.research.stream("Why?", **options)) if engine.name == "sync" else asyncio.run(scenario())

    def test_cancel_stops_it(self) -> None:
        with serving(json_answer(response_object([], "cancelled", usage=None))) as server:
            reply = aquila.research.cancel("resp_1", **operation({"base_url": server.url}))
        assert reply.meta["finish_reason"] == "cancelled"
        assert server.seen[0].path == "/v1/responses/resp_1/cancel"

    def test_result_has_a_time_limit(self) -> None:
        with serving(by=lambda seen: json_answer(RUNNING)) as server, pytest.raises(TimeoutError, match="took longer"):
            aquila.research.result("resp_1", timeout=0.2, **operation({"base_url": server.url}))

    @pytest.mark.parametrize(
        ("tool", "sent"),
        [
            ({"type": "mcp", "server_label": "x", "server_url": "https://example.org"}, ["mcp"]),
            ({"type": "web_search_preview_2025_03_11"}, ["web_search_preview_2025_03_11"]),
            ({"type": "web_search_2025_08_26"}, ["web_search_2025_08_26"]),
            ("code_interpreter", ["code_interpreter", "web_search_preview"]),
            (web_search, ["function", "web_search_preview"]),
        ],
    )
    def test_a_web_search_is_added_to_tools_that_bring_no_sources(self, tool: Any, sent: list[str]) -> None:
        with serving(json_answer(QUEUED)) as server:
            options = operation({"base_url": server.url})
            aquila.research.create("Why?", tools=[tool], model="o3-deep-research", **options)
        assert server.seen[0].json["model"] == "o3-deep-research"
        assert [each["type"] for each in server.seen[0].json["tools"]] == sent

    def test_another_endpoint_is_refused(self) -> None:
        with pytest.raises(errors.ConfigError, match="research is for endpoint='responses'"):
            aquila.research.create("Why?", endpoint="chat")

    def test_unfinished_research_is_not_parsed(self) -> None:
        with serving(json_answer(QUEUED)) as server:
            reply = aquila.research.create("Why?", response_format=City, **operation({"base_url": server.url}))
        assert (reply.parsed, reply.meta["finish_reason"]) == (None, "queued")

    def test_options_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(errors.ConfigError, match="remove background=False"):
            aquila.research.create("Why?", background=False)
        with pytest.raises(errors.ConfigError, match="tools is a list"):
            aquila.research.create("Why?", tools="web_search")


def test_raw_answer_is_unchanged(engine: Engine) -> None:
    final = responses_events("x")[-1]["response"]
    with serving(responses_stream("x")) as server:
        raw = engine.ask("Hi", base_url=server.url, endpoint="responses").raw
    assert json.loads(json.dumps(raw)) == final

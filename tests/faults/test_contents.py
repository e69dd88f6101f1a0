"""What faults change in an answer, in each wire form, whole and streamed; and that nothing else changes."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.faults.contents import CONTENT_FAULTS, FORM_EDITS, REFUSAL, error_event, finish_length, refusal
from aquila.faults.edits.form_edits import FormEdits
from aquila.faults.fault import ImpossibleFault
from aquila.scripting.script import Script
from aquila.verifying.answers import AnswerText, find_error, read_answer_text, read_values
from aquila.wire_forms.table import WIRE_FORMS
from tests.faults.answers import ARGUMENTS, TEXT, URLS, answered, ask, call_answer, cut_into, text_answer
from tests.support.examples import examples
from tests.support.traffic import names, path_of
from tests.wire_forms.samples import SAMPLES

FAULTS = {fault.__name__: fault for fault in CONTENT_FAULTS}
COMPACT = ARGUMENTS.replace(": ", ":").replace(", ", ",")

ENDS = {  # the fault: how the answer of each form ends then
    "finish_length": ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS"),
    "content_filter": ("content_filter", "content_filter", "refusal", "SAFETY"),
    "refusal": ("stop", "completed", "refusal", "PROHIBITED_CONTENT"),
    "empty_answer": ("stop", "completed", "end_turn", "STOP"),
}
ANSWERS = [(form, stream) for form in URLS for stream in (False, True) if stream or form != "gemini array"]
IDS = [f"{form} {'streamed' if stream else 'whole'}" for form, stream in ANSWERS]
every_form = pytest.mark.parametrize(("form", "stream"), ANSWERS, ids=IDS)


def said_by(response: RecordedResponse) -> AnswerText:
    body = response.body
    if body.startswith(b"["):  # Gemini without events
        body = b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in json.loads(body))
    return read_answer_text(body)


def values_of(response: RecordedResponse) -> list[Any]:
    (values,) = [read_values(response.body)[1]]
    return values[0] if isinstance(values[0], list) else values


def change(fault: str, interaction: Interaction, **parameters: Any) -> RecordedResponse:
    before = repr(interaction), interaction.response.body
    changed = FAULTS[fault](interaction, **parameters)
    assert (repr(interaction), interaction.response.body) == before
    return changed


@every_form
@pytest.mark.parametrize("fault", ENDS)
def test_a_fault_ends_an_answer_in_the_words_of_its_wire_form(form: str, stream: bool, fault: str) -> None:
    place = {"chat": 0, "responses": 1, "anthropic": 2}.get(form, 3)
    text = {"refusal": REFUSAL, "empty_answer": ""}.get(fault, TEXT)
    said = said_by(change(fault, text_answer(form, stream=stream)))
    assert said == AnswerText(text, (), (ENDS[fault][place],))

    calls = said_by(change(fault, call_answer(form, stream=stream))).calls
    assert [name for name, _ in calls] == (["time", "weather"] if text == TEXT else [])


@every_form
def test_faults_of_tool_calls_change_only_the_last_call(form: str, stream: bool) -> None:
    whole = call_answer(form, stream=stream)
    first, second = said_by(whole.response).calls

    renamed = said_by(change("unknown_tool", whole, name="fly"))
    assert renamed.calls == (first, ("fly", second[1]))
    assert renamed.finish == said_by(whole.response).finish

    without_id = change("missing_call_id", whole)
    assert said_by(without_id) == said_by(whole.response)
    assert b"id_1" in without_id.body
    assert b"id_2" not in without_id.body


@every_form
def test_arguments_are_cut_in_wire_forms_that_send_them_as_text(form: str, stream: bool) -> None:
    whole = call_answer(form, stream=stream)
    if form.startswith("gemini") or (form, stream) == ("anthropic", False):
        with pytest.raises(ImpossibleFault, match="as an object"):
            change("broken_arguments", whole)
        return
    changed = change("broken_arguments", whole)
    arguments = re.sub(r"\s", "", _arguments_of(changed, form, stream=stream))
    assert COMPACT.startswith(arguments)
    assert 1 < len(arguments) < len(COMPACT)
    assert b"CET" in changed.body  # the other call is whole


def _arguments_of(response: RecordedResponse, form: str, *, stream: bool) -> str:
    if form == "anthropic":
        deltas = [each["delta"] for each in values_of(response) if each.get("index") == 1 and "delta" in each]
        return "".join(each["partial_json"] for each in deltas)
    if form == "responses" and stream:  # everywhere alike
        events = [each for each in values_of(response) if each.get("output_index") == 1]
        (done,) = {each["arguments"] for each in events if "arguments" in each}
        assert done == events[-1]["item"]["arguments"] == "".join(each.get("delta", "") for each in events)
    return said_by(response).calls[1][1]


@every_form
def test_usage_is_removed_and_the_model_is_replaced(form: str, stream: bool) -> None:
    whole = text_answer(form, stream=stream)
    changed = change("no_usage", whole)
    assert said_by(changed) == said_by(whole.response)
    assert not re.search(rb"(?<!max_output)_tokens\":|TokenCount", changed.body)
    with pytest.raises(ImpossibleFault, match="no usage"):
        change("no_usage", Interaction(whole.request, changed))

    changed = change("other_model", whole, name="spam")
    assert changed.body.replace(b'"spam"', b'"m"') == whole.response.body
    assert b'"m"' not in changed.body
    with pytest.raises(ImpossibleFault, match="already"):
        change("other_model", whole, name="m")


@every_form
def test_an_error_event_comes_after_any_number_of_events(form: str, stream: bool) -> None:
    whole = text_answer(form, stream=stream)
    if not stream:
        with pytest.raises(ImpossibleFault, match="not streamed"):
            error_event(whole)
        return
    values = values_of(whole.response)
    for after in range(len(values)):
        changed = error_event(whole, after=after)
        *before, error = values_of(changed)
        assert before == values[:after]
        assert find_error([error])
        assert changed.end == "complete"
        assert whole.response.body.startswith(changed.body.partition(b"error")[0].rpartition(b"}")[0])
        if form == "responses":
            assert error["sequence_number"] == after
    with pytest.raises(ImpossibleFault, match="nothing is left after 99"):
        error_event(whole, after=99)
    with pytest.raises(ImpossibleFault):
        error_event(whole, after=-1)


@pytest.mark.parametrize("fault", ["refusal", "empty_answer", "finish_length", "broken_arguments", "unknown_tool"])
@pytest.mark.parametrize("answer", [text_answer, call_answer])
def test_the_events_of_a_response_stay_consistent(fault: str, answer: Any) -> None:
    try:
        events = values_of(change(fault, answer("responses", stream=True)))
    except ImpossibleFault:
        assert answer is text_answer
        return
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert len({each["response"]["id"] for each in events if "response" in each}) == 1
    lines = re.findall(rb"^event: (.*)$", change(fault, answer("responses", stream=True)).body, re.M)
    assert [line.decode() for line in lines] == [each["type"] for each in events]
    done = [each for each in events if each["type"] == "response.output_item.done"]
    assert [each["output_index"] for each in done] == list(range(len(done)))
    assert [each["item"] for each in done] == events[-1]["response"]["output"]
    assert events[-1]["type"] == f"response.{events[-1]['response']['status']}"
    ids = {each["output_index"]: each["item"]["id"] for each in done}
    assert all(each["item_id"] == ids[each["output_index"]] for each in events if "item_id" in each)


@every_form
def test_unchanged_lines_stay_byte_for_byte(form: str, stream: bool) -> None:
    whole = text_answer(form, stream=stream)
    changed = finish_length(whole)
    old, new = (b"".join(each.body.splitlines(keepends=True)) for each in (whole.response, changed))
    before, after = old.split(b"\n"), new.split(b"\n")
    assert len(before) == len(after)
    assert 0 < sum(one != other for one, other in zip(before, after, strict=True)) <= 3
    assert [chunk.at for chunk in changed.chunks] == [chunk.at for chunk in whole.response.chunks]


def test_line_ends_comments_blanks_and_other_events_stay() -> None:
    body = (
        b": hello\r\n\r\n"
        b'event: message_start\r\ndata: {"type": "message_start", "message": {"id": "x", "model": "m"}}\r\n\r\n'
        b'event: ping\r\ndata: {"type": "ping"  }\r\n\r\n: wait\r\n\r\n'
        b'event: message_delta\r\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn", "x": 1e-05}}'
        b"\r\n\r\nevent: odd\r\ndata: no JSON\r\n\r\n"
        b'event: message_stop\r\ndata: {"type": "message_stop"}\r\n\r\n'
    )
    at = body.index(b"end_turn") + 3  # a chunk ends in the value that changes
    chunks = (RecordedChunk(body[:10], 1), RecordedChunk(body[10:at], 2), RecordedChunk(body[at:], 3))
    headers = (("content-type", "text/event-stream"), ("content-length", str(len(body))), ("x", "y"))
    whole = Interaction(ask("anthropic", stream=True), RecordedResponse(200, headers, chunks))
    changed = finish_length(whole)
    assert changed.body == body.replace(b"end_turn", b"max_tokens")
    assert changed.headers == (headers[0], headers[2])
    assert [chunk.at for chunk in changed.chunks] == [1, 2, 3]
    assert [len(chunk.data) for chunk in changed.chunks[:2]] == [10, at - 10]

    error = error_event(whole, after=3)
    kept = body.index(b": wait")
    tail = b'event: error\r\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    assert error.body == body[:kept] + tail + b"\r\n\r\n"
    assert [chunk.at for chunk in error.chunks] == [1, 2]


def test_every_choice_is_changed() -> None:
    request = ask("chat", stream=True)
    asked = {**json.loads(request.body), "n": 2}
    request = RecordedRequest("POST", request.url, (), json.dumps(asked).encode())
    answer = Script().reply("one two").decide(request)
    assert answer is not None
    changed = refusal(Interaction(request, answer.response), text="no")
    said = [each for value in values_of(changed) for each in value["choices"]]
    assert sorted(each["index"] for each in said if each["delta"].get("refusal") == "no") == [0, 1]
    assert not any(each["delta"].get("content") for each in said)


def of_events(form: str, *values: Any) -> Interaction:
    """A stream as another server might write it."""
    body = b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in values)
    response = RecordedResponse(200, (("content-type", "text/event-stream"),), (RecordedChunk(body),))
    return Interaction(ask(form, stream=True), response)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def test_tool_calls_without_numbers_are_distinguished_by_their_ids() -> None:
    calls = [{"id": name, "function": {"name": name, "arguments": '{"x": 1}'}} for name in ("a", "b")]
    for stream in (
        of_events("chat", delta(tool_calls=calls), delta("tool_calls")),
        of_events("chat", *(delta(tool_calls=[{**each, "index": 0}]) for each in calls), delta("tool_calls")),
    ):
        changed = change("broken_arguments", stream).body
        assert changed == b'"{\\"x\\"'.join(stream.response.body.rsplit(b'"{\\"x\\": 1}', 1)) != stream.response.body
        assert change("unknown_tool", stream, name="c").body.count(b'"name": "a"') == 1


@pytest.mark.parametrize("fault", ENDS)
def test_an_empty_finish_reason_is_none(fault: str) -> None:
    begun = [delta("", content=text) for text in ("one", " two")]
    changed = change(fault, of_events("chat", *begun, delta("stop")))
    finishes = [choice["finish_reason"] for value in values_of(changed) for choice in value["choices"]]
    assert [each for each in finishes if each] == [ENDS[fault][0]] == finishes[-1:]


def test_other_items_stay_and_are_renumbered() -> None:
    text = {"type": "text", "text": ""}
    blocks = [text, {"type": "server_tool_use", "name": "search"}, text]
    events: list[Any] = [
        {"type": "content_block_start", "index": at, "content_block": b} for at, b in enumerate(blocks)
    ]
    end: Any = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    stream = of_events("anthropic", *events, {"type": "content_block_stop", "index": 1}, end)
    start, stop, _ = values_of(change("refusal", stream))
    assert (start["index"], start["content_block"], stop["index"]) == (0, blocks[1], 0)

    items = [{"type": "message", "id": "m1"}, {"type": "web_search_call", "id": "w"}, {"type": "message", "id": "m2"}]
    events = [{"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(items)]
    events.append({"type": "response.web_search_call.completed", "output_index": 1, "item_id": "w"})
    end = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": items}}
    stream = of_events("responses", *events, end)
    item, searched, empty_end = values_of(change("empty_answer", stream))
    assert (item["output_index"], searched["output_index"]) == (0, 0)
    assert empty_end["response"]["output"] == [items[1]]

    *begun, done, item, _, refused_end = values_of(change("refusal", stream))
    assert [each["type"] for each in begun] == [f"response.{kind}" for kind in REFUSED]
    assert (done["output_index"], done["item"]["id"], item["output_index"]) == (0, "m1", 1)
    assert refused_end["response"]["output"] == [done["item"], items[1]]


REFUSED = "output_item.added", "content_part.added", "refusal.delta", "refusal.done", "content_part.done"


@pytest.mark.parametrize("form", [form for form in URLS if form != "gemini array"])
@pytest.mark.parametrize("fault", ["finish_length", "content_filter", "empty_answer"])
def test_the_end_of_an_incomplete_stream_cannot_be_changed(form: str, fault: str) -> None:
    stream = of_events(form, *values_of(text_answer(form, stream=True).response)[:-3])
    with pytest.raises(ImpossibleFault, match="how it ends"):
        change(fault, stream)


def test_only_events_with_nothing_but_usage_are_removed_with_it() -> None:
    usage = {"total_tokens": 3}
    stream = of_events(
        "chat",
        {"choices": [], "prompt_filter_results": []},  # Azure begins so
        delta(role="assistant", content="Hi"),
        {**delta("stop"), "usage": usage, "x_groq": {"id": "x", "usage": usage}},
        {"choices": [], "usage": usage},
    )
    first, said, last = values_of(change("no_usage", stream))
    assert (first, said) == tuple(values_of(stream.response)[:2])
    assert last == {**delta("stop"), "x_groq": {"id": "x"}}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("form", "error"),
    [
        ("chat", {"error": {"message": "no"}}),
        ("responses", {"type": "error", "message": "no"}),
        ("responses", {"type": "response.failed", "response": {"status": "failed"}}),
        ("anthropic", {"type": "error", "error": {"type": "overloaded_error"}}),
        ("gemini", {"error": {"code": 503}}),
    ],
)
def test_a_stream_that_ends_with_an_error_cannot_be_changed(fault: str, form: str, error: Any) -> None:
    stream = of_events(form, *values_of(text_answer(form, stream=True).response)[:3], error)
    with pytest.raises(ImpossibleFault, match="reports an error"):
        change(fault, stream)


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        ({"content": "Hi"}, {"content": " you"}, "stop"),
        ({"content": "", "tool_calls": [{"index": 0}]}, {"tool_calls": [{"index": 0}]}, "tool_calls"),
    ],
    ids=["text", "call"],
)
def test_a_refusal_replaces_what_is_said_in_a_first_event_with_the_role(
    first: dict[str, Any], second: dict[str, Any], end: str
) -> None:
    stream = of_events("chat", delta(role="assistant", **first), delta(**second), delta(end))
    refused = delta(role="assistant", content="", refusal="no"), delta("stop")
    assert tuple(values_of(change("refusal", stream, text="no"))) == refused
    assert tuple(values_of(change("empty_answer", stream))) == (delta(role="assistant", content=""), delta("stop"))


def test_a_refusal_of_an_empty_answer_is_in_the_first_event_with_a_choice() -> None:
    first = {"choices": [], "prompt_filter_results": []}  # as Azure sends it
    stream = of_events("chat", first, delta(role="assistant", content=""), delta("stop"))
    refused = (first, delta(role="assistant", content="", refusal="no"), delta("stop"))
    assert tuple(values_of(change("refusal", stream, text="no"))) == refused


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_without_such_content_cannot_be_changed(fault: str) -> None:
    chat = text_answer("chat", stream=False)
    for request, response, reason in (
        (RecordedRequest("POST", "https://example.com/x"), chat.response, "no known wire form"),
        (RecordedRequest("POST", "https://api.openai.com/v1/embeddings"), chat.response, "embeddings"),
        (chat.request, RecordedResponse(500, (), chat.response.chunks), "status 500"),
        (chat.request, RecordedResponse(0, (), (), "broken"), "never began"),
        (chat.request, RecordedResponse(200, (), (RecordedChunk(b"<html>"),)), "neither"),
        (chat.request, RecordedResponse(200, (), ()), "neither"),
    ):
        with pytest.raises(ImpossibleFault, match=reason):
            change(fault, Interaction(request, response))


NOT_YET = {
    "OpenAI Realtime",
    "OpenAI completions",
    "Ollama chat",
    "Ollama generate",
    "Bedrock Converse",
    "Bedrock Anthropic messages",
}
"""Forms of which scripts write good answers and errors. Their other faults are those of any body."""


@pytest.mark.parametrize("form", sorted(NOT_YET))
def test_a_form_that_cannot_be_changed_is_named(form: str) -> None:
    answer = RecordedResponse(200, (), (RecordedChunk(b"{}"),))
    with pytest.raises(ImpossibleFault, match=f"does not apply to answers of the form {form}"):
        change("refusal", Interaction(SAMPLES[form](False), answer))


def test_every_form_that_answers_with_messages_can_be_changed() -> None:
    forms = {form.name for form in WIRE_FORMS if form.kind == "message"}
    assert set(FORM_EDITS) == forms - NOT_YET
    wanted = {name for name, _ in inspect.getmembers(FormEdits, inspect.isfunction)}
    for edits in FORM_EDITS.values():
        assert wanted <= set(vars(type(edits)))


# --- for all answers


def _recorded() -> list[Interaction]:
    """A few recorded answers of each form, the shortest, and scripted ones."""
    found: dict[tuple[str, bool, bool], list[Interaction]] = {}
    for name in names():
        for each in load_cassette(path_of(name)).interactions:
            body = each.response.body
            kind = each.request.url.rpartition("/")[2][:12], body[:1] == b"{", b"arguments" in body
            found.setdefault(kind, []).append(each)
    shortest = [sorted(each, key=lambda one: len(one.response.body))[:4] for each in found.values()]
    written = [answer(form, stream=stream) for form, stream in ANSWERS for answer in (text_answer, call_answer)]
    odd = Script().reply("\u2028 \ud83e\udd85 \x00").tool_call("a", '{"x": "\\ud800"}').refuse("no")
    written += [answered("chat", odd, stream=stream) for stream in (True, False, True)]
    return [*(one for group in shortest for one in group), *written]


@pytest.fixture(scope="module")
def recorded() -> list[Interaction]:
    return _recorded()


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_a_fault_gives_a_response_or_says_that_it_is_impossible(
    recorded: list[Interaction], data: st.DataObject
) -> None:
    whole = data.draw(st.sampled_from(recorded))
    fault = data.draw(st.sampled_from(sorted(FAULTS)))
    sizes = data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=5))
    damage = data.draw(st.none() | st.integers(0, max(0, len(whole.response.body) - 1)))
    if damage is not None:  # any byte may be another one
        body = bytearray(whole.response.body)
        body[damage : damage + 1] = data.draw(st.sampled_from([b"", b"{", b"[", b"\n\n", b'"', b"1", b"null", b"\xff"]))
        whole = Interaction(whole.request, RecordedResponse(200, whole.response.headers, (RecordedChunk(bytes(body)),)))
    chunked = cut_into(whole, sizes)
    outcomes = []
    for each in (whole, chunked):
        try:
            outcomes.append(change(fault, each))
        except ImpossibleFault:
            outcomes.append(None)
    one, other = outcomes
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one.body == other.body  # chunks do not matter
        assert one.body != whole.response.body
        assert [chunk.at for chunk in other.chunks] == sorted(chunk.at for chunk in other.chunks)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_odd_values_in_an_answer_do_not_crash_a_fault(data: st.DataObject) -> None:
    form, stream = data.draw(st.sampled_from(ANSWERS))
    whole = data.draw(st.sampled_from([text_answer, call_answer]))(form, stream=stream)
    values = values_of(whole.response)
    holder: Any = values
    places = []
    while isinstance(holder, (dict, list)) and holder:
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
        places.append((holder, key))
        holder = holder[key]
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(_JSON)
    body = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in values) if stream else b""
    body = body or json.dumps(values[0]).encode()
    headers = (("content-type", "text/event-stream" if stream else "application/json"),)
    odd = Interaction(whole.request, RecordedResponse(200, headers, (RecordedChunk(body),)))
    for fault in FAULTS:
        with contextlib.suppress(ImpossibleFault):
            assert change(fault, odd).body

"""How each fault of a stream or an answer changes it: pure functions, called directly."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import ConfigError
from aquila.faults.fault import Fault, FaultKind, ImpossibleFault
from aquila.faults.parsing import read_faults
from aquila.faults.table import FAULTS
from aquila.scripting.script import Script
from tests.support.traffic import CORPUS, needs_corpus

PATHS = {
    "chat": "https://api.openai.com/v1/chat/completions",
    "responses": "https://api.openai.com/v1/responses",
    "anthropic": "https://api.anthropic.com/v1/messages",
}
ALL_PATHS = {
    **PATHS,
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse",
}


def scripted(path: str = PATHS["chat"], *, stream: bool = True, text: str = "one two three four") -> Interaction:
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}], "input": "hi"}
    request = RecordedRequest("POST", path, (), json.dumps(body).encode())
    answer = Script().reply(text, first=0.1, pace=0.1).decide(request)
    assert answer is not None
    return Interaction(request, answer.response)


def changed(text: str, interaction: Interaction) -> RecordedResponse:
    (fault,) = read_faults(text)
    return fault.change(interaction)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_after_counts_the_whole_events_before_a_cut(path: str) -> None:
    whole = scripted(path)
    cut = changed("cut_stream(after=3)", whole)
    assert whole.response.body.startswith(cut.body)
    assert cut.body.count(b"\n\n") == 3
    assert (cut.end, cut.status) == ("broken", 200)
    for recorded_end in ("complete", "closed", "broken"):  # however much of it the program read when it was recorded
        early = changed("end_early(after=3)", replace(whole, response=replace(whole.response, end=recorded_end)))
        assert (early.body, early.end) == (cut.body, "complete")
    assert changed("stall(after=3)", whole).body == cut.body
    assert changed("stall(after=3)", whole).end == "silent"


def test_a_cut_can_come_after_bytes_or_seconds() -> None:
    whole = scripted()
    assert changed("cut_stream(after_bytes=7)", whole).body == whole.response.body[:7]
    assert changed("cut_stream(after_seconds=0.25)", whole).chunks == whole.response.chunks[:3]


def test_a_stall_with_a_duration_continues_after_it() -> None:
    whole = scripted()
    later = changed("stall(2, after=3)", whole)
    assert later.body == whole.response.body
    assert later.end == "complete"
    assert [chunk.at for chunk in later.chunks] == [*[0] * 3, *[2000] * (len(later.chunks) - 3)]


@pytest.mark.parametrize("text", ["one_byte", "one_piece", "split_events", "slow(pace=0.01)"])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_faults_of_chunks_and_times_keep_every_byte(text: str, path: str) -> None:
    whole = scripted(path)
    assert changed(text, whole).body == whole.response.body
    assert changed(text, whole).chunks != whole.response.chunks


def test_events_can_be_duplicated_dropped_and_reordered() -> None:
    events = [chunk.data for chunk in scripted().response.chunks]
    one, two, three = events[:3]
    assert changed("duplicated_event(at=2)", scripted()).body == b"".join([one, two, two, three, *events[3:]])
    assert changed("dropped_event(at=2)", scripted()).body == b"".join([one, three, *events[3:]])
    assert changed("reordered_events(at=2)", scripted()).body == b"".join([one, three, two, *events[3:]])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("text", ["garbage", "truncated_json", "invalid_utf8"])
def test_damaged_bodies_and_events_are_not_valid_json(text: str, stream: bool) -> None:
    response = changed(text, scripted(stream=stream))
    parts = response.body.split(b"\n\n")[:-2] if stream else [response.body]
    assert response.end == "complete"
    with pytest.raises(ValueError):  # noqa: PT011 - of UTF-8 or of JSON
        for part in parts:
            json.loads(part.removeprefix(b"data: ").decode())


@pytest.mark.parametrize(
    ("fault", "data"),
    [("garbage(at=2)", b"{malformed: <<<"), ("truncated_json(at=2)", b'{"typ'), ("truncated_json(at=1)", b'{"a')],
)
def test_a_damaged_event_keeps_its_name(fault: str, data: bytes) -> None:
    request = RecordedRequest("POST", PATHS["anthropic"], (), b"{}")
    body = b'event: a\r\ndata: {"a":1}\r\n\r\nevent: message_stop\ndata: {"type":1}\n\n'
    kind = (("content-type", "text/event-stream"),)
    good = Interaction(request, RecordedResponse(200, kind, (RecordedChunk(body, 0),)))
    wanted = body.replace(b'{"a":1}' if "at=1" in fault else b'{"type":1}', data)
    assert changed(fault, good).body == wanted


@pytest.mark.parametrize("fault", ["garbage", "truncated_json", "invalid_utf8", "dropped_event", "duplicated_event"])
def test_comments_are_not_counted_as_events(fault: str) -> None:
    request = RecordedRequest("POST", PATHS["chat"], (), b"{}")
    body = b': wait\n\n: wait\n\n: wait\n\ndata: {"a":"1"}\n\n'
    kind = (("content-type", "text/event-stream"),)
    good = Interaction(request, RecordedResponse(200, kind, (RecordedChunk(body, 0),)))
    assert changed(fault, good).body.count(b'{"a":"1"}\n') == (2 if fault == "duplicated_event" else 0)


@pytest.mark.parametrize(
    ("text", "status", "headers"),
    [
        ("bad_request", 400, {}),
        ("unauthorized", 401, {}),
        ("forbidden", 403, {}),
        ("not_found", 404, {}),
        ("request_timeout", 408, {}),
        ("unprocessable", 422, {}),
        ("rate_limit", 429, {}),
        ("rate_limit(2)", 429, {"retry-after": "2"}),
        ("rate_limit(retry_after=0.5)", 429, {"retry-after": "0.5"}),
        ("rate_limit(retry_after=2.0)", 429, {"retry-after": "2"}),
        ("rate_limit(retry_after=1234567)", 429, {"retry-after": "1234567"}),
        ("rate_limit(3600, form='milliseconds')", 429, {"retry-after-ms": "3600000"}),
        ("rate_limit(1234.567, form='milliseconds')", 429, {"retry-after-ms": "1234567"}),
        ("rate_limit(1000000, form='reset')", 429, {"x-ratelimit-reset-requests": "1000000s"}),
        ("rate_limit(0.00001, form='reset')", 429, {"x-ratelimit-reset-requests": "0.00001s"}),
        ("rate_limit(2, form='milliseconds')", 429, {"retry-after-ms": "2000"}),
        ("rate_limit(2, form='reset')", 429, {"x-ratelimit-reset-requests": "2s"}),
        ("server_error", 500, {}),
        ("server_error(status=504)", 504, {}),
        ("overloaded(retry_after=1)", 503, {"retry-after": "1"}),
        ("html_page", 502, {"content-type": "text/html"}),
    ],
)
def test_a_failure_has_the_status_and_body_of_the_provider(text: str, status: int, headers: dict[str, str]) -> None:
    unknown = RecordedRequest("POST", "https://example.com/unknown", (), b"{}")
    for interaction in (scripted(), replace(scripted(), request=unknown)):
        response = changed(text, interaction)
        assert response.status == status
        assert headers.items() <= dict(response.headers).items()
        if text != "html_page":
            assert json.loads(response.body)["error"]["message"]


def test_overloaded_has_status_529_for_anthropic() -> None:
    assert changed("overloaded", scripted(PATHS["anthropic"])).status == 529


@pytest.mark.parametrize(
    ("path", "form", "names"),
    [
        ("anthropic", "reset", {"anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"}),
        ("anthropic", "seconds", {"retry-after"}),
        ("gemini", "seconds", {"retry-after"}),
        ("gemini", "retry_info", set()),
    ],
)
def test_a_delay_is_sent_in_the_header_fields_of_the_provider(path: str, form: str, names: set[str]) -> None:
    response = changed(f"rate_limit(2, form={form!r})", scripted(ALL_PATHS[path]))
    assert {name for name, _ in response.headers if "retry" in name or "ratelimit" in name} == names
    assert (b'"retryDelay":"2s"' in response.body) == (path == "gemini")


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (ALL_PATHS["gemini"], "reset"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse", "reset"),
        ("http://localhost:11434/api/chat", "reset"),
        (PATHS["anthropic"], "retry_info"),
        (PATHS["chat"], "retry_info"),
    ],
)
def test_a_delay_in_a_form_that_a_provider_does_not_have_is_impossible(path: str, form: str) -> None:
    with pytest.raises(ImpossibleFault, match=r"no header fields|RetryInfo"):
        changed(f"rate_limit(2, form={form!r})", scripted(path, stream=False))


def test_a_date_is_one_of_http_and_not_too_early() -> None:
    earliest = time.time() + 0.5
    date = dict(changed("rate_limit(0.5, form='date')", scripted()).headers)["retry-after"]
    assert date.endswith(" GMT")
    assert parsedate_to_datetime(date).timestamp() >= earliest


@pytest.mark.parametrize("text", ["connection_refused", "connection_reset", "timeout"])
def test_connection_failures_have_no_response(text: str) -> None:
    assert not changed(text, scripted()).has_begun


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cut_stream(after=50)", "the stream has 7 events"),
        ("cut_stream(after=1, after_bytes=1)", "give one of"),
        ("cut_stream(after_bytes=99999)", "bytes, so nothing is left"),
        ("cut_stream(after_seconds=9)", "has ended after 9 seconds"),
        ("dropped_event(at=8)", "there is no event 8"),
        ("dropped_event(at=0)", "there is no event 0"),
        ("reordered_events(at=7)", "no event follows"),
        ("server_error(status=200)", "from 500 to 599"),
        ("stall(-1)", "is not a number of seconds from 0 to"),
        ("stall(1e400)", "is not a number of seconds from 0 to"),
        ("slow(pace=1e400)", "is not a number of seconds from 0 to"),
        ("html_page(99)", "from 200 to 599"),
        ("html_page(204)", "comes with no page"),
        ("html_page(304)", "comes with no page"),
        ("slow(pace=1e308)", "is not a number of seconds from 0 to"),
        ("cut_stream(after_seconds=-1)", "is not a number of seconds from 0 to"),
        ("rate_limit(-1)", "from 0 to"),
        ("rate_limit(1e400)", "from 0 to"),
        ("overloaded(-1)", "from 0 to"),
        ("rate_limit(form='reset')", "form='reset' says how retry_after= is sent, and that is not given"),
    ],
)
def test_faults_with_impossible_parameters_say_why(text: str, why: str) -> None:
    with pytest.raises(ImpossibleFault, match=why):
        changed(text, scripted())


def test_faults_of_events_need_a_stream() -> None:
    with pytest.raises(ImpossibleFault, match="no stream"):
        changed("cut_stream(after=1)", scripted(stream=False))


@pytest.mark.parametrize(
    "kind", [kind for kind in FAULTS.values() if kind.group == "stream"], ids=lambda kind: kind.name
)
def test_an_error_is_no_good_answer_that_a_fault_could_damage(kind: FaultKind) -> None:
    good = scripted()
    error = replace(good, response=replace(good.response, status=429))
    with pytest.raises(ImpossibleFault, match="only a WebSocket" if kind.name == "abnormal_close" else "status 429"):
        Fault(kind).change(error)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names none"),
        ("cut", "known are"),
        ("cut_strem", "did you mean 'cut_stream'"),
        ("cut_stream(x=1)", "known are after, after_bytes"),
        ("cut_stream(after='a')", "must be a whole number or None"),
        ("cut_stream(after=True)", "must be a whole number or None"),
        ("stall(seconds='a')", "must be a number or None"),
        ("stall(**{'after': 1})", "is no list of faults"),
        ("cut_stream(1, 2)", "by name"),
        ("connection_reset(1)", "fault connection_reset has no parameter besides times="),
        ("cut_stream(1, after=2)", "twice"),
        ("cut_stream(after=x)", "no number and no text"),
        ("rate_limit(times=0)", "a number from 1"),
        ("__import__('os')", "unknown fault"),
        ("a.b()", "no list"),
        ("cut_stream)", "no list"),
        ("(" * 500, "no list"),
    ],
)
def test_invalid_lists_of_faults_are_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read_faults(text)


_VALUES: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(0, 9),
    float: st.floats(0, 9),
    str: st.text(),
    type(None): st.none(),
}


@st.composite
def faults_as_text(draw: st.DrawFn) -> str:
    kind = FAULTS[draw(st.sampled_from(sorted(FAULTS)))]
    given: dict[str, Any] = {}
    for name, types in kind.types.items():
        if draw(st.booleans()):
            given[name] = draw(st.one_of(*(_VALUES[each] for each in types)))
    if draw(st.booleans()):
        given["times"] = draw(st.one_of(st.none(), st.integers(1, 9)))
    return f"{kind.name}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


@given(st.lists(faults_as_text(), min_size=1, max_size=3))
def test_a_fault_that_is_written_as_text_is_read_back_equal(texts: list[str]) -> None:
    faults = read_faults(", ".join(texts))
    assert read_faults(", ".join(map(str, faults))) == faults


@given(
    faults_as_text(),
    st.sampled_from([None, *PATHS.values()]),
    st.lists(st.binary(max_size=30), max_size=4),
    st.sampled_from(["text/event-stream", "application/json", ""]),
)
def test_any_answer_can_be_changed_or_the_fault_says_why_not(
    text: str, path: str | None, pieces: list[bytes], kind: str
) -> None:
    if path is not None:
        interaction = scripted(path)
    else:
        request = RecordedRequest("POST", "https://example.com/x", (), b"")
        chunks = tuple(RecordedChunk(piece, at) for at, piece in enumerate(pieces))
        interaction = Interaction(request, RecordedResponse(200, (("content-type", kind),), chunks))
    (fault,) = read_faults(text)
    before = repr(interaction), interaction.response.body
    with contextlib.suppress(ImpossibleFault):
        assert isinstance(fault.change(interaction).body, bytes)
    assert (repr(interaction), interaction.response.body) == before


@pytest.mark.slow
@needs_corpus
def test_recorded_answers_can_be_changed_or_the_fault_says_why_not() -> None:
    files = sorted(CORPUS.rglob("*.yaml"))
    for interaction in (each for path in files for each in load_cassette(path).interactions):
        for name in FAULTS:
            with contextlib.suppress(ImpossibleFault):
                (fault,) = read_faults(name if name != "other_chunks" else "other_chunks('1,5')")
                assert isinstance(fault.change(interaction), RecordedResponse)

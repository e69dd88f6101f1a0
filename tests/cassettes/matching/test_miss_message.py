"""The text of a miss."""

import base64
import hashlib
import json
import quopri
import random
import re
import textwrap
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.body_lines import WIDTH
from aquila.cassettes.matching.difference import clip_around, find_differences, quote_around
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.miss_message import Explanation, compare_with_recordings
from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.matching.request_key import canonical_request, key_of
from aquila.cassettes.model import Headers, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from tests.support.examples import examples

URL = "https://api.openai.com/v1/chat/completions"
JSON: Headers = (("content-type", "application/json"),)
COMMAND = "pytest --aquila-record tests/test_jobs.py::test_summary"
RULES = MatchRules()
KEY = "sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"
REDACTOR = Redactor()


def request(body: Any, url: str = URL, method: str = "POST", headers: Headers = JSON) -> RecordedRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RecordedRequest(method, url, headers, data)


def chat(prompt: str, **more: Any) -> RecordedRequest:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
    return request({"model": "gpt-4.1-mini", "messages": messages, **more})


def explanation_of(asked: RecordedRequest, *recorded: RecordedRequest, **changes: Any) -> Explanation:
    """What is said of a request that misses, where other requests are recorded."""
    usual: dict[str, Any] = {"rules": RULES, "cassette": "cassettes/jobs.yaml", "command": COMMAND}
    recordings = [Interaction(item, RecordedResponse(200)) for item in recorded]
    return compare_with_recordings(asked, recordings=recordings, **{**usual, "redactor": REDACTOR, **changes})


def explain(asked: RecordedRequest, *recorded: RecordedRequest, **changes: Any) -> str:
    return explanation_of(asked, *recorded, **changes).text


def text(block: str) -> str:
    return textwrap.dedent(block).strip("\n")


@pytest.mark.parametrize("recorded", [(), (request(b"\x0a\x02", "https://collector.example/v1/traces"),)])
def test_a_miss_of_telemetry_names_the_setting_that_leaves_it_out(recorded: tuple[RecordedRequest, ...]) -> None:
    advice = "aquila_side_requests = POST collector.example/v1/traces"
    traces = request(b"\x0a\x01", "https://collector.example/v1/traces", headers=())
    assert advice in explain(traces, *recorded)
    assert "aquila_side_requests" not in explain(request({}), *recorded)


# --- whole texts


def test_a_changed_prompt() -> None:
    assert explain(
        chat("Summarise the report in two sentences.", temperature=0.7),
        chat("Tell me about eagles."),
        chat("Summarise the report in three sentences.", temperature=0.2, seed=7),
    ) == text(
        """
        messages[1].content and 2 other fields differ from recording 2 of cassettes/jobs.yaml

          cassette   cassettes/jobs.yaml: 2 recordings
          requested  POST https://api.openai.com/v1/chat/completions
          nearest    recording 2 of 2; they differ in

            messages[1].content:
              recorded  'Summarise the report in three sentences.'
              now       'Summarise the report in two sentences.'
            temperature: recorded 0.2, now 0.7
            seed: recorded 7, now absent

          --- recording 2
          +++ this request
          @@ -4,5 +4,4 @@
               content: "Be brief."
             - role: "user"
          -    content: "Summarise the report in three sentences."
          -seed: 7
          -temperature: 0.2
          +    content: "Summarise the report in two sentences."
          +temperature: 0.7

        If the change is meant, record it again:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


def test_an_empty_cassette() -> None:
    assert explain(chat("Tell me\nabout eagles."), cassette="cassettes/jobs.yaml (no such file)") == text(
        """
        nothing is recorded yet in cassettes/jobs.yaml (no such file)

          cassette   cassettes/jobs.yaml (no such file): nothing recorded yet
          requested  POST https://api.openai.com/v1/chat/completions

            model: "gpt-4.1-mini"
            messages:
              - role: "system"
                content: "Be brief."
              - role: "user"
                content: |
                  Tell me
                  about eagles.

        To record it:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


def test_only_the_query_differs() -> None:
    one, other = (
        RecordedRequest("GET", f"https://x.azure.com/openai/models?api-version={v}&limit=2") for v in ("1", "2")
    )
    assert explain(other, one) == text(
        """
        query api-version differs from recording 1 of cassettes/jobs.yaml

          cassette   cassettes/jobs.yaml: 1 recording
          requested  GET https://x.azure.com/openai/models?api-version=2&limit=2
          nearest    recording 1 of 1; they differ in

            query api-version: recorded '1', now '2'

        If the change is meant, record it again:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (
            '{\n  "model": "gpt-4.1-mini",\n  "n" 1\n}',
            " not valid JSON at line 3, column 7: Expecting ':' delimiter, now JSON\n",
        ),
        ('{"model": "gpt-4.1-mini", "n": NaN}', " not valid JSON: NaN is not JSON, now JSON\n"),
        ('{"n": 1, "n": 2}', " not valid JSON: a key occurs twice, which readers understand differently\n"),
        (
            "[" * 100_000 + "]" * 100_000,
            " JSON that is nested too deeply to be compared, now JSON\n",
        ),  # not Python's words
    ],
)
def test_a_recorded_body_that_is_no_json_says_where_it_stops_being_that(body: str, place: str) -> None:
    assert f"text,{place}" in explain(chat("hi"), request(body.encode()))


def test_another_kind_of_request() -> None:
    assert explain(RecordedRequest("GET", "https://api.openai.com/v1/models"), chat("Tell me about eagles.")) == text(
        """
        cassettes/jobs.yaml holds no GET https://api.openai.com/v1/models

          cassette   cassettes/jobs.yaml: 1 recording
          requested  GET https://api.openai.com/v1/models
          nearest    recording 1 of 1, which is another kind of request

            method: recorded 'POST', now 'GET'
            path: recorded '/v1/chat/completions', now '/v1/models'

        To record it:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


def test_a_path_with_another_fresh_value_is_no_other_kind_of_request() -> None:
    now, recorded = (RecordedRequest("GET", f"https://api.openai.com/v1/x/{uuid.UUID(int=at)}") for at in (4, 5))
    message = explain(now, recorded)
    assert message.startswith("path differs from recording 1 of cassettes/jobs.yaml")
    assert "nearest    recording 1 of 1; they differ in" in message
    assert "aquila_normalize" in message


def upload(
    *files: bytes, model: str = "whisper-1", name: str = "a.wav", kind: str = "audio/wav", encoding: str = ""
) -> RecordedRequest:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n'
    head += f"Content-Transfer-Encoding: {encoding}\r\n" if encoding else ""
    parts = (
        f'Content-Disposition: form-data; name="model"\r\n\r\n{model}'.encode(),
        *(head.encode() + b"\r\n" + data for data in files),
    )
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    return request(body, headers=(("content-type", "multipart/form-data; boundary=b"),))


NOTES = b"Eagles nest on cliffs.\nThey soar.\nThe young stay for ten weeks.\n"
CHANGED = NOTES.replace(b"They soar", b"They glide")


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("", bytes), ("base64", base64.encodebytes), ("quoted-printable", quopri.encodestring)],
)
def test_another_text_in_a_file_is_shown_line_by_line(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    def notes(text: bytes) -> RecordedRequest:
        return upload(encode(text), name="notes.md", kind="text/markdown", encoding=encoding)

    lines = explain(notes(CHANGED), notes(NOTES)).splitlines()
    assert any(f"recorded  'notes.md', {len(encode(NOTES))} bytes, text/markdown (sha256 " in line for line in lines)
    assert any(f"now       'notes.md', {len(encode(CHANGED))} bytes, text/markdown (sha256 " in line for line in lines)
    begin = next(at for at, line in enumerate(lines) if "+file: " in line)
    assert [line.strip() for line in lines[begin + 1 : begin + 5]] == [
        "Eagles nest on cliffs.",
        "-  They soar.",
        "+  They glide.",
        "The young stay for ten weeks.",
    ]


def test_lines_far_apart_in_a_file_are_shown() -> None:
    before, after = (
        [b"%s %d" % (word if n in (300, 900) else b"line", n) for n in range(1000)] for word in (b"a", b"b")
    )
    shown = explain(upload(b"\n".join([*after, b"end"])), upload(b"\n".join(before)))
    lines = [line.strip() for line in shown.splitlines() if line.strip().startswith(("@@", "-  ", "+  "))]
    assert lines == [
        "@@ -1,3 +1,3 @@",
        *("@@ -300,5 +300,5 @@", "-  a 300", "+  b 300"),
        *("@@ -900,5 +900,5 @@", "-  a 900", "+  b 900"),
        *("@@ -1000,3 +1000,4 @@", "+  end"),
    ]
    assert "more line" not in shown


def test_another_text_in_a_data_url_is_shown_line_by_line() -> None:
    def asking(text: bytes) -> RecordedRequest:
        url = f"data:text/plain;base64,{base64.b64encode(text * 2).decode()}"
        file = {"type": "file", "file": {"filename": "notes.txt", "file_data": url}}
        return request(json.dumps({"model": "m", "messages": [{"role": "user", "content": [file]}]}).encode())

    shown = explain(asking(CHANGED), asking(NOTES))
    assert f"recorded  data URL, {len(NOTES) * 2} bytes, text/plain (sha256 " in shown
    lines = [line.strip() for line in shown.splitlines()]
    assert "They soar." in [line.removeprefix("-").strip() for line in lines if line.startswith("-")]
    assert "They glide." in [line.removeprefix("+").strip() for line in lines if line.startswith("+")]
    assert "base64" not in shown


@pytest.mark.parametrize(
    ("now", "recorded", "shown"),
    [
        (b"one\r\ntwo\r\n", b"one\ntwo\n", ["-  one", "-  two", "+  one\\r", "+  two\\r"]),
        (b"one", b"one\n", ["-"]),
    ],
)
def test_a_difference_in_the_ends_of_lines_is_shown(now: bytes, recorded: bytes, shown: list[str]) -> None:
    lines = [line.strip() for line in explain(upload(now), upload(recorded)).splitlines()]
    assert [line for line in lines if line.startswith(("-", "+")) and "file:" not in line][2:] == shown


def test_of_several_files_of_a_field_those_that_differ_are_named() -> None:
    shown = explain(upload(b"one", b"two", b"three"), upload(b"one", b"2", b"three"))
    assert "recorded  3 files: #2 'a.wav', 1 bytes, audio/wav (sha256 " in shown
    assert "now       3 files: #2 'a.wav', 3 bytes, audio/wav (sha256 " in shown
    assert "#1" not in shown
    assert "#3" not in shown


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"a\x00b", b"x" * 2_000_000])
def test_a_file_that_is_no_text_or_large_is_described_alone(data: bytes) -> None:
    shown = explain(upload(data + b"1"), upload(data))
    assert shown.count("'a.wav', ") == 4
    assert len(shown) < 2000


@pytest.mark.parametrize("encode", [bytes, base64.encodebytes])
def test_a_secret_in_the_text_of_a_file_is_not_shown(encode: Callable[[bytes], bytes]) -> None:
    encoding = "base64" if encode is not bytes else ""
    now = upload(encode(f"my key is {KEY}\nnew".encode()), encoding=encoding)
    shown = explain(now, upload(encode(b"my key\nold"), encoding=encoding))
    assert KEY[8:20] not in shown
    assert "my key is " in shown


def test_another_file() -> None:
    old, new = (hashlib.sha256(data).hexdigest()[:12] for data in (b"\x00" * 20, b"\xff" * 1500))
    assert explain(upload(b"\xff" * 1500, model="gpt-4o-transcribe"), upload(b"\x00" * 20)) == text(
        f"""
        model and 1 other field differ from recording 1 of cassettes/jobs.yaml

          cassette   cassettes/jobs.yaml: 1 recording
          requested  POST https://api.openai.com/v1/chat/completions
          nearest    recording 1 of 1; they differ in

            model: recorded 'whisper-1', now 'gpt-4o-transcribe'
            file:
              recorded  'a.wav', 20 bytes, audio/wav (sha256 {old}…)
              now       'a.wav', 1,500 bytes, audio/wav (sha256 {new}…)

          --- recording 1
          +++ this request
          @@ -1,2 +1,2 @@
          -file: 'a.wav', 20 bytes, audio/wav (sha256 {old}…)
          -model: 'whisper-1'
          +file: 'a.wav', 1,500 bytes, audio/wav (sha256 {new}…)
          +model: 'gpt-4o-transcribe'

        If the change is meant, record it again:

          pytest --aquila-record tests/test_jobs.py::test_summary
        """
    )


def test_other_bytes() -> None:
    shown = explain(request(b"\xff\x00", headers=()), request(b"\xff\x01\x02", headers=()))
    assert "    body: recorded 3 bytes (sha256 " in shown
    assert ", now 2 bytes (sha256 " in shown
    assert "body: recorded JSON, now binary or large data" in explain(request(b"\xff\x00", headers=()), chat("a"))


def test_played_out() -> None:
    asked = chat("Tell me about eagles.")
    assert explain(asked, asked, chat("Other."), asked, request_number=3) == text(
        """
        this is request number 3 of its kind, and cassettes/jobs.yaml holds 2 recordings of it

          cassette   cassettes/jobs.yaml
          requested  POST https://api.openai.com/v1/chat/completions
          recorded   twice (recordings 1 and 3); this is request number 3

            model: "gpt-4.1-mini"
            messages:
              - role: "system"
                content: "Be brief."
              - role: "user"
                content: "Tell me about eagles."

        If this request is meant to be made so often, record it again:

          pytest --aquila-record tests/test_jobs.py::test_summary

        If the last recording may answer every further one, say repeat="last" (aquila_repeat = last).
        """
    )


# --- parts of the text


def test_long_values_are_cut_around_the_first_difference() -> None:
    before, after = "a b c " * 500, " x y z" * 500
    shown = explain(chat(f"{before}RED{after}"), chat(f"{before}BLUE{after}"))
    assert "      recorded  '…a b c a b c a b c a b c BLUE x y z x y z x y z" in shown
    assert "      now       '…a b c a b c a b c a b c RED x y z x y z x y z" in shown
    assert re.search(r"^  -    content: …[a-c ]+ BLUE[x-z ]+…\n  \+    content: …[a-c ]+ RED[x-z ]+…$", shown, re.M)


def test_an_excerpt_that_reaches_the_end_of_a_text_says_so_and_fills_its_room() -> None:
    before = "a b c " * 500
    shown = explain(chat(f"{before}RED."), chat(f"{before}BLUE."))
    for label, end in (("recorded", "BLUE."), ("now     ", "RED.")):
        line = re.search(rf"^      {label}  '…[abc ]+ {re.escape(end)}'$", shown, re.M)
        assert line, shown
        assert WIDTH - 5 <= len(line[0]) <= WIDTH
    assert re.search(r"^  -    content: …[a-c ]+ BLUE.\"$", shown, re.M)


@pytest.mark.parametrize("length", range(60, 90))
def test_a_text_that_fits_is_not_cut(length: int) -> None:
    text = "x" * length
    assert quote_around(text, length, length + 2) == f"'{text}'"
    assert clip_around(text, length, length) == text
    cut = clip_around(text, length, length - 1)
    assert (len(cut), cut[0], cut[-1]) == (length - 2, "…", "x")


@pytest.mark.parametrize("request_number", [None, 2])
def test_a_request_without_a_body_leaves_no_gap(request_number: int | None) -> None:
    asked = RecordedRequest("GET", URL)
    for recorded in ((), (asked,)):
        assert "\n\n\n" not in explain(asked, *recorded, request_number=request_number)


def test_many_differences_are_counted() -> None:
    one, other = ({f"k{n}": value for n in range(20)} for value in (1, 2))
    shown = explain(request(other), request(one))
    assert "    k7: recorded 1, now 2\n    … and 12 more\n" in shown
    assert "k8:" not in shown.partition("---")[0]


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        ({"a": True}, {"a": 1}, "a: recorded true, now 1"),
        ({"a": "1"}, {"a": 1}, "a: recorded '1', now 1"),
        ({"a": None}, {}, "a: recorded null, now absent"),
        ({}, {"a": {"b": [1]}}, 'a: recorded absent, now {"b": [1]}'),
        ({"a": {"b.c": 1}}, {"a": {"b.c": 2}}, "a['b.c']: recorded 1, now 2"),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, "a[1]: recorded 2, now absent"),
        ({"a": [1, 3]}, {"a": [1, 2, 3]}, "a[1]: recorded absent, now 2"),
        ({"a": "x\x1b[31m"}, {"a": "y"}, r"a: recorded 'x\x1b[31m', now 'y'"),
        ({"a": "\ud800"}, {"a": "y"}, r"a: recorded '\ud800', now 'y'"),
        # With more digits than a float holds.
        (b'{"n": 0.1000000000000000000002}', b'{"n": 0.1}', "n: recorded 0.1000000000000000000002, now 0.1"),
        (
            b'{"n": [[0.10000000000000000001]]}',
            {"n": [["0.10000000000000000001"]]},
            "n[0][0]: recorded 0.10000000000000000001, now '0.10000000000000000001'",
        ),
    ],
)
def test_each_differing_path_is_shown_with_both_values(one: Any, other: Any, line: str) -> None:
    assert f"    {line}\n" in explain(request(other), request(one))


def test_what_is_left_out_of_the_comparison_is_not_shown() -> None:
    rules = MatchRules(ignore=("user",))
    one = chat("a", user="me", metadata={"id": 1}, seed=1)
    other = chat("a", user="you", metadata={"id": 2}, seed=2)
    shown = explain(other, one, rules=rules)
    assert "seed: recorded 1, now 2" in shown
    assert "metadata" not in shown
    assert "user:" not in shown


def test_matched_headers_are_compared() -> None:
    rules = MatchRules(("+header:x-tenant", "+host"))
    one, other = (request({}, f"https://{v}.com/v1", headers=(*JSON, ("x-tenant", v))) for v in ("a", "b"))
    shown = explain(other, one, rules=rules, redactor=Redactor(request_headers=["x-tenant"]))
    assert "    host: recorded 'a.com', now 'b.com'\n    header x-tenant: recorded 'a', now 'b'\n" in shown


def test_a_recording_that_only_a_plugin_tells_apart() -> None:
    shown = explain(chat("a"), chat("a"))
    assert "recording 1 of 1, which looks the same" in shown
    assert "a matcher of the suite's own" in shown


def test_what_only_a_matcher_of_the_program_compares_is_shown() -> None:
    rules = MatchRules(("method", "path"))
    shown = explain(request({}, "https://a.com/v1?day=1"), request({}, "https://a.com/v1?day=2"), rules=rules)
    assert shown.startswith("query day differs from recording 1 of ")
    assert "    query day: recorded '2', now '1'\n" in shown
    assert "a matcher of the suite's own" in shown


def test_a_request_played_out_that_cannot_be_found_again() -> None:
    assert "recorded   less often; this is request number 4" in explain(chat("a"), chat("b"), request_number=4)


# --- properties

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=200)
bodies = st.recursive(leaves, lambda c: st.lists(c, max_size=5) | st.dictionaries(st.text(max_size=8), c, max_size=5))
requests = st.one_of(
    st.builds(request, bodies, st.sampled_from([URL, URL + "?a=1", "https://x/y"]), st.sampled_from(["POST", "PUT"])),
    st.builds(
        lambda data, media: request(data, headers=(("content-type", media),)), st.binary(max_size=100), st.text()
    ),
)


@given(requests, st.lists(requests, max_size=4), st.none() | st.integers(1, 9))
@settings(max_examples=examples(150), deadline=None)
@pytest.mark.slow
def test_any_miss_can_be_explained_in_bounded_space(
    asked: RecordedRequest, recorded: list[RecordedRequest], number: int | None
) -> None:
    shown = explain(asked, *recorded, request_number=number)
    lines = shown.encode().decode().split("\n")
    assert len(lines) <= 100
    assert all(len(line) <= WIDTH for line in lines)
    assert COMMAND in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


@given(requests, requests)
@settings(max_examples=examples(150), deadline=None)
def test_requests_with_different_keys_have_a_difference(one: RecordedRequest, other: RecordedRequest) -> None:
    same = key_of(one, RULES) == key_of(other, RULES)
    assert bool(find_differences(canonical_request(one, RULES), canonical_request(other, RULES))) != same


@given(bodies, st.integers(0, 300), st.sampled_from(["json", "text", "query"]))
@settings(max_examples=examples(60), deadline=None)
def test_no_secret_is_shown(value: Any, length: int, place: str) -> None:
    """Not even in part, where a long text is cut."""
    secret = "x " * length + KEY + " tail" * 40
    if place == "json":
        one, other = request({"a": secret, "b": value}), request({"a": secret + "!", "b": value})
    elif place == "text":
        one, other = (
            request(f"{end} {secret} {end}".encode(), headers=(("content-type", "text/plain"),)) for end in "ab"
        )
    else:
        one, other = (RecordedRequest("GET", f"https://me:{KEY}@x/y?q={KEY}&page={page}") for page in (1, 2))
    for shown in (explain(other, one), explain(other), explain(one, one, request_number=2)):
        assert not any(KEY[start : start + 8] in shown for start in range(8, len(KEY) - 8))


def test_secrets_of_an_unscrubbed_cassette_are_not_shown() -> None:
    shown = explain(chat("a b c"), chat(f"a {KEY} c"))
    assert "'a [redacted] c'" in shown


@pytest.mark.parametrize("depth", [30, 60, 70, 200, 400])
def test_deep_nesting_is_explained(depth: int) -> None:
    one, other = (b'{"a":' * depth + value + b"}" * depth for value in (b"1", b"2"))
    shown = explain(request(other), request(one))
    assert "recording 1 of 1; they differ in" in shown
    assert len(shown) < 5000


def test_large_bodies_are_explained_briefly() -> None:
    one = {"input": [{"n": n, "t": f"line {n}\n" * 5} for n in range(2000)]}
    other = {"input": [{"n": n + 1, "t": f"Line {n}\n" * 5} for n in range(2000)]}
    shown = explain(request(other), request(one))
    assert "… and 992 more" in shown
    assert len(shown.split("\n")) < 80


# --- the nearest of many

WORDS = ["eagle", "owl", "hawk", "kite", "falcon", "harrier", "osprey", "condor", "vulture", "nest", "prey", "wing"]


def drifting(number: int) -> tuple[RecordedRequest, RecordedRequest]:
    """A request among many alike, and the same with one word changed."""
    words = random.Random(number).choices(WORDS, k=30)
    before = request({"tools": ["x" * 40] * 20, "messages": [{"content": " ".join(words)}], "stream": True})
    words[15] = "penguin"
    return before, request({"tools": ["x" * 40] * 20, "messages": [{"content": " ".join(words)}], "stream": True})


@pytest.mark.parametrize("number", [0, 4711, 9999])
@pytest.mark.slow
def test_the_nearest_of_ten_thousand_is_found(number: int) -> None:
    recorded = [drifting(n)[0] for n in range(10_000)]
    assert f"nearest    recording {number + 1} of 10,000;" in explain(drifting(number)[1], *recorded)


def test_the_same_path_is_nearer_than_the_same_body() -> None:
    body = {"input": "Tell me about eagles."}
    recorded = [request(body, "https://x/v1/embeddings"), request({"input": "a"}, "https://x/v1/responses")]
    assert "recording 2 of 2; they differ in" in explain(request(body, "https://x/v1/responses"), *recorded)


class Counted(bytes):
    """A body that counts how often it is searched."""

    searches = 0

    def __contains__(self, item: Any) -> bool:
        Counted.searches += 1
        return bytes.__contains__(self, item)


def test_the_search_is_bounded_by_the_size_of_the_cassette() -> None:
    body = Counted(json.dumps({"content": " ".join(random.Random(1).choices(WORDS, k=400))}).encode())
    recorded = [
        Interaction(RecordedRequest("POST", URL, JSON, Counted(body + b"%d" % n)), RecordedResponse(200))
        for n in range(10_000)
    ]
    Counted.searches = 0
    find_nearest_recordings(request(b"x" + body), recorded, 8)
    assert 10_000 <= Counted.searches * len(body) <= 2 * 150_000_000


@pytest.mark.parametrize("length", [1, 2])
def test_lists_in_lists_are_compared_in_time_that_grows_with_their_depth(length: int) -> None:
    """Compared twice at each level, they would take years. The second element is there on one side only."""
    one, other = 1, 2
    for _ in range(60):
        one, other = [one, *[0] * (length - 1)], [other]
    (first, *_) = find_differences(
        canonical_request(request({"tree": one}), RULES), canonical_request(request({"tree": other}), RULES)
    )
    assert first.path == "tree" + "[0]" * 60

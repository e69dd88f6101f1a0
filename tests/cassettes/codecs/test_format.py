"""What goes into a cassette file comes back as it was, in a form that people can read."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aquila
from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, Codec, cassette_suffixes, codec_for
from aquila.cassettes.codecs.json_body import with_compact_request
from aquila.cassettes.codecs.yaml import emitter, parser
from aquila.cassettes.codecs.yaml.tree import Number, map_scalars
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import CassetteCorrupt, CassetteWriteError, ConfigError
from aquila.hookspecs import hookimpl
from aquila.plugins import register, unregister
from tests.support.cassettes import (
    bodies,
    cassettes,
    interactions,
    json_values,
    plain_sse_bodies,
    responses,
    sse_streams,
)
from tests.support.examples import examples
from tests.support.slow import slow_but

YAML = codec_for(Path("a.yaml"))
MSGPACK = codec_for(Path("a.msgpack"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("suffix", slow_but([".yaml", ".msgpack"], [".yaml", ".yml", ".msgpack"]))
@settings(max_examples=examples(120), deadline=None, suppress_health_check=SLOW)
@given(cassette=cassettes())
def test_every_cassette_comes_back_as_it_was_and_is_written_the_same_again(suffix: str, cassette: Cassette) -> None:
    codec = codec_for(Path("any" + suffix))
    data = codec.dumps(cassette)
    again = codec.loads(data, source="any")
    assert again == (cassette if suffix == ".msgpack" else with_compact_requests(cassette))
    assert codec.dumps(again) == data


def with_compact_requests(cassette: Cassette) -> Cassette:
    """The cassette as YAML keeps it: requests in JSON by their value, all else to the byte."""
    return Cassette(tuple(map(with_compact_request, cassette.interactions)))


@settings(max_examples=examples(200), deadline=None, suppress_health_check=SLOW)
@given(body=bodies, media=st.sampled_from(["", "application/json", "application/x+json; charset=utf-8", "text/plain"]))
def test_a_request_that_is_kept_by_value_has_the_same_key(body: bytes, media: str) -> None:
    request = RecordedRequest("POST", "https://a.example/", (("content-type", media),) if media else (), body)
    cassette = Cassette((Interaction(request, RecordedResponse(200)),))
    again = YAML.loads(YAML.dumps(cassette), source="any").interactions[0].request
    assert key_of(again, MatchRules()) == key_of(request, MatchRules())


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{ "a" : [1.50,1e-05 , -0],\n"b":"caf\\u00e9 \\/" }', '{"a":[1.50,1e-05,-0],"b":"caf\u00e9 /"}'),
        (b"[123456789012345678901234567890]", "[123456789012345678901234567890]"),
        (b'{"a":1, "a":2}', None),
        (b'{"a": NaN}', None),
        (b'{"a": "\\ud800"}', None),
        (b"{", None),
        (b"[" * 70 + b"]" * 70 + b" ", None),
    ],
)
def test_a_request_in_json_keeps_its_value_or_else_its_bytes(body: bytes, kept: str | None) -> None:
    for media in ("application/json", "REDACTED"):  # which are compared alike
        request = RecordedRequest("POST", "https://a.example/", (("content-type", media),), body)
        text = YAML.dumps(Cassette((Interaction(request, RecordedResponse(200)),)))
        assert (b"\n    json:" in text) is (kept is not None)
        assert b"json_style" not in text
        assert YAML.loads(text, source="any").interactions[0].request.body == (body if kept is None else kept.encode())


def test_the_upstream_and_the_model_of_an_interaction_are_kept() -> None:
    interaction = Interaction(
        RecordedRequest("GET", "https://a.example/"), RecordedResponse(200), "", "local", "smollm2-135m-instruct"
    )
    for codec in (YAML, MSGPACK):
        assert codec.loads(codec.dumps(Cassette((interaction,))), source="any").interactions == (interaction,)
    assert b"  upstream: local\n  model: smollm2-135m-instruct\n" in YAML.dumps(Cassette((interaction,)))


@pytest.mark.parametrize("status", [0, 99, 600, 999, 99999, -1])
def test_an_answer_that_could_not_be_read_again_is_not_written(status: int) -> None:
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/"), RecordedResponse(status)),))
    for codec in (YAML, MSGPACK):
        with pytest.raises(CassetteWriteError, match=rf"the status {status}, which HTTP does not have"):
            codec.dumps(cassette)


@pytest.mark.parametrize("codec", [YAML, MSGPACK], ids=["yaml", "msgpack"])
def test_half_a_surrogate_pair_outside_of_a_body_is_replaced(codec: Codec) -> None:
    response = RecordedResponse(200, error="cut \ud83d off")
    data = codec.dumps(Cassette((Interaction(RecordedRequest("GET", "https://a.example/"), response),)))
    assert codec.loads(data, source="any").interactions[0].response.error == "cut \ufffd off"


def test_the_same_answer_recorded_again_changes_one_line() -> None:
    request, response = streamed(40)
    headers = (("content-type", "text/event-stream"), ("date", "Tue, 24 Nov 2026 10:00:00 GMT"), ("x-request-id", "a"))
    first = replace(response, headers=headers, started=5, ended=90)
    again = replace(
        first,
        headers=(headers[0], ("date", "Wed, 25 Nov 2026 11:00:00 GMT"), ("x-request-id", "b, [c]")),
        chunks=tuple([replace(chunk, at=chunk.at * 2 + 1) for chunk in response.chunks]),
        started=7,
        ended=200,
    )
    texts = []
    for one, moment in ((first, "2026-11-24T10:00:00Z"), (again, "2026-11-25T11:00:00Z")):
        cassette = Cassette((Interaction(request, one, moment),))
        texts.append(YAML.dumps(cassette).decode().splitlines())
        assert YAML.loads(YAML.dumps(cassette), source="any") == cassette
    changed = [line for line in difflib.ndiff(texts[0], texts[1]) if line[0] in "+-"]
    assert [line.split(":")[0] for line in changed] == ["-   recorded", "+   recorded"]


@pytest.mark.parametrize(
    "headers",
    [
        (("date", "1"), ("etag", "2")),
        (("date", "1"), ("age", "2"), ("date", "3")),
        (("date", "it's, [odd] {a}: b"), ("x-request-id", "' \" \\ \x85\n\t"), ("age", "yes")),
        (("x-" + "y" * 2000 + "-time", "1"), ("age", "")),
        (("a,b: {-latency", "#"), ("?-time", "? ")),
    ],
)
def test_header_fields_come_back_in_their_order(headers: Headers) -> None:
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/"), RecordedResponse(200, headers)),))
    assert YAML.loads(YAML.dumps(cassette), source="any") == cassette


@settings(max_examples=examples(150), deadline=None, suppress_health_check=SLOW)
@given(response=sse_streams() | responses(plain_sse_bodies()))
def test_every_stream_comes_back_from_either_form(response: RecordedResponse) -> None:
    cassette = Cassette((Interaction(RecordedRequest("POST", "https://a.example/"), response),))
    assert YAML.loads(YAML.dumps(cassette), source="any") == cassette
    assert MSGPACK.loads(MSGPACK.dumps(cassette), source="any") == cassette


@settings(max_examples=examples(60), deadline=None, suppress_health_check=SLOW)
@given(cassette=cassettes(), data=st.data())
@pytest.mark.slow
def test_recording_one_interaction_again_changes_only_its_lines(cassette: Cassette, data: st.DataObject) -> None:
    if not cassette.interactions:
        return
    at = data.draw(st.integers(0, len(cassette.interactions) - 1))
    changed = list(cassette.interactions)
    changed[at] = data.draw(interactions())
    texts = [YAML.dumps(Cassette(tuple(cassette.interactions[:count]))).decode() for count in (at, at + 1)]
    before, after = YAML.dumps(cassette).decode(), YAML.dumps(Cassette(tuple(changed))).decode()
    head = len(texts[0].removesuffix("...\n").replace("interactions: []\n", "interactions:\n"))
    tail = len(before) - len(texts[1].removesuffix("...\n"))
    assert before[:head] == after[:head]
    assert before[len(before) - tail :] == after[len(after) - tail :]


def test_the_order_is_that_of_reading() -> None:
    response = RecordedResponse(
        429, (("a", "1"),), (RecordedChunk(b"one ", 1), RecordedChunk(b"two", 2)), "broken", "cut off", 1, 9
    )
    request = RecordedRequest("POST", "https://a.example/", (("b", "2"),), b'{"c":3}')
    text = YAML.dumps(Cassette((Interaction(request, response, "2026-11-24T10:00:00Z"),))).decode()
    keys = [line.strip().removeprefix("- ").partition(":")[0] for line in text.splitlines()]
    assert " ".join(keys) == (
        "aquila interactions request method url headers b json c recorded response status headers a end error body ..."
    )


def test_a_review_shows_what_changed_and_no_more() -> None:
    def cassette(system: str) -> str:
        body = f'{{"model":"m","messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"Hi"}}]}}'
        return YAML.dumps(
            Cassette(
                (Interaction(RecordedRequest("POST", "https://a.example/", (), body.encode()), RecordedResponse(200)),)
            )
        ).decode()

    old, new = cassette("You are kind.\\nYou are brief."), cassette("You are kind.\\nYou are wordy.")
    changed = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[0] in "+-"]
    assert changed == ["-           You are brief.", "+           You are wordy."]


@settings(max_examples=examples(200), deadline=None)
@given(json_values)
def test_other_yaml_readers_see_the_same_structure_and_never_another_type(value: Any) -> None:
    """A text is a text to everyone: ``no``, ``1e5``, ``~`` and ``2026-11-24`` are in quotes."""
    # Numbers are given as the literals that a cassette has. Those that only JSON takes for numbers are words.
    written = map_scalars(value, lambda each: Number("0") if type(each) in (int, float) else each)
    numbers = map_scalars(written, lambda each: 0 if type(each) is Number else each)
    text = emitter.write_mapping([("value", written)], 0)
    assert yaml.safe_load(text) == {"value": numbers}
    assert parser.load_tree(text.encode(), source="any") == {"value": written}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", "''\n"),
        ("plain text: no", "'plain text: no'\n"),
        ("https://a.example/?q=1#x", "https://a.example/?q=1#x\n"),
        ("a #b", "'a #b'\n"),
        ("it's", "it's\n"),
        ("'tis", '"\'tis"\n'),
        ('{"a": 1}', "'{\"a\": 1}'\n"),
        ("NO", "'NO'\n"),
        ("12", "'12'\n"),
        ("naïve – «x»", "naïve – «x»\n"),
        ("a\nb", "|-\n  a\n  b\n"),
        ("a\nb\n", "|\n  a\n  b\n"),
        ("a\n\nb\n\n", "|+\n  a\n\n  b\n\n"),
        ("  a\nb", "|2-\n    a\n  b\n"),
        ("\na", "|2-\n\n  a\n"),
        ("a\tb", "|-\n  a\tb\n"),
        ("trailing  \n\t\nx", '"trailing  \\n\\\n  \\t\\n\\\n  x"\n'),
        ("a\n b ", '"a\\n\\\n  \\ b "\n'),
        ("\n", '"\\n\\\n  "\n'),
        ("a\r\n b\r\n", '"a\\r\\n\\\n  \\ b\\r\\n\\\n  "\n'),
        ("\x00\x1b\x7f\x85\u2028\ufeff\ufffe", '"\\0\\x1B\\x7F\\N\\L\\uFEFF\\uFFFE"\n'),
        ("x" * 500, "x" * 500 + "\n"),
    ],
)
def test_how_a_text_is_written(text: str, written: str) -> None:
    assert emitter.write_text(text, 2) == written
    assert parser.load_tree(f"k: {written}".encode(), source="any") == {"k": text}


def test_a_message_that_repeats_a_header_is_a_list_in_order() -> None:
    headers = (("link", "1"), ("a", "x"), ("link", "2"))
    cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/", headers), RecordedResponse(200)),))
    assert "headers:\n    - link: '1'\n    - a: x\n    - link: '2'\n" in YAML.dumps(cassette).decode()
    assert YAML.loads(YAML.dumps(cassette), source="any") == cassette


def test_a_body_that_came_at_the_end_needs_no_chunks() -> None:
    def text(chunks: tuple[RecordedChunk, ...]) -> str:
        response = RecordedResponse(200, (), chunks, ended=5)
        cassette = Cassette((Interaction(RecordedRequest("GET", "https://a.example/"), response),))
        assert YAML.loads(YAML.dumps(cassette), source="any") == cassette
        return YAML.dumps(cassette).decode()

    assert "chunks" not in text((RecordedChunk(b"x", 5),))
    assert "chunks" not in text(())
    assert ", chunks: 4}\n" in text((RecordedChunk(b"x", 4),))
    assert ", chunks: 5:0}\n" in text((RecordedChunk(b"", 5),))
    assert ", chunks: 0 5:0}\n" in text((RecordedChunk(b"x", 0), RecordedChunk(b"", 5)))
    assert ", chunks: 0:1 5}\n" in text((RecordedChunk(b"x", 0), RecordedChunk(b"y", 5)))


def test_an_answer_that_came_whole_shows_its_text_once() -> None:
    body = b'{"choices":[{"message":{"content":"Hello"}}]}'
    response = RecordedResponse(200, (), (RecordedChunk(body),))
    assert YAML.dumps(Cassette((Interaction(RecordedRequest("GET", "https://a/"), response),))).count(b"Hello") == 1


def test_the_text_for_readers_is_not_read() -> None:
    body = b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n'
    cassette = Cassette(
        (Interaction(RecordedRequest("GET", "https://a.example/"), RecordedResponse(200, (), (RecordedChunk(body),))),)
    )
    text = YAML.dumps(cassette)
    assert text.count(b"text: Hello") == 1
    assert YAML.loads(text.replace(b"text: Hello", b"text: [1, 2]"), source="any") == cassette


def test_an_unknown_suffix_is_named() -> None:
    with pytest.raises(ConfigError, match=r"a.ini: no cassette format has the suffix '.ini'; use one of .yaml, "):
        codec_for(Path("a.ini"))


def test_a_plugin_may_bring_a_format_but_not_replace_ours(tmp_path: Path) -> None:
    class NotPickled(CassetteCorrupt):
        def __init__(self, source: str, reason: str) -> None:
            super().__init__(f"{source}: {reason}")

    class Pickled:
        suffix = ".demo"

        def dumps(self, cassette: Cassette) -> bytes:
            return repr(cassette).encode()

        def loads(self, data: bytes, *, source: str) -> Cassette:
            raise NotPickled(source, "no pickle")

    class Plugin:
        @hookimpl
        def aquila_codecs(self) -> list[Any]:
            return [demo, SimpleNamespace(suffix=".yaml", dumps=demo.dumps, loads=demo.loads)]

    demo = Pickled()
    plugin = register(Plugin)
    try:
        assert codec_for(Path("a.demo")) is demo
        assert codec_for(Path("a.yaml")).suffix == ".yaml"
        assert isinstance(codec_for(Path("a.YAML")), type(YAML))
        assert cassette_suffixes() == (".yaml", ".yml", ".msgpack", ".toml", ".demo")
        (tmp_path / "a.demo").write_bytes(b"no")
        with (
            aquila.use_cassette("a.demo", transport="replay", cassette_dir=str(tmp_path)),
            pytest.raises(NotPickled, match=r"a\.demo: no pickle"),
        ):
            aquila.ask("hi")
    finally:
        unregister(plugin)
    assert cassette_suffixes() == BUILT_IN_SUFFIXES


def test_a_stream_of_200_chunks_takes_an_eighth_of_what_vcrpy_takes() -> None:
    serializer = pytest.importorskip("vcr.serializers.yamlserializer")
    request, response = streamed(200)
    data = YAML.dumps(Cassette((Interaction(request, response, "2026-11-24T10:00:00Z"),)))
    theirs = serializer.serialize(
        {
            "interactions": [
                {
                    "request": {"method": "POST", "uri": request.url, "body": request.body.decode(), "headers": {}},
                    "response": {
                        "status": {"code": 200, "message": "OK"},
                        "headers": {"content-type": ["text/event-stream"]},
                        "body": {"string": response.body.decode()},
                    },
                }
            ],
            "version": 1,
        }
    )
    assert len(data) * 8 <= len(theirs.encode())


def streamed(count: int) -> tuple[RecordedRequest, RecordedResponse]:
    """A chat as OpenAI streams it, each event a chunk."""
    start = '{"id":"chatcmpl-Dx0XpqH8w09uBXwq1zFGYdETjtnEl","object":"chat.completion.chunk","created":1782955817,'
    start += (
        '"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_d0469e1700","choices":['
    )
    words = [f" word{number}" for number in range(count)]
    events = [
        f'data: {start}{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}],'
        f'"usage":null,"obfuscation":"{"Qk3slFTUGILk1xy"[len(word) :]}"}}\n\n'
        for word in words
    ]
    chunks = tuple(RecordedChunk(event.encode(), 412 + 31 * at) for at, event in enumerate(events))
    body = b'{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Tell me about eagles."}]}'
    request = RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", (), body)
    return request, replace(
        RecordedResponse(200, (("content-type", "text/event-stream"),), chunks), started=400, ended=7000
    )

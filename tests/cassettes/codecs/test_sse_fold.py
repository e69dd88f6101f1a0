"""Event streams fold without loss."""

from __future__ import annotations

import json
import lzma
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs.sse_fold.fold_reader import MAX_GROWTH, Folded, FoldError, unfold
from aquila.cassettes.codecs.sse_fold.fold_writer import fold, table_of
from aquila.cassettes.model import RecordedChunk
from tests.support.cassettes import chunked, cut, plain_sse_bodies, sse_bodies
from tests.support.traffic import exchanges, names, needs_corpus


def chat_stream(tokens: list[str], obfuscation: str = "") -> bytes:
    """A chat's stream, as OpenAI writes it."""
    events = []
    for token in tokens:
        event = {
            "id": "chatcmpl-Dx0XpqH8w09uBXwq1zFGYdETjtnEl",
            "object": "chat.completion.chunk",
            "created": 1782955817,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_d0469e1700",
            "choices": [{"index": 0, "delta": {"content": token}, "logprobs": None, "finish_reason": None}],
            "usage": None,
        }
        events.append(event | ({"obfuscation": obfuscation} if obfuscation else {}))
    lines = [json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in events]
    return "".join([f"data: {line}\n\n" for line in [*lines, "[DONE]"]]).encode()


def by_event(body: bytes) -> tuple[RecordedChunk, ...]:
    """A chunk for each event, 40 ms apart."""
    return tuple(RecordedChunk(data, 40 * at) for at, data in enumerate(re.findall(rb"(?s).*?\n\n|.+", body)))


@settings(max_examples=400, deadline=None)
@given(chunked(sse_bodies()))
def test_any_stream_with_any_cuts_unfolds_to_the_same_chunks(chunks: tuple[RecordedChunk, ...]) -> None:
    folded = table_of(chunks)
    if folded is not None:
        assert unfold(folded) == chunks


@settings(max_examples=200, deadline=None)
@given(st.text('daten: \n\r{}[]",1«»+s\t\\é', max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_what_only_looks_like_a_stream_is_never_changed(rest: str, positions: list[int]) -> None:
    chunks = cut(f"data: {rest}".encode() * 3, positions, [1, 2, 3, 4, 5])
    folded = table_of(chunks)
    assert folded is None or unfold(folded) == chunks


@settings(max_examples=400, deadline=None)
@given(chunked(plain_sse_bodies()))
def test_a_plain_stream_with_any_cuts_unfolds_to_the_same_chunks(chunks: tuple[RecordedChunk, ...]) -> None:
    folded = table_of(chunks)
    if folded is not None:
        assert unfold(folded) == chunks


@pytest.mark.parametrize(
    "body",
    [
        b"data: hello\n\ndata: \n\n",
        b"data: [DONE]\n\ndata: \n\n",
        b"data: \n\ndata: [DONE]\n\n",
        b"event: a\ndata: x\n\nevent: \ndata: \n\n",
        b'data: {"a":1}\n\ndata: {"a":}\n\n',
    ],
)
def test_a_field_without_a_value_is_told_from_one_with_a_value(body: bytes) -> None:
    chunks = by_event(body * 9)
    folded = table_of(chunks)
    assert folded is not None
    assert unfold(folded) == chunks


def test_a_stream_that_cannot_be_folded_for_any_reason_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(texts: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("aquila.cassettes.codecs.sse_fold.templates.find", broken)
    assert fold(by_event(chat_stream(["a", "b", "c"]))) is None


def test_a_chat_is_written_as_its_text_with_the_times() -> None:
    folded = fold(by_event(chat_stream(["The", " capital", " is", ' "Paris"'])))
    assert folded is not None
    assert folded.events == '0 a\t"The"\n40 a\t" capital"\n80 a\t" is"\n120 a\t" \\"Paris\\""\n160 =\tdata: [DONE]\n'
    assert '"delta":{"content":«content»}' in folded.templates["a"]


@pytest.mark.parametrize("obfuscation", ["", "C63rqTslF"])
def test_a_long_chat_takes_less_than_an_eighth(obfuscation: str) -> None:
    body = chat_stream([" word"] * 200, obfuscation)
    folded = fold(by_event(body))
    assert folded is not None
    assert len(folded) * 8 < len(body)


def test_the_closing_events_refer_to_what_they_repeat() -> None:
    item = {"id": "msg_0da443d9ee8333600069950a08ad6c81", "text": "The sky is blue, the grass is green."}
    kinds = ["item.added", "text.done", "item.done", "completed"]
    events = [
        {"type": "item.added", "item": item | {"text": ""}},
        {"type": "text.done", "text": item["text"]},
        {"type": "item.done", "item": item},
        {"type": "completed", "output": [item], "item_id": item["id"]},
    ]
    body = "".join(f"event: {kind}\ndata: {json.dumps(event)}\n\n" for kind, event in zip(kinds, events, strict=True))
    folded = fold((RecordedChunk(body.encode(), 5),))
    assert folded is not None
    written = folded.events + "".join([*folded.shared.values(), *folded.templates.values()])
    assert written.count("The sky is blue") == 1
    assert written.count("msg_0da443d9ee83") == 1
    assert unfold(folded) == (RecordedChunk(body.encode(), 5),)


def test_numbers_that_count_the_events_are_not_written() -> None:
    body = "".join(f'data: {{"text":"{word}","sequence_number":{7 + at}}}\n\n' for at, word in enumerate("abcdefgh"))
    folded = fold((RecordedChunk(body.encode(), 0),))
    assert folded is not None
    assert folded.templates == {"a": 'data: {"text":«text»,"sequence_number":«+7»}'}
    assert folded.events.splitlines()[:2] == ['0 a\t"a"', 'a\t"b"']


def test_blanks_that_hide_an_events_length_are_a_number() -> None:
    body = "".join(f'data: {{"text":"{word}"{" " * (9 - at)}}}\n\n' for at, word in enumerate("abcdefgh"))
    folded = fold((RecordedChunk(body.encode(), 0),))
    assert folded is not None
    assert folded.templates == {"a": 'data: {"text":«text»«spaces»}'}
    assert folded.events.splitlines()[:2] == ['0 a\t"a"\t9', 'a\t"b"\t8']


def test_what_an_events_name_repeats_is_one_cell() -> None:
    body = "".join(f'event: {kind}\ndata: {{"type":"{kind}","from":"{kind}"}}\n\n' for kind in ("one", "two", "three"))
    folded = fold((RecordedChunk(body.encode(), 0),))
    assert folded is not None
    assert folded.templates == {"a": 'event: «event»\ndata: {"type":"«event»","from":"«event»"}'}
    assert folded.events == "0 a\tone\na\ttwo\na\tthree\n"


def test_cells_that_stay_the_same_are_left_out_and_equal_events_counted() -> None:
    events = ['{"a":1,"b":"x","c":"y"}'] * 2 + ['{"a":2,"b":"x","c":"z"}'] + ['{"a":2,"b":"q","c":"z"}'] * 4
    body = "".join(f"data: {event}\n\n" for event in events)
    folded = fold((RecordedChunk(body.encode(), 0),))
    assert folded is not None
    assert folded.events == '0 a\t1\t"x"\t"y"\na\na\t2\t\t"z"\na\t\t"q"\na*3\n'


def test_chunks_may_begin_anywhere_and_be_empty() -> None:
    body = chat_stream(["a", "bé", "c"])
    ends = [found.end() for found in re.finditer(b"\n\n", body)]
    chunks = cut(body, [0, ends[0], ends[0], ends[0] + 3, ends[1] - 1, len(body)], [1, 2, 3, 4, 5, 6, 7])
    folded = fold(chunks)
    assert folded is not None
    heads = [line.partition("\t")[0] for line in folded.events.splitlines()]
    assert heads == ["1 2 a", f"3 4 5+3 6+{ends[1] - ends[0] - 1} a", "a", "=", "7"]
    assert unfold(folded) == chunks


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"a":1}',
        b"data",
        b"Data: x\n\n" * 9,
        b"data: \xff\n\n" * 9,
        b"data: a\tb\n\n" * 9,
        b"data: a\x00b\n\n" * 9,
        b"data: a\rdata: b\r\n\n" * 9,
        b"data: once\n\n",
        b": ping\n\n" * 5000,
    ],
)
def test_what_does_not_fold_is_left_alone(body: bytes) -> None:
    assert fold((RecordedChunk(body, 0),)) is None


@pytest.mark.parametrize(
    ("folded", "message"),
    [
        (Folded("0 b\tx\n", {"a": "«x»"}), "no template 'b'"),
        (Folded("0 a\n", {"a": "«x»"}), "first line must fill all its holes"),
        (Folded("0 a\tx\ty\n", {"a": "«x»"}), "2 cells for 1 holes"),
        (Folded("0 a\t«s1»\n", {"a": "«x»"}), "no shared text 's1'"),
        (Folded("a\tx\n", {"a": "«x»"}), "must begin with a chunk"),
        (Folded("0+1 a\tx\n", {"a": "«x»"}), "must begin with a chunk"),
        (Folded("0 1+4 a\tx\n", {"a": "«x»"}), "begins outside of its event"),
        (Folded("0 2+2 1+1 a\tx\n", {"a": "«x»"}), "begins outside of its event"),
        (Folded("0 x a\tx\n", {"a": "«x»"}), "not a chunk's time"),
        (Folded("² a\tx\n", {"a": "«x»"}), "not a chunk's time"),
        (Folded("\n", {"a": "«x»"}), "no template ''"),
        (Folded("0 a*0\n", {"a": "x"}), "no template 'a\\*0'"),
        (Folded("0 a\tmany\n", {"a": "«spaces»"}), "spaces must be a number"),
        (Folded("0 a\t-1\n", {"a": "«spaces»"}), "spaces must be a number"),
        (Folded("0 a\n", {"a": "b\tx"}), "no template 'b' before this one"),
        (Folded("0 b\n", {"a": "«x»", "b": "a\tx\ty"}), "2 cells for 1 holes"),
        (Folded("0 b\n", {"a": "«x»«y»", "b": "a\tx\t"}), "2 cells for 2 holes|1 cells for 2"),
        (Folded("0 b\n", {"a": "«spaces»", "b": "a\tx"}), "spaces must be a number"),
        (Folded("0 a\n", {"a": "«not a name»"}), "not the name of a hole"),
        (Folded("0 a\n", {"a b": "x"}), "not a name: 'a b'"),
        (Folded("0 a\n", {"a": "x"}, {"1": "x"}), "not a name: '1'"),
        (Folded("0 a\n", {"a": "x"}, {"s2": "«s1»", "s1": "x"}), "no shared text 's1' before this one"),
        (Folded("0 a\n", {"a": "«x»" * 1001}), "more than 1000 holes"),
    ],
)
def test_a_folded_stream_with_a_mistake_is_refused(folded: Folded, message: str) -> None:
    with pytest.raises(FoldError, match=message):
        unfold(folded)


DOUBLING = {f"s{level}": f"«s{level - 1}»" * 2 if level else "x" * 50 for level in range(60)}
TEMPLATES = {"a": "«x»" * 900}

BOMBS = {
    "equal events": Folded("0 a*999999999\n", {"a": "x" * 500}),
    "many equal events": Folded("0 a*60\n" * 40, {"a": "x" * 500}),
    "shared texts of shared texts": Folded("0 a\n", {"a": "«s59»"}, DOUBLING),
    "shared texts in an event": Folded("0 =\t" + "«s1»" * 5000 + "\n", {}, {"s1": "x" * 5000}),
    "shared texts in a template": Folded("0 a\n", {"a": "«s1»" * 900}, {"s1": "x" * 5000}),
    "holes": Folded("0 a\t" + "x" * 5000 + "\n", TEMPLATES),
    "templates of templates": Folded(
        "0 d\n", TEMPLATES | {"b": "a\t«x»«x»", "c": "b\t«x»«x»", "d": "c\t" + "y" * 5000}
    ),
    "blanks": Folded("0 a\t99999\n" * 50, {"a": "«spaces»"}),
    "times": Folded("0 a\tx\n" + "9" * 5000 + " a\n", {"a": "«x»"}),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(kind: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FoldError):
            unfold(BOMBS[kind])
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_GROWTH * len(BOMBS[kind]) + 1_000_000
    finally:
        tracemalloc.stop()


@needs_corpus
@pytest.mark.parametrize("name", names())
def test_real_streams_fold_as_far_as_they_can(name: str) -> None:
    """A quarter, or what is left is so dense that a compressor gains little more (ids, ciphers, few events)."""
    for exchange in exchanges(name):
        if "event-stream" not in exchange.content_type:
            continue
        chunks = by_event(exchange.body)
        folded = fold(chunks)
        assert folded is not None
        assert unfold(folded) == chunks
        size = len("".join([folded.events, *folded.templates.values(), *folded.shared.values()]).encode())
        dense = len(lzma.compress(exchange.body, preset=9))
        assert size <= max(len(exchange.body) / 4, 3.6 * dense)
        if len(chunks) >= 50 and dense < len(exchange.body) / 10:
            assert size <= len(exchange.body) / 5

"""Event streams become tables without loss."""

from __future__ import annotations

import json
import lzma
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs.event_streams import stream_writer
from aquila.cassettes.codecs.event_streams.stream_reader import (
    MAX_GROWTH,
    ChunkListError,
    EventTable,
    TableError,
    build_stream,
    cut_body,
    read_sizes,
)
from aquila.cassettes.codecs.event_streams.stream_writer import write_chunk_list, write_table
from aquila.cassettes.model import RecordedChunk
from tests.support.cassettes import chunked, cut, plain_sse_bodies, sse_bodies
from tests.support.examples import examples
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


def table_of(body: bytes) -> EventTable:
    """The table of a stream that came as one chunk."""
    written = write_table((RecordedChunk(body, 5),))
    assert written is not None
    assert rebuilt(*written) == (RecordedChunk(body, 5),)
    return written[0]


def rebuilt(table: EventTable, chunk_list: str) -> tuple[RecordedChunk, ...]:
    return cut_body(*build_stream(table), chunk_list)


@settings(max_examples=examples(400), deadline=None)
@given(chunked(sse_bodies() | plain_sse_bodies()))
@pytest.mark.slow
def test_any_stream_with_any_cuts_is_rebuilt_to_the_same_chunks(chunks: tuple[RecordedChunk, ...]) -> None:
    written = write_table(chunks)
    if written is not None:
        assert rebuilt(*written) == chunks


@pytest.mark.parametrize("crlf", [False, True])
@settings(max_examples=examples(300), deadline=None)
@given(body=plain_sse_bodies() | sse_bodies(), positions=st.lists(st.integers(0, 10_000), max_size=5))
@pytest.mark.slow
def test_a_stream_that_repeats_itself_is_rebuilt_to_the_same_chunks(
    crlf: bool, body: bytes, positions: list[int]
) -> None:
    """Nearly every stream that repeats itself often becomes a table, so there is something to rebuild."""
    body = body.replace(b"\r\n", b"\n").removesuffix(b"\n").removesuffix(b"\n") + b"\n\n"
    chunks = cut((body * 9).replace(b"\n", b"\r\n" if crlf else b"\n"), positions, [1, 2, 3, 4, 5, 6])
    written = write_table(chunks)
    if written is not None:
        assert rebuilt(*written) == chunks


@settings(max_examples=examples(200), deadline=None)
@given(st.text('daten: \n\r{}[]",1«»+s\t\\é', max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_what_only_looks_like_a_stream_is_never_changed(rest: str, positions: list[int]) -> None:
    chunks = cut(f"data: {rest}".encode() * 3, positions, [1, 2, 3, 4, 5])
    written = write_table(chunks)
    assert written is None or rebuilt(*written) == chunks


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
    written = write_table(chunks)
    assert written is not None
    assert rebuilt(*written) == chunks


def test_a_stream_that_fails_to_become_a_table_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(events: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("aquila.cassettes.codecs.event_streams.stream_writer._find_layouts", broken)
    assert write_table(by_event(chat_stream(["a", "b", "c"]))) is None


def test_a_table_that_would_not_be_rebuilt_exactly_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ({"a": "data: «x»"}, [["a", "1"], ["a", "2"]])
    monkeypatch.setattr("aquila.cassettes.codecs.event_streams.stream_writer._find_layouts", lambda events: wrong)
    assert write_table(by_event(chat_stream(["a", "b", "c"]))) is None


def test_a_chat_is_written_as_its_text_with_the_times_apart_from_it() -> None:
    written = write_table(by_event(chat_stream(["The", " capital", " is", ' "Paris"'])))
    assert written is not None
    table, chunk_list = written
    assert table.events == 'a\t"The"\na\t" capital"\na\t" is"\na\t" \\"Paris\\""\n=\tdata: [DONE]\n'
    assert '"delta":{"content":«content»}' in table.layouts["a"]
    assert chunk_list == "0 40 80 120 160"


@pytest.mark.parametrize("obfuscation", ["", "C63rqTslF"])
def test_a_long_chat_takes_less_than_an_eighth(obfuscation: str) -> None:
    body = chat_stream([f" word{number}" for number in range(200)], obfuscation)
    written = write_table(by_event(body))
    assert written is not None
    assert (len(written[0]) + len(written[1])) * 8 < len(body)


def test_the_many_events_of_a_long_stream_are_written_like_the_few_of_a_short_one() -> None:
    tokens = ["rides", '"warm"', "", "a\\b", "{}", "1", "é «»", '": ', " "] * 70
    many, few = table_of(chat_stream(tokens)), table_of(chat_stream(tokens[:90]))
    assert many.layouts == few.layouts
    assert many.events.startswith(few.events.removesuffix("=\tdata: [DONE]\n"))


def test_events_of_each_shape_have_a_layout_of_their_own() -> None:
    deltas = ['{"role":"assistant"}', '{"content":"a"}', '{"content":"b"}', '{"content":"c"}', '{"role":"user"}', "{}"]
    table = table_of("".join(f'data: {{"id":"chatcmpl-1","delta":{delta},"n":1}}\n\n' for delta in deltas).encode())
    assert table.layouts == {
        "a": 'data: {"id":"chatcmpl-1","delta":{"role":«role»},"n":1}',
        "b": 'data: {"id":"chatcmpl-1","delta":{"content":«content»},"n":1}',
    }
    assert table.events == (
        'a\t"assistant"\nb\t"a"\nb\t"b"\nb\t"c"\na\t"user"\n=\tdata: {"id":"chatcmpl-1","delta":{},"n":1}\n'
    )


def test_blanks_that_hide_an_events_length_are_a_number() -> None:
    table = table_of(
        "".join(f'data: {{"text":"{word}"{" " * (9 - at)}}}\n\n' for at, word in enumerate("abcdefgh")).encode()
    )
    assert table.layouts == {"a": 'data: {"text":«text»«spaces»}'}
    assert table.events.splitlines()[:2] == ['a\t"a"\t9', 'a\t"b"\t8']


def test_a_key_that_is_called_like_the_blanks_is_an_ordinary_placeholder() -> None:
    table = table_of("".join(f'data: {{"spaces":"{word}"}}\n\n' for word in "abcdefgh").encode())
    assert table.layouts == {"a": 'data: {"spaces":«x»}'}


def test_the_mark_of_a_placeholder_may_be_in_the_text() -> None:
    table = table_of("".join(f'data: {{"«a»":"«{word}»","b":"«b» %s"}}\n\n' for word in "abcdefgh").encode())
    assert table.layouts == {"a": 'data: {"«»a»":«x»,"b":"«»b» %s"}'}
    assert table.events.startswith('a\t"«a»"\na\t"«b»"\n')


def test_cells_that_stay_the_same_are_left_out() -> None:
    events = ['{"a":1,"b":"x","c":"y"}'] * 2 + ['{"a":2,"b":"x","c":"z"}'] + ['{"a":2,"b":"q","c":"z"}'] * 2
    table = table_of("".join(f"data: {event}\n\n" for event in events).encode())
    assert table.events == 'a\t1\t"x"\t"y"\na\na\t2\t\t"z"\na\t\t"q"\na\n'


def test_chunks_may_begin_anywhere_and_be_empty() -> None:
    body = chat_stream(["a", "bé", "c"])
    ends = [found.end() for found in re.finditer(b"\n\n", body)]
    chunks = cut(body, [0, ends[0], ends[0], ends[0] + 3, ends[1] - 1, len(body)], [1, 2, 3, 4, 5, 6, 7])
    written = write_table(chunks)
    assert written is not None
    assert written[1] == f"1:0 2 3:0 4:3 5:{ends[1] - ends[0] - 4} 6x3 7:0"
    assert rebuilt(*written) == chunks


@given(chunked(), st.lists(st.integers(0, 200), max_size=6))
def test_any_chunks_are_cut_again_whatever_the_events(chunks: tuple[RecordedChunk, ...], ends: list[int]) -> None:
    body = b"".join([chunk.data for chunk in chunks])
    event_ends = sorted({end for end in ends if 0 < end < len(body)} | {len(body)})
    if chunks:
        assert cut_body(body, event_ends, write_chunk_list(chunks, event_ends)) == chunks


@pytest.mark.parametrize(
    "chunk_list", ["", " ", "1 ", "x", "-1", "²", "1x", "1:", "1:2x3", "1:9", "1 2", "1x2", "1x0", "1:1"]
)
def test_a_chunk_list_that_does_not_fit_is_refused(chunk_list: str) -> None:
    with pytest.raises(ChunkListError, match="chunks"):
        cut_body(b"abc", [3], chunk_list)


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
        b"data: a\r\n\r\ndata: a\n\n" * 9,
        b"data: once\n\n",
    ],
)
def test_what_is_no_stream_or_gains_nothing_is_left_alone(body: bytes) -> None:
    assert write_table((RecordedChunk(body, 0),)) is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (EventTable("b\tx\n", {"a": "«x»"}), "no layout 'b'"),
        (EventTable("a\n", {"a": "«x»"}), "first line of a layout must fill all its placeholders"),
        (EventTable("a\tx\ty\n", {"a": "«x»"}), "2 cells for 1 placeholders"),
        (EventTable("a\tx\n", {"a": "x"}), "1 cells for 0 placeholders"),
        (EventTable("", {"a": "«x»"}), "no layout ''"),
        (EventTable("a\tx\n\n", {"a": "«x»"}), "no layout ''"),
        (EventTable("=\n"), "no layout '='"),
        (EventTable("~\n"), "no layout '~'"),
        (EventTable("a\tmany\n", {"a": "«spaces»"}), "spaces must be a number"),
        (EventTable("a\t-1\n", {"a": "«spaces»"}), "spaces must be a number"),
        (EventTable("a\t²\n", {"a": "«spaces»"}), "spaces must be a number"),
        (EventTable("a\n", {"a b": "x"}), "not the name of a layout: 'a b'"),
        (EventTable("a\n", {"=": "x"}), "not the name of a layout: '='"),
    ],
)
def test_a_table_with_a_mistake_is_refused(table: EventTable, message: str) -> None:
    with pytest.raises(TableError, match=message):
        build_stream(table)


BOMBS = {
    "many equal events": EventTable("a\n" * 2000, {"a": "x" * 5000}),
    "cells of the line before": EventTable("a\t" + "x" * 5000 + "\n" + "a\n" * 3000, {"a": "«x»"}),
    "blanks": EventTable("a\t99999\n" * 50, {"a": "«spaces»"}),
    "line ends": EventTable("a\n" * 2000, {"a": "\n" * 5000}, crlf=True),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(kind: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TableError, match="more than 64 times as large"):
            build_stream(BOMBS[kind])
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_GROWTH * len(BOMBS[kind]) + 1_000_000
    finally:
        tracemalloc.stop()


@needs_corpus
@pytest.mark.parametrize("name", names())
def test_real_streams_get_as_short_as_they_can(name: str) -> None:
    """A third, or what is left is so dense that a compressor gains little more (ids, ciphers, few events)."""
    for exchange in exchanges(name):
        if "event-stream" not in exchange.content_type:
            continue
        chunks = by_event(exchange.body)
        written = write_table(chunks)
        assert written is not None
        assert rebuilt(*written) == chunks
        size = len("".join([written[0].events, *written[0].layouts.values(), written[1]]).encode())
        if size <= len(exchange.body) / 4:
            continue
        # As small as with the largest preset, which also fills hundreds of megabytes of tables first.
        best = {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": max(4096, len(exchange.body))}
        dense = len(lzma.compress(exchange.body, filters=[best]))
        assert size <= max(len(exchange.body) / 3, 5 * dense)
        assert len(chunks) < 50 or dense >= len(exchange.body) / 10


def test_an_event_with_half_a_string_full_of_quotes_is_written_soon() -> None:
    """At this size a pattern that reads from each quote to the end takes minutes."""
    event = b'data: {"arguments":"' + b'{\\"key\\":' * 20_000 + b"\n\n"
    chunks = (RecordedChunk(event), RecordedChunk(event.replace(b"key", b"sea")))
    assert write_table(chunks) is None


def test_the_list_of_very_many_chunks_is_read_without_keeping_more_than_its_numbers() -> None:
    count = 20_000
    chunk_list = " ".join(f"{at}:17" for at in range(count))
    read_sizes("1:17 2:17", 34)  # what is made once
    tracemalloc.start()
    try:
        sizes, times = read_sizes(chunk_list, count * 17)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(sizes), len(times)) == (count, count)
    assert most < 40 * count


@pytest.mark.parametrize("chunk_list", [" ", "1", "1:2 ", " 1:2", "1:2  3:4", "1:2 3", "1:2 3:x", "²:1", f"{10**15}:2"])
def test_a_list_of_sizes_that_is_none_is_refused(chunk_list: str) -> None:
    with pytest.raises(ChunkListError):
        read_sizes(chunk_list, 2)


def test_no_pattern_is_compiled_for_events_of_very_many_scalars(monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.dumps({f"key{number}": number for number in range(200)})
    monkeypatch.setattr(stream_writer, "_SCALAR", "(")  # no pattern can be made with it
    split = list(stream_writer._split_events([event] * 300))
    assert len(split[-1][1]) == 200

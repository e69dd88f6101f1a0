"""Texts that come in pieces are read by the layout of their events exactly as a JSON parser reads them."""

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.scrubber import Scrubber
from aquila.cassettes.redaction.split_secrets import event_layouts, split_text
from tests.support.large_answers import redact_in_parts, use_small_windows
from tests.support.slow import slow_but

REDACTOR = Redactor()
KEY = "sk-proj-Abc123Def456Ghi789Jkl012Mno345"

strings = st.text(max_size=6) | st.sampled_from(['"', "\\", "\n", "é", "\ud800", "data: {", "[1]", '{"a":1}'])
numbers = st.integers(-3, 300) | st.floats(allow_nan=False, allow_infinity=False)
byte_values = st.lists(st.integers(0, 300), min_size=1, max_size=4)
keys = st.sampled_from(["id", "index", "output_index", "delta", "bytes", "n", 'a"b', "a\\"])
values = st.recursive(
    st.none() | st.booleans() | numbers | strings | byte_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
usual: list[dict[str, Any]] = [
    {"id": "c", "choices": [{"index": 0, "delta": {"content": "a"}}]},
    {"output_index": 1, "delta": "a", "n": 1},
    {"choices": [{"index": 0, "logprobs": [{"bytes": [1], "token": "a"}, {"bytes": [1], "token": "b"}]}]},
]
documents = st.sampled_from(usual) | st.dictionaries(keys, values, min_size=1, max_size=4)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Streams of some kinds of events, each many times, with other strings, numbers and byte values each time."""
    kinds = draw(st.lists(documents, min_size=1, max_size=4))
    dice = draw(st.randoms(use_true_random=False))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    before = draw(st.sampled_from(["data: ", "data:", f"event: x{end}data: ", f": hello{end}{end}data: ", ""]))
    ascii_only = draw(st.booleans())
    events = []
    for _ in range(draw(st.integers(2, 20))):
        value = vary(dice.choice(kinds), dice)
        text = json.dumps(
            value, ensure_ascii=ascii_only, indent=None, separators=draw(st.sampled_from([None, (",", ":")]))
        )
        if dice.random() < 0.1:
            text = dice.choice(["[DONE]", "hello", text[:-1], text[:5], '{"a": "x", "a": "y"}'])
        events.append(before + text + end * 2)
    return "".join(events).encode("utf-8", "surrogatepass")


def vary(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: vary(child, dice) for key, child in value.items()}
    if isinstance(value, list):
        if value and all(type(item) is int for item in value):
            return [dice.randrange(270) for _ in range(dice.randrange(1, 4))]
        return [vary(child, dice) for child in value]
    if isinstance(value, str):
        return dice.choice([value, "", "a", value + "\n", 'q"', "\\", "é", "💥"])
    if type(value) is int:
        return dice.choice([value, value, 1, -1, 12])
    return dice.choice([value, value, None]) if dice.random() < 0.2 else value


def texts_of(body: bytes) -> list[bytes]:
    """The texts of a body, each put together from its pieces."""
    texts = []

    def find(text: bytes) -> list[FoundSecret]:
        texts.append(text)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_text, "_find_growing_runs", lambda _: ())  # these are no texts of their own
        assert split_text.find_split_secrets(body, find) == []
    return sorted(texts)


@given(streams())
@pytest.mark.slow
def test_layouts_read_what_a_parser_reads(body: bytes) -> None:
    parsed = texts_of(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_text, "_LONG", 0)
        patch.setattr(event_layouts, "_MOST_LAYOUTS", 3)
        assert texts_of(body) == parsed


def event(text: str) -> bytes:
    delta = {"index": 0, "delta": {"content": text}, "logprobs": None}
    return b"data: " + json.dumps({"id": "c-1", "choices": [delta]}).encode() + b"\n\n"


@pytest.mark.parametrize("ahead", slow_but([-20], range(-45, 10, 5)))
@pytest.mark.parametrize("overlaps", [1, 0], ids=["cut", "end"])
@pytest.mark.slow
def test_a_secret_in_pieces_is_found_where_a_window_is_cut_or_ends(
    ahead: int, overlaps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, overlap = use_small_windows(monkeypatch)
    other = event(" word")
    count = (window - overlaps * overlap) // len(other) + ahead
    after = overlap // len(other) + 200
    body = [other] * count + [event(piece) for piece in f" {KEY} "] + [other] * after
    parts = redact_in_parts(REDACTOR.redact_large_answer(is_stream=True), body)
    assert len(parts) > 1
    done = b"".join(part.data for part in parts)
    texts = [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in done.split(b"\n\n") if line]
    assert "".join(texts) == " word" * count + " [redacted] " + " word" * after
    assert sum(len(part.ends) for part in parts) == len(body)


def test_few_events_of_a_long_stream_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = split_text.parse_json
    monkeypatch.setattr(split_text, "parse_json", lambda data: parsed.append(data) or parse(data))
    body = b"".join([event(f" word{number}\n") for number in range(5000)])
    assert split_text.find_split_secrets(body, Scrubber({}, ()).find_secrets) == []
    assert len(parsed) < 10


def test_a_secret_in_byte_values_of_one_event_is_found_in_a_long_stream() -> None:
    def with_bytes(text: str) -> bytes:
        return b"data: " + json.dumps({"logprobs": {"token": "x", "bytes": list(text.encode())}}).encode() + b"\n\n"

    body = b"".join([*[with_bytes(" a")] * 2000, with_bytes(f" {KEY} "), *[with_bytes(" b")] * 2000])
    found = list(itertools.chain(*split_text.find_split_secrets(body, Scrubber({}, ()).find_secrets)))
    assert [body[one.start : one.end] for one in found] == [json.dumps(list(f" {KEY} ".encode()))[1:-1].encode()]


@pytest.mark.parametrize("long", [0, 1_000_000])
def test_the_beginning_of_a_secret_is_found_in_texts_that_grew_until_a_stream_was_cut_off(
    long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_text, "_LONG", long)
    key = "aB3dE5gH7jK9mN1pQ3sTuV5wX7"  # known, but of no known shape
    text = f"The key is {key}"
    events = [b'data: {"text": "%b"}\n\n' % text[:end].encode() for end in range(1, len(text) + 1)]
    body = b"".join(events[:-2]) + events[-1].partition(b" is ")[0]
    clean, _ = Scrubber({key: "a key"}, ()).scrub_bytes(body, split=True, cut_off=True)
    assert key[:4].encode() not in clean
    assert clean.count(b"[redacted]") > 20

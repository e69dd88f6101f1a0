"""A secret in pieces survives in no framing of a stream, however it is cut, and what holds none stays as it is."""

from __future__ import annotations

import base64
import itertools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.redaction import window_redaction
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.scrubber import Scrubber
from aquila.cassettes.redaction.split_secrets import split_text, stream_events
from tests.cassettes.redaction.test_redaction_everywhere import pieces_of, prose, shaped, values
from tests.support.cassettes import cut
from tests.support.examples import examples
from tests.support.large_answers import use_small_windows
from tests.support.slow import slow_but, slow_but_each

SHORTEST = 8
"""Of a known value that a stream broke off in, fewer characters than this may remain."""

OTHER = "the other text goes its own way"


class Framing(NamedTuple):
    """How a stream is written, and how its client reads the texts of it."""

    write: Callable[[Sequence[str]], str]
    read: Callable[[str], str]


def sse(events: Sequence[str], end: str = "\n", field: str = "data: ") -> str:
    return "".join(f"{field}{event}{end}{end}" for event in events)


def data_of(text: str) -> Iterator[str]:
    """The data of server-sent events, as the standard says."""
    lines: list[str] = []
    for line in re.split(r"\r\n|\n|\r", text):
        if line == "" and lines:
            yield "\n".join(lines)
            lines = []
        elif line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))


def chat(piece: str, index: int = 0) -> dict[str, Any]:
    return {"id": "c-1", "choices": [{"index": index, "delta": {"content": piece}, "finish_reason": None}]}


def content_of(events: Sequence[Any]) -> str:
    return "".join(choice["delta"]["content"] for event in events for choice in event["choices"] if not choice["index"])


def write_chat(end: str) -> Callable[[Sequence[str]], str]:
    return lambda pieces: sse([json.dumps(chat(piece)) for piece in pieces] + ["[DONE]"], end)


def read_chat(text: str) -> str:
    return content_of([json.loads(data) for data in data_of(text) if data != "[DONE]"])


def woven(mine: Sequence[Any], others: Callable[[str], Any]) -> list[Any]:
    """Events with those of another text between them, each of which has a piece of it."""
    words = itertools.cycle(re.findall(r"\S+ ?", OTHER))
    return [event for one in mine for event in (one, others(next(words)))]


def item(piece: str, item_id: str, event: int) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "event_id": f"e-{event}", "item_id": item_id, "delta": piece}


def write_items(pieces: Sequence[str]) -> str:
    number = itertools.count()
    mine = [item(piece, "msg-1", next(number)) for piece in pieces]
    return sse([json.dumps(event) for event in woven(mine, lambda word: item(word, "msg-2", next(number)))])


def read_items(text: str) -> str:
    events = [json.loads(data) for data in data_of(text)]
    return "".join(event["delta"] for event in events if event["item_id"] == "msg-1")


def write_anthropic(pieces: Sequence[str]) -> str:
    """A text that begins in the event that opens its block."""

    def delta(piece: str, index: int) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}

    first = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": pieces[0]}}
    rest = woven([delta(piece, 0) for piece in pieces[1:]], lambda word: delta(word, 1))
    return sse([json.dumps(event) for event in (first, *rest)], field="event: x\ndata: ")


def read_anthropic(text: str) -> str:
    events = [json.loads(data) for data in data_of(text)]
    mine = [event for event in events if event["index"] == 0]
    return "".join((event.get("delta") or event["content_block"])["text"] for event in mine)


def write_arguments(pieces: Sequence[str]) -> str:
    """The text is a field of JSON in a string, which is cut in its escapes too."""
    text = json.dumps({"key": "".join(pieces)}, ensure_ascii=len(pieces) % 2 == 0)
    size = max(1, len(text) // len(pieces))
    calls = [{"index": 0, "function": {"arguments": text[at : at + size]}} for at in range(0, len(text), size)]
    return sse([json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) for call in calls])


def read_arguments(text: str) -> str:
    events = [json.loads(data)["choices"][0]["delta"]["tool_calls"][0] for data in data_of(text)]
    return str(json.loads("".join(event["function"]["arguments"] for event in events))["key"])


def read_gemini(text: str) -> str:
    return "".join(one["candidates"][0]["content"]["parts"][0]["text"] for one in json.loads(text))


def gemini(piece: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": piece}], "role": "model"}}], "responseId": "r-1"}


def write_gemini(pieces: Sequence[str]) -> str:
    return "[" + ",\r\n".join(json.dumps(gemini(piece), indent=2) for piece in pieces) + "\n]"


def write_many_lines(pieces: Sequence[str]) -> str:
    """Each event has its JSON on several lines of data."""
    events = [json.dumps(chat(piece), indent=1).replace("\n", "\ndata: ") for piece in pieces]
    return sse(events)


def logprobs(piece: str) -> dict[str, Any]:
    token = {"token": piece, "logprob": -0.5, "bytes": list(piece.encode()), "top_logprobs": []}
    return {"choices": [{"index": 0, "delta": {"content": piece}, "logprobs": {"content": [token]}}]}


def read_logprobs(text: str) -> str:
    """The text, which is there once more as tokens, and as bytes without those that were a part of a secret."""
    choices = [json.loads(data)["choices"][0] for data in data_of(text)]
    said = "".join(choice["delta"]["content"] for choice in choices)
    tokens = [token for choice in choices for token in choice["logprobs"]["content"]]
    assert "".join(token["token"] for token in tokens) == said
    spelt = bytes(itertools.chain.from_iterable(token["bytes"] for token in tokens))
    before, _, after = said.encode().partition(b"[redacted]")
    assert any(before.startswith(spelt[:at]) and after.endswith(spelt[at:]) for at in range(len(spelt) + 1))
    return said


def concatenated(text: str) -> Iterator[Any]:
    decode, at = json.JSONDecoder().raw_decode, 0
    while at < len(text):
        value, at = decode(text, at)
        yield value


def write_new_ids(pieces: Sequence[str]) -> str:
    """Each event has an id of its own, and another text stands in a field of the same name."""
    events = woven([*map(chat, pieces)], lambda word: {"choices": [], "other": {"index": 0, "content": word}})
    return sse([json.dumps({**event, "id": f"c-{number}"}) for number, event in enumerate(events)])


FRAMINGS: dict[str, Framing] = {
    "chat": Framing(write_chat("\n"), read_chat),
    "chat, CR LF": Framing(write_chat("\r\n"), read_chat),
    "chat, CR alone": Framing(write_chat("\r"), read_chat),
    "choices": Framing(
        lambda pieces: sse([json.dumps(e) for e in woven([*map(chat, pieces)], lambda word: chat(word, 1))]), read_chat
    ),
    "new ids": Framing(write_new_ids, read_chat),
    "strings": Framing(
        lambda pieces: sse([json.dumps(piece) for piece in pieces]),
        lambda text: "".join(map(json.loads, data_of(text))),
    ),
    "plain": Framing(sse, lambda text: "".join(data_of(text))),
    "Vercel": Framing(
        lambda pieces: "".join(f"0:{json.dumps(p)}\n" for p in pieces) + 'd:{"finishReason":"stop"}\n',
        lambda text: "".join(json.loads(line[2:]) for line in text.split("\n") if line.startswith("0:")),
    ),
    "Vercel, interleaved": Framing(
        lambda pieces: "".join(f"{line}\n" for p in pieces for line in (f"0:{json.dumps(p)}", 'g:"hm "')),
        lambda text: "".join(json.loads(line[2:]) for line in text.split("\n") if line.startswith("0:")),
    ),
    "concatenated": Framing(
        lambda pieces: "".join(json.dumps({"text": piece}) for piece in pieces),
        lambda text: "".join(value["text"] for value in concatenated(text)),
    ),
    "lines": Framing(
        lambda pieces: "".join(json.dumps({"message": {"content": p}, "done": False}) + "\n" for p in pieces),
        lambda text: "".join(json.loads(line)["message"]["content"] for line in text.splitlines()),
    ),
    "sequence": Framing(
        lambda pieces: "".join("\x1e" + json.dumps({"text": p}) + "\n" for p in pieces),
        lambda text: "".join(json.loads(line[1:])["text"] for line in text.split("\n") if line),
    ),
    "Gemini": Framing(write_gemini, read_gemini),
    "many lines": Framing(write_many_lines, read_chat),
    "items": Framing(write_items, read_items),
    "Anthropic": Framing(write_anthropic, read_anthropic),
    "arguments": Framing(write_arguments, read_arguments),
    "log probabilities": Framing(lambda pieces: sse([json.dumps(logprobs(each)) for each in pieces]), read_logprobs),
}


def scrubbed(redactor: Redactor, body: bytes, places: Sequence[int] = (), end: str = "complete") -> bytes:
    response = RecordedResponse(200, (), cut(body, places, range(len(places) + 1)), end)  # type: ignore[arg-type]
    once = redactor.redact_response(response)
    assert redactor.redact_response(once) is once
    assert [chunk.at for chunk in once.chunks] == [chunk.at for chunk in response.chunks]
    return once.body


SIZES = ("short", "long")
"""A long stream is looked at as a whole first, a short one not."""

places = st.lists(st.integers(0, 10_000), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("framing", "size"),
    slow_but([*zip(FRAMINGS, itertools.cycle(SIZES))], itertools.product(FRAMINGS, SIZES), of_several_names=True),
)
@given(secret=shaped | values, before=prose, after=prose, places=places, chunks=places)
@example(secret="Zq81-made-up-for-this-4711", before="in", after="two", places=[12], chunks=[0])
@settings(max_examples=examples(15), deadline=None)
def test_a_secret_in_pieces_becomes_a_placeholder(
    framing: str, size: str, secret: str, before: str, after: str, places: list[int], chunks: list[int]
) -> None:
    before, after = (re.sub(r"\s", " ", text) if framing == "plain" else text for text in (before, after))
    assume(secret not in f"{before} {after}.")
    pieces = pieces_of(f"{before} {secret} {after}.", places)
    body = FRAMINGS[framing].write(pieces).encode()
    with pytest.MonkeyPatch.context() as patch:
        if size == "long":
            patch.setattr(split_text, "_LONG", 0)
        stored = scrubbed(Redactor({secret: "x"}), body, chunks)
    said = FRAMINGS[framing].read(stored.decode())
    # A quote in it may be the one that ends a text of JSON. Then the bytes hold it as a whole, and lose that quote.
    if '"' in secret and not any(secret in piece for piece in pieces):
        assert secret not in said
    else:
        assert said == f"{before} [redacted] {after}."


@pytest.mark.parametrize("framing", slow_but_each(3, FRAMINGS))
@given(
    text=st.text(min_size=1, max_size=300), places=places, chunks=places, end=st.sampled_from(["complete", "broken"])
)
@settings(max_examples=examples(15), deadline=None)
def test_a_stream_without_secrets_stays_as_it_is(
    framing: str, text: str, places: list[int], chunks: list[int], end: str
) -> None:
    body = FRAMINGS[framing].write(pieces_of(text, places)).encode("utf-8", "replace")
    assert scrubbed(Redactor({"Zq81-not-in-this-text-4711": "x"}), body, chunks, end) == body


@pytest.mark.parametrize("framing", slow_but_each(3, FRAMINGS))
@given(secret=shaped, places=places, dice=st.randoms(use_true_random=False))
@settings(max_examples=examples(25), deadline=None)
def test_little_remains_of_a_known_value_in_which_a_stream_broke_off(
    framing: str, secret: str, places: list[int], dice: random.Random
) -> None:
    body = FRAMINGS[framing].write(pieces_of(f"é so: {secret} é", places)).encode()
    broken = body[: dice.randrange(len(body))]
    stored = scrubbed(Redactor({secret: "x"}), broken, end="broken")
    for reading in (stored, *curious_readings(stored)):
        for start in range(len(secret) - SHORTEST + 1):
            assert secret[start : start + SHORTEST].encode() not in reading


def curious_readings(stored: bytes) -> Iterator[bytes]:
    """The texts that a reader may put together from a stream that broke off: of each field, and of each ``data:``."""
    yield b"".join(re.findall(rb"data: ([^\n]*)", stored))
    fields: dict[bytes, list[bytes]] = {}
    for name, text in re.findall(rb'(?:"(\w+)\\?": ?|(?:data: |^0:))"((?:[^"\\\n]|\\.)*)', stored, re.MULTILINE):
        if text.decode(errors="replace") not in re.findall(r"\S+ ?", OTHER):
            fields.setdefault(name, []).append(text)
    for texts in fields.values():
        yield b"".join(texts)


def perplexity(piece: str, so_far: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": piece}, "message": {"content": so_far}}]}


@pytest.mark.parametrize("size", ["short", "long"])
@pytest.mark.parametrize("write", [lambda piece, so_far: {"text": so_far}, perplexity], ids=["alone", "with deltas"])
@given(secret=shaped | values, before=prose, after=prose, places=places, chunks=places)
@example(secret="Zq81-made-up-for-this-4711", before="in", after="two", places=[12], chunks=[0])
@settings(max_examples=examples(15), deadline=None)
def test_texts_that_each_event_repeats_and_lengthens_hold_no_beginning_of_a_secret(
    write: Callable[[str, str], object],
    size: str,
    secret: str,
    before: str,
    after: str,
    places: list[int],
    chunks: list[int],
) -> None:
    assume(secret not in f"{before} {after}.")
    pieces = pieces_of(f"{before} {secret} {after}.", places)
    body = sse([json.dumps(write(piece, "".join(pieces[: at + 1]))) for at, piece in enumerate(pieces)]).encode()
    with pytest.MonkeyPatch.context() as patch:
        if size != "short":
            patch.setattr(split_text, "_LONG", 0)
        stored = scrubbed(Redactor({secret: "x"}), body, chunks).decode()
    texts = [
        event["choices"][0]["message"]["content"] if "choices" in event else event["text"]
        for event in map(json.loads, data_of(stored))
    ]
    # The beginnings of a key may look like keys of their own, and have the first numbers.
    assert re.sub(r"\[redacted-\d\]", "[redacted]", texts[-1]) == f"{before} [redacted] {after}."
    for text in texts:
        assert not any(secret[at : at + 8] in text for at in range(max(1, len(secret) - 7)))


@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 400), min_size=2, max_size=12))
@settings(max_examples=examples(40), deadline=None)
def test_audio_is_left_alone(seed: int, sizes: list[int]) -> None:
    dice = random.Random(seed)
    deltas = [base64.b64encode(dice.randbytes(size)).decode() for size in sizes]
    body = sse([json.dumps({"type": "response.audio.delta", "item_id": "i", "delta": delta}) for delta in deltas])
    known = Redactor({"Zq81-not-in-this-text-4711": "x"})
    assert scrubbed(known, body.encode()) == body.encode()


def test_several_secrets_of_a_stream_are_numbered_in_order() -> None:
    one, two = "Zq81-made-up-for-this-4711", "Zq82-made-up-for-this-4712"
    body = write_chat("\n")(pieces_of(f"first {two}, then {one}, then {two}.", range(0, 90, 7)))
    stored = scrubbed(Redactor({one: "x", two: "y"}), body.encode())
    assert read_chat(stored.decode()) == "first [redacted], then [redacted-2], then [redacted]."


def test_a_field_that_occurs_twice_hides_nothing() -> None:
    key = "Zq81-made-up-for-this-4711"
    body = "".join(f'data: {{"text": "{piece}", "text": ""}}\n\n' for piece in pieces_of(key, [9, 15]))
    assert re.findall('"text": "([^"]*)", ', scrubbed(Redactor({key: "x"}), body.encode()).decode()) == [
        "[redacted]",
        "",
        "",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["Vercel", "concatenated", "lines", "sequence", "Gemini", "items", "many lines"])
@pytest.mark.parametrize("ahead", range(-24, 10, 8))
def test_a_secret_in_pieces_is_found_where_a_window_of_a_large_stream_ends(
    framing: str, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, overlap = use_small_windows(monkeypatch)
    secret = "Zq81-made-up-for-this-4711"
    write, read = FRAMINGS[framing]
    size = len(write([" word"] * 3)) - len(write([" word"] * 2))
    count = (window - overlap) // size + ahead
    after = overlap // size + 200
    body = write([" word"] * count + list(f" {secret} ") + [" word"] * after).encode()
    assert stream_events.may_come_in_pieces(body[: stream_events.BEGINNING])
    parts = list(window_redaction.redact_pieces([body], Scrubber({secret: "x"}, ()), is_stream=True))
    assert len(parts) > 1
    assert read(b"".join(part.data for part in parts).decode()) == " word" * count + " [redacted] " + " word" * after

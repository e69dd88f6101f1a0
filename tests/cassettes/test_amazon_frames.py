"""Event streams of AWS: no secret survives in a payload, in pieces or in base64, and clients read what is left."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from tests.cassettes.redaction.test_redaction_everywhere import pieces_of, prose, shaped, values
from tests.support.amazon import frame
from tests.support.cassettes import cut
from tests.support.examples import examples
from tests.support.large_answers import redact_in_parts, use_small_windows
from tests.support.slow import slow_but

MEDIA = (("content-type", "application/vnd.amazon.eventstream"),)


def converse(pieces: Sequence[str]) -> bytes:
    events = [{"contentBlockIndex": 0, "delta": {"text": piece}, "p": "abcdefghij"} for piece in pieces]
    named = {":event-type": "contentBlockDelta"}
    return b"".join(frame(json.dumps(event).encode(), **named) for event in events)


def invoke(pieces: Sequence[str]) -> bytes:
    def inner(piece: str) -> str:
        event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        return base64.b64encode(json.dumps(event).encode()).decode()

    return b"".join(frame(json.dumps({"bytes": inner(piece), "p": "abc"}).encode()) for piece in pieces)


def parts(pieces: Sequence[str]) -> bytes:
    """The frames that SageMaker streams: a text, cut anywhere."""
    return b"".join(frame(piece.encode(), **{":content-type": "application/octet-stream"}) for piece in pieces)


def payloads(data: bytes) -> list[bytes]:
    """The payloads that botocore reads. It compares both checksums of each frame."""
    buffer = EventStreamBuffer()  # type: ignore[no-untyped-call]
    buffer.add_data(data)  # type: ignore[no-untyped-call]
    return [message.payload for message in buffer]


def read_converse(data: bytes) -> str:
    return "".join(json.loads(payload)["delta"]["text"] for payload in payloads(data))


def read_invoke(data: bytes) -> str:
    inner = [json.loads(base64.b64decode(json.loads(payload)["bytes"])) for payload in payloads(data)]
    return "".join(event["delta"]["text"] for event in inner)


def read_parts(data: bytes) -> str:
    return b"".join(payloads(data)).decode()


FRAMINGS = {"converse": (converse, read_converse), "invoke": (invoke, read_invoke), "parts": (parts, read_parts)}


def scrubbed(redactor: Redactor, body: bytes, places: Sequence[int] = (), end: str = "complete") -> bytes:
    chunks = cut(body, places)
    response = RecordedResponse(200, MEDIA, chunks, end)  # type: ignore[arg-type]
    once = redactor.redact_response(response)
    assert redactor.redact_response(once) is once
    assert len(once.chunks) == len(chunks)
    return once.body


places = st.lists(st.integers(0, 10_000), min_size=1, max_size=12)


@pytest.mark.parametrize("framing", FRAMINGS)
@given(secret=shaped | values, before=prose, after=prose, places=places, chunks=places)
@settings(max_examples=examples(25), deadline=None)
def test_a_secret_in_pieces_becomes_a_placeholder(
    framing: str, secret: str, before: str, after: str, places: list[int], chunks: list[int]
) -> None:
    assume(secret not in f"{before} {after}.")
    write, read = FRAMINGS[framing]
    body = write(pieces_of(f"{before} {secret} {after}.", places))
    stored = scrubbed(Redactor({secret: "x"}), body, chunks)
    assert read(stored) == f"{before} [redacted] {after}."
    assert len(payloads(stored)) == len(payloads(body))


@pytest.mark.parametrize("framing", FRAMINGS)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), places=places)
@settings(max_examples=examples(20), deadline=None)
def test_a_stream_without_secrets_stays_as_it_is(framing: str, text: str, places: list[int]) -> None:
    body = FRAMINGS[framing][0](pieces_of(text, places))
    assert scrubbed(Redactor({"Zq81-not-in-this-text-4711": "x"}), body, places) == body


@pytest.mark.parametrize("framing", FRAMINGS)
@given(secret=shaped, places=places, dice=st.randoms(use_true_random=False))
@settings(max_examples=examples(25), deadline=None)
def test_a_stream_that_broke_off_holds_no_secret_and_no_damaged_frame(
    framing: str, secret: str, places: list[int], dice: random.Random
) -> None:
    write, _ = FRAMINGS[framing]
    whole = write(pieces_of(f"so: {secret} ", places))
    stored = scrubbed(Redactor({secret: "x"}), whole[: dice.randrange(len(whole))], end="broken")
    buffer = EventStreamBuffer()  # type: ignore[no-untyped-call]
    buffer.add_data(stored)  # type: ignore[no-untyped-call]
    texts = b"".join(message.payload for message in buffer)
    for start in range(len(secret) - 8):
        assert secret[start : start + 9].encode() not in texts + stored


@pytest.mark.parametrize(
    "write",
    [
        lambda key: frame(b"{}", **{":error-message": f"bad key {key}", ":exception-type": "denied"}),
        lambda key: frame(json.dumps({"user": key, "bytes": "e30=", "p": f"a {key}"}).encode()),
        lambda key: frame(b"{}") + f"no frame: {key}".encode(),
    ],
    ids=["header fields", "around base64", "behind the frames"],
)
def test_what_lies_beside_the_texts_is_scrubbed_too(write: Callable[[str], bytes]) -> None:
    secret = "Zq81-not-shaped-like-a-key-4711"
    assert scrubbed(Redactor({secret: "x"}), write(secret)) == write("[redacted]")


@pytest.mark.parametrize("framing", slow_but(["converse"], FRAMINGS))
@pytest.mark.parametrize("ahead", slow_but([-14], range(-30, 10, 8)))
@pytest.mark.parametrize("overlaps", [1, 0], ids=["cut", "end"])
@pytest.mark.slow
def test_a_secret_is_found_where_a_window_of_a_large_stream_is_cut_or_ends(
    framing: str, ahead: int, overlaps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, overlap = use_small_windows(monkeypatch)
    secret = "Zq81-not-shaped-like-a-key-4711"
    write, read = FRAMINGS[framing]
    other = write([" word"])
    count = (window - overlaps * overlap) // len(other) + ahead
    after = overlap // len(other) + 200
    chunks = [*[other] * count, *[write([piece]) for piece in f" {secret} "], *[other] * after]
    parts = redact_in_parts(Redactor({secret: "x"}).redact_large_answer(is_stream=True), chunks)
    assert len(parts) > 1
    assert read(b"".join(part.data for part in parts)) == " word" * count + " [redacted] " + " word" * after

"""Large bodies are redacted window by window: wherever a secret lies, and however the body is cut into chunks."""

from __future__ import annotations

import base64
import itertools
import json
import random
import re

import pytest

from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction import secret_patterns, window_redaction
from aquila.cassettes.redaction.redactor import Redactor
from tests.support.large_answers import redact_in_parts, use_small_windows
from tests.support.slow import slow_but

PASSWORD = "hunter2-horse-battery"
SHAPED = "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0"
SEEDS = slow_but([4, 9], range(12))
"""With those that are not slow a window ends within a secret that was found in it."""
NO_TEXT = "hunter2\x01horse\x7fbattery"
REDACTOR = Redactor({PASSWORD: "value of PASSWORD", "kurz-1zü": "value of SHORT", NO_TEXT: "value of CONTROLS"})


def filler(kind: str, size: int, dice: random.Random) -> bytes:
    if kind == "binary":
        return dice.randbytes(size)
    if kind == "base64":
        return base64.b64encode(dice.randbytes(size))[:size]
    if kind == "one letter":
        return b"a" * size
    return b"".join(b"line %d of a text\n" % n for n in range(size // 16))[:size]


def clean(body: bytes, dice: random.Random, *, is_stream: bool = False) -> tuple[bytes, list[int]]:
    """The clean body of chunks of random sizes, and where its chunks end."""
    chunks, rest = [], body
    while rest:
        size = dice.choice((1, 100, 4000, 65_536, 700_000))
        chunks.append(rest[:size])
        rest = rest[size:]
    done, ends = b"", list[int]()
    for part in redact_in_parts(REDACTOR.redact_large_answer(is_stream=is_stream), chunks):
        ends += [len(done) + end for end in part.ends]
        done += part.data
    assert len(ends) == len(chunks)
    assert ends == sorted(ends)
    assert ends[-1] == len(done)
    return done, ends


@pytest.mark.parametrize("kind", ["binary", "base64", "text", "one letter"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_secret_is_found_wherever_windows_and_chunks_end(kind: str, seed: int) -> None:
    dice = random.Random(f"{kind} {seed}")
    window, overlap = window_redaction.WINDOW, window_redaction.OVERLAP
    borders = [window - overlap, window, 2 * (window - overlap), 2 * window - overlap]
    secrets = [f' "{PASSWORD}" ', f" {SHAPED} ", " Bearer abcdef0123456789abcdef ", ' {"api_key": "abcdef0123456789"} ']
    secret = dice.choice(secrets).encode()
    body = filler(kind, 600_000, dice)
    at = dice.choice(borders) - dice.randrange(len(secret) + 2)
    body = body[:at] + secret + body[at:]
    done, _ = clean(body, dice)
    words = (PASSWORD, SHAPED, "abcdef0123456789abcdef", "abcdef0123456789")
    assert not any(word.encode() in done for word in words)
    assert done.count(b"[redacted]") == 1
    assert done.partition(b"[redacted]")[0] == body[: body.index(next(w.encode() for w in words if w.encode() in body))]


def test_a_secret_across_the_end_of_a_window_is_found_by_the_next_one() -> None:
    for before in range(1, len(PASSWORD), 3):
        body = bytes(window_redaction.WINDOW - before) + PASSWORD.encode() + bytes(window_redaction.WINDOW)
        parts = [part.data for part in redact_in_parts(REDACTOR.redact_large_answer(is_stream=False), [body])]
        assert (b"".join(parts), len(parts)) == (body.replace(PASSWORD.encode(), b"[redacted]"), 3), before


@pytest.mark.parametrize("value", ["kurz-1zü", NO_TEXT])
def test_a_value_that_is_short_or_no_text_is_found_in_binary_data(value: str) -> None:
    body = b"\0" * 300_000 + b"\xff" + value.encode() + b"\xff" + bytes(300_000)
    done, _ = clean(body, random.Random(1))
    assert done == body.replace(value.encode(), b"[redacted]")


def test_added_rules_find_what_is_short_or_no_ascii_in_binary_messages() -> None:
    redactor = Redactor({}, [r"KD-\d{6}", "Jörg Müller"])
    message = b"\x83\xa2id\xa9KD-123456\xa4name\xad" + "Jörg Müller".encode() + b"\xcb\xff\x00" * 40
    clean = redactor.redact_message(message)
    assert clean == message.replace(b"KD-123456", b"[redacted]").replace("Jörg Müller".encode(), b"[redacted]")


@pytest.mark.parametrize("kind", ["binary", "base64", "text"])
def test_a_body_without_secrets_stays_what_it_is(kind: str) -> None:
    dice = random.Random(kind)
    body = filler(kind, 900_000, dice)
    assert clean(body, dice)[0] == body


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stretch_that_was_searched_before_stays_and_all_around_it_is_searched(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(window_redaction, "STREAM_WINDOW", 8_000)
    monkeypatch.setattr(window_redaction, "STREAM_OVERLAP", 2_000)
    dice = random.Random(seed)
    redactor = REDACTOR.redact_large_answer(is_stream=True)
    parts, expected = [], b""
    for _ in range(60):
        size = dice.choice((3, 900, 3_000, 20_000))
        if dice.random() < 0.5:  # by chance it looks like a key
            head = b"event: received-binary\ndata: "
            value = base64.b64encode(dice.randbytes(size)) + b"/AKIAABCDEFGH234567AB/"
            redactor.add_chunk(head + value + b"\n\n", (len(head), len(head) + len(value)))
            expected += head + value + b"\n\n"
        else:
            secret = dice.choice((PASSWORD, SHAPED, "eagles"))
            text = json.dumps({"said": " word" * dice.randrange(1, size // 10 + 2) + " " + secret}).encode()
            redactor.add_chunk(b"data: " + text + b"\n\n")
            clean_text = text.replace(PASSWORD.encode(), b"[redacted]").replace(SHAPED.encode(), b"[redacted]")
            expected += b"data: " + clean_text + b"\n\n"
        while redactor.is_full:
            parts.append(redactor.take_part())
    parts.append(redactor.take_rest(cut_off=dice.random() < 0.5))
    done = b"".join(part.data for part in parts)
    assert re.sub(rb"\[redacted-\d+\]", b"[redacted]", done) == expected
    ends: list[int] = []
    before = 0
    for part in parts:
        ends += [before + end for end in part.ends]
        before += len(part.data)
    assert [done[end - 2 : end] for end in ends] == [b"\n\n"] * 60


@pytest.mark.slow
def test_a_secret_in_pieces_of_a_long_stream_is_found_across_windows() -> None:
    def event(text: str) -> bytes:
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"

    before = [event(f" word{n}") for n in range(30_000)]
    sizes = itertools.accumulate(map(len, before))
    border = window_redaction.STREAM_WINDOW - window_redaction.STREAM_OVERLAP - 400
    place = next(number for number, size in enumerate(sizes) if size > border)
    pieces = [event(PASSWORD[at : at + 2]) for at in range(0, len(PASSWORD), 2)]
    body = b"".join([*before[:place], *pieces, *before[place:]])
    done, _ = clean(body, random.Random(3), is_stream=True)
    texts = [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in done.decode().split("\n\n") if line]
    assert PASSWORD not in "".join(texts)
    assert "".join(texts).count("[redacted]") == 1
    assert done.count(b"word") == body.count(b"word")


def test_a_large_request_and_a_large_answer_are_searched_too() -> None:
    body = b"x " * 300_000 + SHAPED.encode() + b" x" * 300_000
    request = REDACTOR.redact_request(RecordedRequest("POST", "https://x.test/", (), body))
    assert request.body == body.replace(SHAPED.encode(), b"[redacted]")
    chunks = tuple(RecordedChunk(body[at : at + 65_536]) for at in range(0, len(body), 65_536))
    response = REDACTOR.redact_response(RecordedResponse(200, (), chunks))
    assert response.body == request.body
    assert len(response.chunks) == len(chunks)


def test_a_secret_that_looks_like_the_end_of_an_event_is_not_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    window, overlap = use_small_windows(monkeypatch)
    redactor = Redactor({"hunter2-horse-batt}{": "value of PASSWORD"})
    parts = [b'{"delta":"hunter2-horse-"}{"delta":"batt}{","pad":"', b"word " * (overlap // 4) + b'"}']
    event = b'{"delta":"abc"}'
    before = event * ((window - overlap - 100) // len(event))
    body = before + b"".join(parts) + event * (window // len(event))
    done = b"".join(part.data for part in redact_in_parts(redactor.redact_large_answer(is_stream=True), [body]))
    assert b"hunter2-horse" not in done
    assert b"batt}{" not in done


def test_rules_of_a_project_change_large_bodies_too() -> None:
    redactor = Redactor(extra=[r"acct-\d+", lambda text: text.replace("Alice", "Somebody")])
    body = b"fill " * 100_000 + b"acct-123 Alice " + b"fill " * 100_000
    chunks = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
    parts = redact_in_parts(redactor.redact_large_answer(is_stream=False), chunks)
    assert b"".join(part.data for part in parts) == body.replace(b"acct-123", b"[redacted]").replace(
        b"Alice", b"Somebody"
    )


@pytest.mark.slow
def test_searching_for_prefixes_finds_what_looking_at_every_run_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(11)
    tokens = [
        *(SHAPED, "ghp_" + "a1B2" * 9, "AKIA" + "ABCDEFGH234567AB", "AIza" + "a1B2c3-_" * 4 + "abc"),
        *("hf_" + "a1B2" * 9, "xoxb-" + "1234567890-abcdefgh", "ya29." + "a1B2" * 8, "npm_" + "a1B2" * 9),
    ]
    for _ in range(30):
        pieces = [base64.b64encode(dice.randbytes(dice.randrange(20, 90))).decode() for _ in range(2000)]
        for _ in range(8):
            pieces.insert(dice.randrange(len(pieces)), dice.choice(tokens))
        data = dice.choice((" ", "+", "/", ".", "\\n")).join(pieces).encode()
        flat = data.translate(secret_patterns.FLATTENING)
        fast = list(secret_patterns._find_prefixed_keys(data, flat))
        with monkeypatch.context() as patched:
            patched.setattr(secret_patterns, "_MANY_RUNS", 10**9)
            assert fast == list(itertools.chain(secret_patterns._find_prefixed_keys(data, flat)))

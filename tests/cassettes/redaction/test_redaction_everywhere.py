"""No secret survives: for all secrets, in all places, cut in all ways."""

import ast
import base64
import html
import itertools
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.redaction.trivial_values import is_trivial
from tests.cassettes.redaction.test_key_shapes import KEYS, MIXED, make_key
from tests.support.cassettes import cut
from tests.support.examples import examples
from tests.support.slow import slow_but_each
from tests.support.values import is_number

RULES = MatchRules()

# Keys as their makers make them, and random texts with digits and letters. Not keys with a plus sign or slashes, which
# mean something else in forms and URLs.
AMBIGUOUS = ("1//0", "whsec_", "IQoJ", "FwoG", "ABSK", "bedrock-", "fm2_", "glc_", "sntrys_", "ops_")
shaped = st.builds(
    lambda key, seed: make_key(*key, seed),
    st.sampled_from([key for key in KEYS if not key[0].startswith(AMBIGUOUS)]),
    st.integers(0, 2**32),
)
shapeless = st.integers(0, 2**32).map(lambda seed: make_key("", 24, MIXED, seed))
values = (
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=8, max_size=30).map(str.strip)
    | st.text("abcXYZ0189+/=_-\\\"'%&?:@ {}[]<>", min_size=8, max_size=40).map(str.strip)
    | shapeless
).filter(lambda value: not is_trivial(value) and not (value.isalpha() and len(value) < 20) and not is_number(value))
# Prose in which no part of a secret can be found by chance.
prose = st.text("éßø .,\n\t→", max_size=12)


def escaped(value: Any, dice: random.Random) -> str:
    """JSON in which any character may be escaped, needed or not."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{escaped(v, dice)}" for k, v in value.items()) + "}"

    def written(char: str) -> str:
        if ord(char) < 0x10000 and dice.random() < 0.3:
            return f"\\u{ord(char):04{dice.choice('xX')}}"
        return (
            "\\/" if char == "/" and dice.random() < 0.5 else json.dumps(char, ensure_ascii=dice.random() < 0.5)[1:-1]
        )

    return '"' + "".join(map(written, value)) + '"'


def percented(text: str, dice: random.Random) -> str:
    return "".join(quote(b, safe="") if dice.random() < 0.6 else f"%{b[0]:02x}" for b in map(bytes, zip(text.encode())))


def encoded(text: str, dice: random.Random) -> str:
    """Base64 of a text around the secret, at a random alignment."""
    raw = dice.randbytes(dice.randrange(4)) + text.encode() + dice.randbytes(dice.randrange(4))
    return (base64.b64encode if dice.random() < 0.5 else base64.urlsafe_b64encode)(raw).decode()


MULTIPART = '--b1\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n{}\r\n--b1--\r\n'

# Where a text may stand in a body. What is JSON must stay JSON.
PLACES: dict[str, Callable[[str, random.Random], str]] = {
    "text": lambda text, dice: text,
    "json": lambda text, dice: json.dumps({"a": text, "b": 1}),
    "json, plain": lambda text, dice: json.dumps({"a": [text]}, ensure_ascii=False),
    "json, escaped": lambda text, dice: escaped({"a": text}, dice),
    "json in json": lambda text, dice: json.dumps({"arguments": json.dumps({"a": text})}),
    "json in json, escaped": lambda text, dice: escaped({"arguments": escaped({"a": text}, dice)}, dice),
    "json in json in json": lambda text, dice: json.dumps({"a": json.dumps({"b": json.dumps([text])})}),
    "json key": lambda text, dice: json.dumps({text: 1}),
    "query": lambda text, dice: "https://x.example/a?" + urlencode({"q": text}),
    "percent": percented,
    "percent in json": lambda text, dice: json.dumps({"url": "https://x/" + percented(text, dice)}),
    "form": lambda text, dice: urlencode({"a": text, "b": "c"}),
    "multipart": lambda text, dice: MULTIPART.format(text),
}
BASE64: dict[str, Callable[[str, random.Random], str]] = {
    "base64": lambda text, dice: f"before {encoded(text, dice)} after",
    "base64 in json": lambda text, dice: json.dumps({"data": "x:" + encoded(text, dice)}),
    "base64 in json, escaped": lambda text, dice: escaped({"data": encoded(text, dice)}, dice),
}


def readings(data: bytes, depth: int = 3) -> set[bytes]:
    """All that bytes may be read as: escapes are decoded, several times and in each way, and then base64."""
    found = {data}
    if depth:
        unescaped = re.sub(
            rb'\\(?:u([0-9a-fA-F]{4})|(["\\/]))',
            lambda m: chr(int(m[1], 16)).encode("utf-8", "surrogatepass") if m[1] else m[2],
            data,
        )
        for other in {unescaped, unquote_to_bytes(data), unquote_to_bytes(data.replace(b"+", b" "))} - {data}:
            found |= readings(other, depth - 1)
    if depth == 3:
        for text in set(re.findall(rb"[A-Za-z0-9+/_-]{10,}", b"\n".join(found))):
            for start in range(4):
                padded = text[start:].translate(bytes.maketrans(b"-_", b"+/"))
                found.add(base64.b64decode(padded[: len(padded) // 4 * 4]))
    return found


def survives(secret: str, data: bytes) -> bool:
    return any(secret.encode() in reading for reading in readings(data))


cuts = st.lists(st.integers(0, 10_000), max_size=6)


def check(redactor: Redactor, secret: str, body: bytes, places: Sequence[int], *, asked: bytes | None = None) -> bytes:
    """Scrub a body as an answer and as a request; return it as it is stored."""
    sent = body if asked is None else asked
    request = RecordedRequest(
        "POST", f"https://x.example/v1?q={quote(secret)}", (("content-type", "text/plain"),), sent
    )
    response = RecordedResponse(
        200,
        (("x-echo", secret), ("server", secret), ("x-request-id", secret)),
        cut(body, places, range(len(places) + 1)),
        "broken",
        secret,
        3,
        9,
    )
    once = redactor.redact_interaction(Interaction(request, response, "2026-01-02T03:04:05Z"))
    stored = once.response.body
    assert redactor.redact_interaction(once) is once
    assert [chunk.at for chunk in once.response.chunks] == [chunk.at for chunk in response.chunks]
    assert (once.response.started, once.response.ended, once.recorded) == (3, 9, "2026-01-02T03:04:05Z")
    assert [name for name, _ in once.response.headers] == ["x-echo", "x-request-id"]
    for field in (stored, once.request.body, once.request.url.encode(), once.response.error.encode()):
        assert not survives(secret, field)
    for _, value in once.response.headers:
        assert not survives(secret, value.encode())
    return stored


@pytest.mark.parametrize("place", [*PLACES, *BASE64])
@given(secret=values, before=prose, after=prose, places=cuts, dice=st.randoms(use_true_random=False))
@settings(max_examples=examples(15), deadline=None)
def test_a_known_value_survives_nowhere(
    place: str, secret: str, before: str, after: str, places: list[int], dice: random.Random
) -> None:
    body = (PLACES | BASE64)[place](before + secret + after, dice).encode()
    assume(secret not in "[redacted]" and "redacted" not in secret)
    stored = check(Redactor({secret: "x"}), secret, body, places)
    if "json" in place and "percent" not in place:
        json.loads(stored)


@settings(max_examples=examples(60), deadline=None)
@given(
    secret=values,
    form=st.sampled_from(["&#%d;", "&#0%d;", "&#x%x;", "&#X%X;", ""]),
    others=st.sampled_from(["", "+=/`ß"]),
)
@example(secret="a&b<c>d\"e'f1", form="", others="")
@example(secret="wJalr+XUtn/K7=", form="&#%d;", others="+")
def test_a_known_value_survives_in_no_page(secret: str, form: str, others: str) -> None:
    page = html.escape(secret)
    if form:  # as templates in Go, PHP and JavaScript write them
        page = "".join(form % ord(char) if char in "&<>\"'" + others else char for char in secret)
    clean = Redactor({secret: "password"}).redact_text(f"<p>{page}</p>")
    assert secret not in html.unescape(clean).removeprefix("<p>").removesuffix("</p>")
    assert clean.startswith("<p>")


@given(secret=values, around=st.text("éß '\"\\", max_size=5))
@example(secret="Zq81not'shaped'like-4711", around='"')
@example(secret='Zq81not/shaped"like\\11', around="")
@example(secret="pässword-4711", around="")
@settings(max_examples=examples(60), deadline=None)
def test_a_known_value_survives_in_no_repr(secret: str, around: str) -> None:
    assume(secret not in "[redacted]" and "redacted" not in secret)
    redactor, text = Redactor({secret: "x"}), around + secret + around
    for shown in (text, text.encode(), json.dumps({"a": text}), json.dumps([text]).encode(), {"a": [text, "'"]}):
        clean = ast.literal_eval(redactor.redact_text(repr(shown)))
        assert not survives(secret, clean if isinstance(clean, bytes) else str(clean).encode())


@pytest.mark.parametrize("place", slow_but_each(3, sorted(PLACES)))
@given(secret=shaped, before=prose, after=prose, places=cuts, dice=st.randoms(use_true_random=False))
@settings(max_examples=examples(15), deadline=None)
def test_a_known_shape_survives_nowhere(
    place: str, secret: str, before: str, after: str, places: list[int], dice: random.Random
) -> None:
    body = PLACES[place](before + secret + after, dice).encode()
    stored = check(Redactor(), secret, body, places)
    if "json" in place and "percent" not in place:
        json.loads(stored)
    assert b"redacted" in stored


# In the others the notation of what is around the secret differs by chance, and is compared.
@pytest.mark.parametrize(
    "place", slow_but_each(3, sorted(PLACES.keys() - {"json in json, escaped", "percent", "percent in json"}))
)
@given(one=shaped, other=shaped, before=prose, after=prose, seed=st.integers())
@settings(max_examples=examples(8), deadline=None)
def test_the_same_request_with_another_key_has_the_same_key(
    place: str, one: str, other: str, before: str, after: str, seed: int
) -> None:
    """Recorded by one developer, replayed by another: each knows only the own key."""
    media = {"form": "application/x-www-form-urlencoded", "multipart": "multipart/form-data; boundary=b1"}
    keys = []
    for secret, value in ((one, f"pass-{seed}-Word"), (other, "swordfish-42")):
        text = f"{before}{secret} {value}{after}"
        request = RecordedRequest(
            "POST",
            f"https://{value}:{secret}@x.example/v1?key={secret}&api_key={value}&q=1",
            (("authorization", f"Bearer {secret}"), ("content-type", media.get(place, "application/json"))),
            PLACES[place](text, random.Random(seed)).encode(),
        )
        redactor = Redactor.from_environment({"OPENAI_API_KEY": secret, "DB_PASSWORD": value})
        clean = redactor.redact_request(request)
        assert not survives(secret, clean.body)
        keys += [key_of(clean, RULES), key_of(Redactor.from_environment({}).redact_request(clean), RULES)]
    assert len(set(keys)) == 1


# --- streams


def chat(piece: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    bounds = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(bounds)]


@given(
    secret=values | shaped, places=st.lists(st.integers(0, 10_000), min_size=1, max_size=8), kept=st.integers(8, 200)
)
@example(secret="hunter-\\x", places=[0], kept=8)  # the last character looks like half an escape
@settings(max_examples=examples(40), deadline=None)
def test_the_beginning_of_a_known_value_that_broke_off_is_scrubbed(secret: str, places: list[int], kept: int) -> None:
    begun = secret[: min(kept, len(secret) - 1)]
    assume(len(begun.encode()) >= 8)
    lines = ["data: " + json.dumps(chat(piece)) for piece in pieces_of("so: " + begun, places)]
    assume(len(lines) > 1)
    body = "\n\n".join(lines).encode()
    redactor = Redactor({secret: "x"})
    stored = redactor.redact_response(RecordedResponse(200, (), (RecordedChunk(body),), "broken")).body
    events = [json.loads(line[6:]) for line in stored.split(b"\n\n")]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == "so: [redacted]"

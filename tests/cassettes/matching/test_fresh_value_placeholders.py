"""The setting ``normalize``: which requests it makes equal, and which it does not."""

from __future__ import annotations

import json
import random
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.fresh_values import KIND_BY_NAME
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request, key_of
from aquila.cassettes.model import Headers, RecordedRequest
from aquila.errors import ConfigError

JSON: Headers = (("content-type", "application/json"),)
FORM: Headers = (("content-type", "application/x-www-form-urlencoded"),)
URL = "https://api.openai.com/v1/chat/completions"
UUID = MatchRules(normalize=("uuid",))
A, B, C = "0b7e4a1c-8a38-4b0f-9d51-0123456789ab", "11111111-8a38-4b0f-9d51-0123456789ab", str(uuid.UUID(int=7))


def post(body: Any, headers: Headers = JSON, url: str = URL) -> RecordedRequest:
    return RecordedRequest("POST", url, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def upload(boundary: str, text: str, filename: str = "a.wav", data: bytes = b"\xff") -> RecordedRequest:
    parts = (
        f'Content-Disposition: form-data; name="prompt"\r\n\r\n{text}'.encode(),
        f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode() + data,
    )
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return post(body, (("content-type", f"multipart/form-data; boundary={boundary}"),))


def same(one: RecordedRequest, other: RecordedRequest, *normalize: str, match_on: tuple[str, ...] = ()) -> bool:
    rules = MatchRules(match_on, normalize=normalize) if match_on else MatchRules(normalize=normalize)
    assert bool(one == other) or key_of(one, MatchRules()) != key_of(other, MatchRules())
    return key_of(one, rules) == key_of(other, rules)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (post({"messages": [{"content": f"job {A}: go"}]}), post({"messages": [{"content": f"job {B}: go"}]})),
        (post({A: 1, "b": [A]}), post({B: 1, "b": [B]})),
        (post(urlencode({"id": A, "n": 1}).encode(), FORM), post(urlencode({"id": B, "n": 1}).encode(), FORM)),
        (post(f"text {A}".encode(), ()), post(f"text {B}".encode(), ())),
        (upload("b1", f"of {A}", f"{A}.wav"), upload("b2", f"of {B}", f"{B}.wav")),
        (RecordedRequest("GET", f"https://x/v1/{A}/f?id={A}"), RecordedRequest("GET", f"https://x/v1/{B}/f?id={B}")),
        (RecordedRequest("GET", f"https://x/my%20{A}%2f{A}"), RecordedRequest("GET", f"https://x/my%20{B}%2F{B}")),
        (
            post(f'{{"a": {"[" * 900}"{A}"{"]" * 900}}}'.encode()),
            post(f'{{"a": {"[" * 900}"{B}"{"]" * 900}}}'.encode()),
        ),
    ],
    ids=["JSON", "key of an object", "form", "text", "multipart", "URL", "escapes in a path", "deep JSON"],
)
def test_another_id_in_the_same_places_is_the_same_request(one: RecordedRequest, other: RecordedRequest) -> None:
    assert same(one, other, "uuid")
    assert not same(one, other, "date")


def test_ids_that_are_compared_in_header_fields() -> None:
    one, other = (post({}, (*JSON, ("x-run", id))) for id in (A, B))
    on = ("method", "path", "body", "header:x-run")
    assert key_of(one, MatchRules(on, normalize=("uuid",))) == key_of(other, MatchRules(on, normalize=("uuid",)))
    assert key_of(one, MatchRules(on)) != key_of(other, MatchRules(on))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (post([A, A]), post([A, B])),
        (post([A, B, A]), post([A, B, B])),
        (post({"id": A, "parent": A}), post({"id": A, "parent": B})),
        (post({A: 1, B: 2, "use": A}), post({A: 1, B: 2, "use": B})),
        (post({"a": A}, url=f"https://x/{A}"), post({"a": A}, url=f"https://x/{B}")),
        (post({}, url=f"https://x/a%2F{A}"), post({}, url=f"https://x/a/{B}")),
        (post({}, url=f"https://x/a%252F{A}"), post({}, url=f"https://x/a%2F{B}")),
        (upload("b", A, data=b"1"), upload("b", A, data=b"2")),
        (post({"a": A}), post({"a": "x"})),
    ],
    ids=[
        "a list",
        "an order",
        "two fields",
        "keys",
        "URL and body",
        "a slash",
        "a percent sign",
        "another file",
        "no id",
    ],
)
def test_what_an_id_refers_to_still_counts(one: RecordedRequest, other: RecordedRequest) -> None:
    assert not same(one, other, "uuid", "hex")


def test_two_times_are_not_said_to_be_one() -> None:
    one, other = (post({"created": 1764000000, "updated": second}) for second in (1764000000, 1764000001))
    assert same(one, other, "timestamp")
    assert same(post({"2026-11-24": 1, "2026-11-25": 2}), post({"2026-12-24": 1, "2026-12-25": 2}), "date")
    assert not same(post({"2026-11-24": 1, "2026-11-25": 2}), post({"2026-12-24": 1, "2026-12-25": 3}), "date")
    assert not same(post({"t": 1764000000}), post({"t": 3}), "timestamp")
    assert not same(post({"t": True}), post({"t": 3}), "timestamp")


def test_ids_of_a_query_are_told_apart_by_what_else_names_them() -> None:
    def asking(first: str, second: str) -> RecordedRequest:
        return post({"start": first}, url=f"https://x/v1?id={first}&id={second}")

    assert same(asking(A, B), asking(B, A), "uuid")
    assert not same(asking(A, B), post({"start": C}, url=f"https://x/v1?id={A}&id={B}"), "uuid")


def test_a_pattern_of_ones_own() -> None:
    rules = MatchRules(normalize=(r"/run-\d+/", r"/(?i)ticket (\w+)/"))
    one, other = (post({"a": f"run-{n} of Ticket x{n}, run-{n + 1}"}) for n in (1, 5))
    assert key_of(one, rules) == key_of(other, rules)
    assert canonical_request(one, rules).body == {
        "a": r"⟨/run-\d+/⟩ of Ticket ⟨/(?i)ticket (\w+)/⟩, ⟨/run-\d+/ 2⟩"  # of a group, what the group matches
    }


def test_data_in_a_text_is_left_as_it_is() -> None:
    data = "A1b2" * 100_000
    assert canonical_request(
        post({"a": f"{A} {data} {B}"}), MatchRules(normalize=("uuid", "random_id", r"/\w+-x/"))
    ).body == {"a": f"⟨uuid⟩ {data} ⟨uuid 2⟩"}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("uid", "no kind of value 'uid' (a pattern stands between slashes: /uid/); did you mean 'uuid'?"),
        ("Date", "; did you mean 'date'?"),
        ("run", "; known are address, boundary, date, "),
        (r"run-\d+", r"such as /run-\d+/, or one of uuid"),
        ("/run", "no pattern between two slashes"),
        ("/a(b/", "cannot read the pattern /a(b/ from (b on: missing )"),
        (r"/[a-/", "cannot read the pattern"),
        (r"/\d*/", "matches the empty text"),
        ("//", "no pattern between two slashes"),
    ],
)
def test_an_entry_that_cannot_be_used_is_told(entry: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        MatchRules(normalize=("uuid", entry))
    assert str(raised.value).startswith("aquila_normalize: ")
    assert says in str(raised.value)


# --- properties

ids = st.sampled_from([A, B, C, "x", "1764000000"]) | st.uuids().map(str)
texts = st.lists(ids | st.sampled_from([" ", "-", "/", "a b"]), max_size=4).map("".join)
values = st.recursive(
    texts | st.integers() | st.just(1764000000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
queries = st.lists(st.tuples(st.sampled_from("ab"), texts), max_size=4)


def renamed(value: Any, names: dict[str, str]) -> Any:
    """The same request of another run: each UUID is another one."""
    text = json.dumps(value)
    return json.loads(
        UUID.normalizer.replace_parts(
            text, lambda part, id: names.setdefault(id, str(uuid.uuid4()).replace("-", "~"))
        ).replace("~", "-")
    )  # type: ignore[union-attr]


def shuffled(value: Any, dice: random.Random) -> Any:
    if isinstance(value, dict):
        rows = [(key, shuffled(child, dice)) for key, child in value.items()]
        dice.shuffle(rows)
        return dict(rows)
    return [shuffled(each, dice) for each in value] if isinstance(value, list) else value


@given(values, queries, st.randoms(use_true_random=False))
def test_equal_requests_stay_equal_in_whatever_order_they_are_written(
    value: Any, query: list[tuple[str, str]], dice: random.Random
) -> None:
    rules = MatchRules(normalize=tuple(KIND_BY_NAME))
    one = post(value, url=f"{URL}?{urlencode(query)}")
    dice.shuffle(query)
    assert key_of(one, rules) == key_of(post(shuffled(value, dice), url=f"{URL}?{urlencode(query)}"), rules)


@given(st.lists(texts, max_size=5))
def test_a_request_of_another_run_is_the_same_and_any_other_is_not(lines: list[str]) -> None:
    one = post({"a": lines, "b": {"c": lines[-1:]}})
    other = post(renamed({"a": lines, "b": {"c": lines[-1:]}}, {}))
    assert key_of(one, UUID) == key_of(other, UUID)
    assert key_of(post({"a": [*lines, "!"], "b": {"c": lines[-1:]}}), UUID) != key_of(one, UUID)


@given(values, values)
def test_requests_are_the_same_if_and_only_if_they_are_after_normalizing(one: Any, other: Any) -> None:
    first, second = (canonical_request(post(value), UUID) for value in (one, other))
    assert (key_of(post(one), UUID) == key_of(post(other), UUID)) == (
        json.dumps(first.body, sort_keys=True) == json.dumps(second.body, sort_keys=True)
    )
    again = canonical_request(post(first.body), UUID)
    assert again.body == first.body

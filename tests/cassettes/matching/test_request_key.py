"""Which requests have the same key, and which do not."""

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.body_file import LARGE, StoredRequest
from aquila.cassettes.matching.body_lines import render_body
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import canonical_request, key_of
from aquila.cassettes.model import Headers, RecordedRequest
from aquila.cassettes.storage.body_writer import write_body
from aquila.errors import ConfigError
from tests.support.examples import examples

DEFAULT = MatchRules()
JSON: Headers = (("content-type", "application/json"),)
FORM: Headers = (("content-type", "application/x-www-form-urlencoded"),)
URL = "https://api.openai.com/v1/chat/completions"


def post(body: bytes | str, *, headers: Headers = JSON, url: str = URL, method: str = "POST") -> RecordedRequest:
    return RecordedRequest(method, url, headers, body.encode() if isinstance(body, str) else body)


def key(body: bytes | str, *, headers: Headers = JSON, rules: MatchRules = DEFAULT) -> str:
    return key_of(post(body, headers=headers), rules)


def key_of_url(url: str, *, rules: MatchRules = DEFAULT) -> str:
    return key_of(RecordedRequest("GET", url), rules)


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(st.text(max_size=8), values, max_size=5)


def written_differently(value: Any, dice: random.Random) -> str:
    """The same JSON value with other key order, spacing, escapes and notation of numbers."""

    def gap() -> str:
        return dice.choice(["", " ", "\n", "\t  ", "\r\n"])

    if isinstance(value, dict):
        pairs = list(value.items())
        dice.shuffle(pairs)
        inner = (
            f"{written_differently(k, dice)}{gap()}:{gap()}{written_differently(v, dice)}{gap()}" for k, v in pairs
        )
        return "{" + gap() + f",{gap()}".join(inner) + "}"
    if isinstance(value, list):
        return "[" + gap() + f"{gap()},{gap()}".join(written_differently(v, dice) for v in value) + gap() + "]"
    if isinstance(value, str):
        return '"' + "".join(_written_char(char, dice) for char in value) + '"'
    if isinstance(value, float) and value.is_integer() and dice.random() < 0.5:
        return str(int(Decimal(repr(value))))
    if isinstance(value, int) and not isinstance(value, bool) and dice.random() < 0.5:
        return f"{value}.0" if dice.random() < 0.5 else f"{value}0e-1"
    return json.dumps(value)


def _written_char(char: str, dice: random.Random) -> str:
    if dice.random() < 0.3:
        return json.dumps(char)[1:-1] if ord(char) > 0xFFFF else f"\\u{ord(char):04{dice.choice('xX')}}"
    return "\\/" if char == "/" else json.dumps(char, ensure_ascii=False)[1:-1]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each leaf."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = [place for key, child in children for place in places(child, (*path, key))]
    return inner or [path]


def with_leaf(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_leaf(value[path[0]], path[1:], leaf)
    return copy


def exact(value: Any) -> Any:
    """A form of a JSON value whose equality is equality by value: unlike Python's, true is not 1."""
    if isinstance(value, dict):
        return {k: exact(v) for k, v in value.items()}
    if isinstance(value, list):
        return [exact(v) for v in value]
    return (isinstance(value, bool), value)


# --- JSON


@given(bodies, st.randoms(use_true_random=False))
@settings(max_examples=examples(60), deadline=None)
def test_json_is_compared_by_value(body: dict[str, Any], dice: random.Random) -> None:
    assert key(written_differently(body, dice)) == key(json.dumps(body))


@given(bodies.filter(bool), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_changed_leaf_changes_the_key(body: dict[str, Any], data: st.DataObject) -> None:
    body.pop("metadata", None)
    place = data.draw(st.sampled_from(places(body)))
    changed = with_leaf(body, place, data.draw(leaves))
    assert (key(json.dumps(changed)) == key(json.dumps(body))) == (exact(changed) == exact(body))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ("1", '"1"'),
        ("1.5", "1.25"),
        ("[]", "{}"),
        ("[1,2]", "[2,1]"),
        ('""', "null"),
        ("9007199254740993", "9007199254740992"),
        ("1e400", "1e401"),
        ("0.1", "0.10000000000000000000001"),
        ("1", "1.00000000000000000000001"),
        ("123456789.12345678901", "123456789.12345678902"),
        ("4503599627370497.5000000001", "4503599627370497.5"),
        ("0", "1e-400"),
        ("1e-400", "2e-400"),
        ("0.10000000000000000000001", '[NaN, "0.10000000000000000000001"]'),
        ("0.10000000000000000000001", '"0.10000000000000000000001"'),
        ('"\\ud800"', '"\\ud801"'),
    ],
)
def test_unequal_values_have_unequal_keys(one: str, other: str) -> None:
    assert key(f'{{"x": {one}}}') != key(f'{{"x": {other}}}')


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("1", "10e-1"), ("0", "-0.0"), ("1e23", "1" + "0" * 23), ("1E400", "10e399"), ("0.10", "1e-1")],
)
def test_numbers_are_compared_by_value(one: str, other: str) -> None:
    assert key(f'{{"x": {one}}}') == key(f'{{"x": {other}}}')


decimals = st.builds(
    lambda sign, digits, exponent: f"{sign}{digits}e{exponent}",
    st.sampled_from(["", "-"]),
    st.integers(0, 10**40),
    st.integers(-60, 20),
)


@given(decimals, decimals, st.integers(0, 5))
@example("-0e0", "0e0", 0)
@example("1e-1", "100000000000000005551115123125782702118158340454101562e-54", 0)  # the exact value of the float 0.1
def test_numbers_of_any_length_are_equal_if_their_values_are(one: str, other: str, zeros: int) -> None:
    for text in (one, other):
        digits, _, exponent = text.partition("e")
        zeros = zeros if digits.strip("-0") else 0  # JSON has no 00
        assert key(f"[{text}]") == key(f"[{digits}{'0' * zeros}.00e{int(exponent) - zeros}]")
    assert (key(f"[{one}]") == key(f"[{other}]")) == (Decimal(one) == Decimal(other))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_equal_however_many_digits_of_it_are_written(value: float) -> None:
    written = f"{Decimal(repr(value)):f}"
    assert key(json.dumps([value])) == key(f"[{written}0]" if "." in written else f"[{written}.0]")


def test_json_without_a_content_type_is_recognised() -> None:
    assert key('{"a": 1, "b": 2}', headers=()) == key('{"b":2,"a":1}')
    assert key(" [1, 2]", headers=()) == key("[1,2]")
    assert key("1.0", headers=()) != key("1", headers=()), "only objects and lists are surely JSON"


def test_json_is_recognised_where_a_word_was_written_over_its_content_type() -> None:
    redacted: Headers = (("content-type", "**REDACTED**"),)
    assert key('{"a": 1, "b": 2}', headers=redacted) == key('{"b":2,"a":1}', headers=redacted)
    assert key("a=1&b=2", headers=redacted) != key("b=2&a=1", headers=redacted)


@pytest.mark.parametrize("media", ["application/vnd.api+json", "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_every_json_content_type_is_json(media: str) -> None:
    assert key('{"a": 1, "b": 2}', headers=(("content-type", media),)) == key('{"b":2,"a":1}')


@pytest.mark.parametrize(
    "body",
    [
        '{"a": NaN, "b": 1}',
        '{"a": -Infinity, "b": 1}',
        '{"a": 1, "a": 2}',
        '{"a": ' + "1" * 5000 + "}",
        '{"a": 1e99999999999, "b": 1}',
        '{"a": 1e-99999999999, "b": 1}',
        '{"a": 1e99999999999999999999, "b": 1}',
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        '{"a": 1',
        "{'a': 1}",
        b'{"a": "\xff"}',
        b"\xff\xfe{",
    ],
)
def test_a_body_that_is_not_json_counts_by_its_bytes(body: str | bytes) -> None:
    data = body.encode() if isinstance(body, str) else body
    assert key(data) != key(data.replace(b"a", b" a").replace(b"[", b" [", 1).replace(b"\xff", b"\xfe"))


def test_a_shadowed_duplicate_key_still_counts() -> None:
    assert key('{"a": 1, "a": 2}') != key('{"a": 3, "a": 2}')


def test_an_empty_body_is_not_an_empty_object() -> None:
    assert key("") != key("{}")


# --- metadata and ignored paths


@pytest.mark.parametrize("label", ["metadata", "prompt_cache_key"])
def test_a_label_at_the_top_is_left_out(label: str) -> None:
    assert key(f'{{"model": "m", "{label}": "job 1"}}') == key('{"model": "m"}')
    assert key(f'{{"tools": [{{"{label}": 1}}]}}') != key(f'{{"tools": [{{"{label}": 2}}]}}')


@pytest.mark.parametrize("label", ["metadata", "prompt_cache_key"])
def test_a_label_can_be_compared_when_asked_for(label: str) -> None:
    rules = MatchRules((f"+{label}",))
    assert key(f'{{"{label}": 1}}', rules=rules) != key(f'{{"{label}": 2}}', rules=rules)


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("user", {"user": "a", "x": 1}, {"x": 1}),
        ("$.user", {"user": "a"}, {"user": "b"}),
        ("$['user']", {"user": "a"}, {"user": "b"}),
        ("messages[*].name", {"messages": [{"name": "a", "c": 1}, {"c": 2}]}, {"messages": [{"c": 1}, {"c": 2}]}),
        ("tools[0].function.description", *({"tools": [{"function": {"description": d}}, 1]} for d in "ab")),
        ("messages[-1]", {"messages": [1, 2]}, {"messages": [1, 3]}),
        ("input[*]", {"input": [1, 2]}, {"input": [3, 4]}),
        ("a.*.b", {"a": {"x": {"b": 1}, "y": {}}}, {"a": {"x": {}, "y": {"b": 2}}}),
        ("*.b", {"a": {"b": 1}}, {"a": {"b": 2}}),
        ("a.*", {"a": {"x": 1, "y": {"z": 1}}}, {"a": {"u": 2}}),
        ('a["x.y"]', {"a": {"x.y": 1}}, {"a": {"x.y": 2}}),
        ("[*].id", [{"id": 1}], [{"id": 2}]),
    ],
)
def test_an_ignored_path_does_not_count(path: str, one: Any, other: Any) -> None:
    rules = MatchRules(ignore=(path,))
    assert key(json.dumps(one), rules=rules) == key(json.dumps(other), rules=rules)
    assert key(json.dumps(one)) != key(json.dumps(other))


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        ("user", {"a": {"user": 1}}, {"a": {"user": 2}}),
        ("messages[0].name", {"messages": [{}, {"name": 1}]}, {"messages": [{}, {"name": 2}]}),
        ("messages[*].name", {"messages": [{"content": "a"}]}, {"messages": [{"content": "b"}]}),
        ("input[*]", {"input": [1, 2]}, {"input": [1]}),
        ("a.b", {"a": "text"}, {"a": "other"}),
        ("a[5].b", {"a": [1]}, {"a": [2]}),
    ],
)
def test_an_ignored_path_hides_nothing_else(path: str, one: Any, other: Any) -> None:
    rules = MatchRules(ignore=(path,))
    assert key(json.dumps(one), rules=rules) != key(json.dumps(other), rules=rules)


@given(bodies.filter(bool), leaves, st.data())
@settings(max_examples=examples(60), deadline=None)
def test_ignoring_the_path_of_a_leaf_makes_it_not_count(body: dict[str, Any], leaf: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(places(body)))
    if any(isinstance(step, str) and {"'", '"'} <= set(step) for step in place):
        return  # a key with both quotes has no notation
    quoted = (f'["{step}"]' if "'" in step else f"['{step}']" for step in place if isinstance(step, str))
    names = iter(list(quoted))
    path = "$" + "".join(next(names) if isinstance(step, str) else f"[{step}]" for step in place)
    rules = MatchRules(ignore=(path,))
    assert key(json.dumps(with_leaf(body, place, leaf)), rules=rules) == key(json.dumps(body), rules=rules)


# --- URLs


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=examples(60), deadline=None)
def test_query_is_compared_as_a_multiset(pairs: list[tuple[str, str]], dice: random.Random) -> None:
    shuffled = pairs.copy()
    dice.shuffle(shuffled)
    one = urlencode(pairs, errors="surrogatepass", quote_via=quote)
    other = urlencode(shuffled, errors="surrogatepass", quote_via=quote_plus)
    assert key_of_url(f"https://x/y?{one}") == key_of_url(f"https://x/y?{other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("?a=1", "?a=2"),
        ("?a=1", "?a=1&a=1"),
        ("?a=", ""),
        ("?a=%FF", "?a=%FE"),
        ("?a=1", "?A=1"),
        ("/b", "/c"),
        ("/b", "/b/"),
        ("/a%2Fb", "/a/b"),
    ],
)
def test_urls_that_differ_have_different_keys(one: str, other: str) -> None:
    assert key_of_url(f"https://x{one}") != key_of_url(f"https://x{other}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://localhost:8080/v1", "https://api.openai.com/v1"),
        ("https://x", "https://x/"),
        ("https://x/a%7eb%2f", "https://x/a~b%2F"),
        ("https://x/a#top", "https://x/a"),
        ("https://user:pass@x/a", "https://x/a"),
        ("https://x/a?b", "https://x/a?b="),
        ("https://x/a?b&c=1", "https://x/a?c=1&b=&"),
    ],
)
def test_host_scheme_and_notation_do_not_count(one: str, other: str) -> None:
    assert key_of_url(one) == key_of_url(other)


def test_methods_count_but_not_their_case() -> None:
    assert key_of(post("", method="post"), DEFAULT) == key_of(post("", method="POST"), DEFAULT)
    assert key_of(post("", method="PUT"), DEFAULT) != key_of(post("", method="POST"), DEFAULT)


names = st.text("aAbX-*", min_size=1, max_size=4)


EMPTY = MatchRules(ignore=("<empty>",))
emptiness = st.recursive(st.none() | st.just({}), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3))


def strewn_with_empty_fields(value: Any, data: st.DataObject) -> Any:
    """The same JSON with further fields that hold nothing."""
    if isinstance(value, list):
        return [strewn_with_empty_fields(each, data) for each in value]
    if not isinstance(value, dict):
        return value
    further = data.draw(st.dictionaries(st.text(max_size=8), emptiness, max_size=2))
    return further | {name: strewn_with_empty_fields(each, data) for name, each in value.items()}


@given(bodies, st.data())
def test_empty_fields_are_as_if_absent_on_either_side_if_the_rules_say_so(body: Any, data: st.DataObject) -> None:
    one, other = (json.dumps(strewn_with_empty_fields(body, data)) for _ in range(2))
    assert key(one, rules=EMPTY) == key(other, rules=EMPTY) == key(json.dumps(body), rules=EMPTY)


@given(bodies, st.text(max_size=8), leaves.filter(lambda leaf: leaf is not None) | st.lists(values, max_size=3))
def test_a_field_with_a_value_is_never_as_if_absent(body: Any, name: str, value: Any) -> None:
    absent = {key: each for key, each in body.items() if key != name}
    for held in (value, {"in": value}, {"in": {"it": value}, "no": None}):
        assert key(json.dumps(absent | {name: held}), rules=EMPTY) != key(json.dumps(absent), rules=EMPTY)


def test_empty_values_count_in_lists_and_empty_fields_unless_the_rules_say_otherwise() -> None:
    assert key('{"stop": null}') != key("{}") != key('{"stop": {}}')
    assert key('{"stop": [null, {}]}', rules=EMPTY) != key('{"stop": []}', rules=EMPTY)
    both = MatchRules(ignore=("<empty>", "options.seed"))
    assert key('{"options": {"seed": 1}}', rules=both) == key("{}", rules=both)
    with pytest.raises(ConfigError, match="'<empty>'"):
        MatchRules(ignore=("<emtpy>",))


@given(st.lists(st.tuples(names, st.text(max_size=3)), max_size=6), st.sets(names.map(lambda name: name.strip("*"))))
def test_an_ignored_query_parameter_may_change_or_be_absent(pairs: list[tuple[str, str]], ignored: set[str]) -> None:
    rules = MatchRules(ignore_query=tuple(sorted(ignored - {""})))
    changed = [(name, value + "x" if name in rules.ignore_query else value) for name, value in pairs]
    left = [(name, value) for name, value in pairs if name not in rules.ignore_query]
    keys = {key_of_url(f"https://x/y?{urlencode(rows)}", rules=rules) for rows in (pairs, changed, left)}
    assert len(keys) == 1
    assert key_of_url(f"https://x/y?{urlencode([*left, ('other', '')])}", rules=rules) not in keys


def test_a_star_ignores_the_query_parameters_that_begin_alike() -> None:
    rules = MatchRules(ignore_query=("X-Amz-*",))
    signed = "https://bucket.example/key?X-Amz-Date=20260101T000000Z&X-Amz-Signature=ab12&versionId=1"
    assert key_of_url(signed, rules=rules) == key_of_url("https://bucket.example/key?versionId=1", rules=rules)
    assert key_of_url(signed, rules=rules) != key_of_url("https://bucket.example/key?versionId=2", rules=rules)
    assert key_of_url("https://x/?x-amz-date=1", rules=rules) != key_of_url("https://x/", rules=rules)
    assert key_of_url("https://x/?aX-Amz-Date=1", rules=rules) != key_of_url("https://x/", rules=rules)


# --- forms and multipart


def multipart(*fields: str | bytes, boundary: str, media: str = "multipart/form-data") -> RecordedRequest:
    """A body from ``header lines, blank line, content`` pieces."""
    pieces = [piece.encode() if isinstance(piece, str) else piece for piece in fields]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), piece) for piece in pieces)
    headers = (("content-type", f"{media}; boundary={boundary}"),)
    return post(body + b"--%s--\r\n" % boundary.encode(), headers=headers)


def text_field(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


def file_field(name: str, filename: str, data: bytes, media: str = "audio/wav") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {media}\r\n\r\n'
    return head.encode() + data


boundaries = st.text("abcdefXYZ0123456789'()+_,-./:=?", min_size=8, max_size=40).map(lambda text: f"b{text}b")


@given(boundaries, boundaries, st.binary(max_size=50), st.text(max_size=10))
@settings(max_examples=examples(60), deadline=None)
def test_a_multipart_boundary_does_not_count(one: str, other: str, data: bytes, text: str) -> None:
    fields = (text_field("model", text.replace("\r\n--", "")), file_field("file", "a.wav", data))
    requests = [multipart(*fields, boundary=boundary) for boundary in (f'"{one}"'.strip('"'), other)]
    if any(";" in b or b.encode() in data or b in text for b in (one, other)):
        return
    first, second = (canonical_request(request, DEFAULT) for request in requests)
    assert first.kind == "multipart"
    assert first == second


def test_a_quoted_boundary_is_understood() -> None:
    plain = multipart(text_field("a", "1"), boundary="one:two")
    quoted = RecordedRequest(
        plain.method, plain.url, (("content-type", 'multipart/form-data; boundary="one:two"'),), plain.body
    )
    assert canonical_request(quoted, DEFAULT).body == {"a": ["1"]}
    assert key_of(plain, DEFAULT) == key_of(quoted, DEFAULT)


def test_a_file_counts_by_name_type_and_content() -> None:
    variants = [
        multipart(file_field("file", "a.wav", b"\x00\xff"), boundary="b1"),
        multipart(file_field("file", "b.wav", b"\x00\xff"), boundary="b2"),
        multipart(file_field("file", "a.wav", b"\x00\xfe"), boundary="b3"),
        multipart(file_field("file", "a.wav", b"\x00\xff", "audio/mp3"), boundary="b4"),
        multipart(file_field("other", "a.wav", b"\x00\xff"), boundary="b5"),
        multipart(text_field("file", "a.wav"), boundary="b6"),
    ]
    assert len({key_of(request, DEFAULT) for request in variants}) == len(variants)


def test_file_contents_are_hashed() -> None:
    body = canonical_request(multipart(file_field("file", "a.wav", b"x" * 10_000), boundary="b"), DEFAULT).body
    assert body["file"][0]["bytes"] == 10_000
    assert len(json.dumps(body)) < 300


def test_order_of_fields_does_not_count_but_order_within_one_does() -> None:
    one = [text_field("a", "1"), text_field("a", "2"), text_field("b", "3")]
    assert key_of(multipart(*one, boundary="x"), DEFAULT) == key_of(multipart(one[2], *one[:2], boundary="y"), DEFAULT)
    assert key_of(multipart(*one, boundary="x"), DEFAULT) != key_of(
        multipart(one[1], one[0], one[2], boundary="y"), DEFAULT
    )
    assert key("a=1&a=2&b=3", headers=FORM) == key("b=3&a=1&a=2", headers=FORM)
    assert key("a=1&a=2", headers=FORM) != key("a=2&a=1", headers=FORM)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"--b--",
        b"nothing",
        b"--b\r\nno blank line\r\n--b--",
        b"--bX\r\n\r\n\r\n--b--",
        b"--b\r\n\r\n1",
    ],
)
def test_broken_multipart_counts_by_its_bytes(body: bytes) -> None:
    headers = (("content-type", "multipart/form-data; boundary=b"),)
    found = canonical_request(post(body, headers=headers), DEFAULT)
    assert found.kind in ("text", "multipart")
    assert (found.kind == "multipart") == (body == b"--b--")


def test_forms_are_compared_by_fields() -> None:
    assert key("a=1&b=x+y", headers=FORM) == key("b=x%20y&a=1", headers=FORM)
    assert key("a=1&b=", headers=FORM) != key("a=1", headers=FORM)


def test_a_field_of_a_form_without_a_value_is_empty() -> None:
    assert key("a&b=1", headers=FORM) == key("b=1&a=", headers=FORM)
    assert key("a", headers=FORM) != key("b", headers=FORM)
    assert canonical_request(post('{"a": 1}', headers=FORM), DEFAULT).kind == "text"


def test_order_across_the_fields_of_a_form_does_not_count() -> None:
    """Not even where a server would read lists of objects from it."""
    one, other = "p[][a]=1&p[][b]=2&p[][a]=3", "p[][a]=1&p[][a]=3&p[][b]=2"
    assert key(one, headers=FORM) == key(other, headers=FORM)


def test_a_file_name_with_a_charset_is_compared_as_text() -> None:
    def named(parameters: str) -> str:
        part = f"Content-Disposition: form-data; name=file; {parameters}\r\n\r\nx"
        return key_of(multipart(part, boundary="b"), DEFAULT)

    assert named("filename*=UTF-8''na%C3%AFve.txt") == named('filename="naïve.txt"')
    assert named("filename*=iso-8859-1'en'na%EFve.txt") == named('filename="naïve.txt"')
    assert named("filename=naive.txt; filename*=utf-8''na%C3%AFve.txt") == named('filename="naïve.txt"')
    assert named("filename*=utf-8''a.txt") != named("filename*=utf-8''b.txt")
    # What cannot be decoded gives way to the plain name, or is compared as it was sent.
    assert named("filename*=utf-8''%FF; filename=a.txt") == named("filename=a.txt")
    assert named("filename*=klingon''a.txt") != named("filename*=klingon''b.txt")
    assert named("filename*=plain.txt") == named("filename=plain.txt")


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12))
def test_any_file_name_is_the_same_in_both_ways_of_writing_it(name: str) -> None:
    plain = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "_").replace("\n", "_")
    plain_name = name.replace("\r", "_").replace("\n", "_")
    one, other = (
        multipart(f"Content-Disposition: form-data; name=file; {parameter}\r\n\r\nx", boundary="b")
        for parameter in (f'filename="{plain}"', f"filename*=UTF-8''{quote(plain_name, safe='')}")
    )
    assert key_of(one, DEFAULT) == key_of(other, DEFAULT)


def test_an_encoding_of_a_part_counts_unless_it_changes_nothing() -> None:
    def encoded(encoding: str, content: str = "aGVsbG8=") -> str:
        head = "Content-Disposition: form-data; name=a" + (
            f"\r\nContent-Transfer-Encoding: {encoding}" if encoding else ""
        )
        return key_of(multipart(f"{head}\r\n\r\n{content}", boundary="b"), DEFAULT)

    assert encoded("binary") == encoded("8bit") == encoded("7BIT") == encoded("")
    assert encoded("base64") != encoded("")
    assert encoded("base64") == encoded("BASE64")
    assert encoded("base64") != encoded("base64", "aGVsbG9v")


@pytest.mark.parametrize(
    ("media", "body", "written_otherwise"),
    [
        *((media, b'{"a": 1, "b": 2}', b'{"b":2,"a":1}') for media in ("application/json", "application/a+json", "")),
        ("application/x-www-form-urlencoded", b"a=1&b=2", b"b=2&a=1"),
        ("text/plain", b"x" * (LARGE + 1), b"x" * (LARGE + 1)),
    ],
)
def test_a_body_in_a_file_is_compared_as_one_in_memory_is(
    media: str, body: bytes, written_otherwise: bytes, tmp_path: Path
) -> None:
    headers: Headers = (("content-type", media),) if media else ()
    stored = StoredRequest("POST", URL, headers, write_body(tmp_path, [written_otherwise]))
    assert key_of(stored, DEFAULT) == key(body, headers=headers)
    assert key_of(stored, DEFAULT) != key(body.replace(b"1", b"3") + b"!", headers=headers)


def test_metadata_and_ignored_fields_of_forms_do_not_count() -> None:
    rules = MatchRules(ignore=("user",))
    assert key("a=1&metadata[id]=7&metadata=x", headers=FORM) == key("a=1", headers=FORM)
    assert key("a=1&user=x&user[name]=y", headers=FORM, rules=rules) == key("a=1", headers=FORM)
    one, other = (multipart(text_field("metadata[id]", v), text_field("a", "1"), boundary=v) for v in ("one", "two"))
    assert key_of(one, DEFAULT) == key_of(other, DEFAULT)


# --- match_on


CHANGED = {
    "method": RecordedRequest("GET", "http://a/x?q=1", JSON, b"{}"),
    "scheme": RecordedRequest("POST", "https://a/x?q=1", JSON, b"{}"),
    "host": RecordedRequest("POST", "http://b/x?q=1", JSON, b"{}"),
    "path": RecordedRequest("POST", "http://a/y?q=1", JSON, b"{}"),
    "query": RecordedRequest("POST", "http://a/x?q=2", JSON, b"{}"),
    "headers": RecordedRequest("POST", "http://a/x?q=1", (), b"{}"),
    "body": RecordedRequest("POST", "http://a/x?q=1", JSON, b"[]"),
}


@pytest.mark.parametrize("part", CHANGED)
def test_a_part_counts_if_match_on_names_it_and_only_then(part: str) -> None:
    request = RecordedRequest("POST", "http://a/x?q=1", JSON, b"{}")
    this, others = MatchRules((part,)), MatchRules(tuple(CHANGED.keys() - {part}))
    assert key_of(request, this) != key_of(CHANGED[part], this)
    assert key_of(request, others) == key_of(CHANGED[part], others)


def test_a_part_with_a_minus_does_not_count() -> None:
    rules = MatchRules(("-query",))
    assert key_of_url("https://x/y?q=1", rules=rules) == key_of_url("https://x/y?q=2", rules=rules)
    assert key_of_url("https://x/y?q=1", rules=rules) != key_of_url("https://x/z?q=1", rules=rules)


def test_default_ports_belong_to_no_host() -> None:
    rules = MatchRules(("+host",))
    assert key_of_url("https://X:443/", rules=rules) == key_of_url("https://x/", rules=rules)
    assert key_of_url("https://x:8443/", rules=rules) != key_of_url("https://x/", rules=rules)


def test_a_single_header_can_be_matched() -> None:
    rules = MatchRules(("+header:X-Tenant",))
    one, other, third = (post("{}", headers=(*JSON, ("x-tenant", v), ("x-trace", t))) for v, t in ("ax", "ay", "bx"))
    assert key_of(one, rules) == key_of(other, rules)
    assert key_of(one, rules) != key_of(third, rules)


def test_matching_headers_ignores_the_boundary_and_volatile_fields_and_nothing_else() -> None:
    rules = MatchRules(("+headers",))
    one, other = (multipart(text_field("a", "1"), boundary=b) for b in ("one", "two"))
    noisy = RecordedRequest(other.method, other.url, (*other.headers, ("x-stainless-retry-count", "1")), other.body)
    assert key_of(one, rules) == key_of(noisy, rules)
    assert key('{"a":1}', rules=rules) != key('{"a":1}', rules=rules, headers=(*JSON, ("openai-beta", "x")))
    with_charset: Headers = (("content-type", "application/json; charset=latin-1"),)
    assert key('{"a":1}', rules=rules) != key('{"a":1}', rules=rules, headers=with_charset)


def test_rules_are_compared_by_what_they_mean() -> None:
    assert MatchRules(("+host",)) == MatchRules(("body", "host", "query", "method", "origin", "path"))
    assert MatchRules(("+host",)).match_on == ("method", "host", "origin", "path", "query", "body")
    assert hash(MatchRules(ignore=("a", "a"))) == hash(MatchRules(ignore=("a",)))


# --- everything


media_types = st.sampled_from(
    [
        "",
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "\x00",
    ]
)


@given(media_types, st.binary(max_size=80) | st.text('ab=&%-\r\n{}[]":,0\\u', max_size=60).map(str.encode), st.text())
@settings(max_examples=examples(150), deadline=None)
@example("application/json", b'{"a": "\\ud800"}', "https://[x")
def test_any_request_has_a_key_and_can_be_shown(media: str, body: bytes, url: str) -> None:
    request = RecordedRequest("POST", url, (("content-type", media),), body)
    shown = canonical_request(request, DEFAULT)
    assert shown.digest == key_of(request, DEFAULT)
    assert all(isinstance(line, str) for line in render_body(shown))


def test_a_canonical_request_holds_what_is_compared_and_nothing_else() -> None:
    request = post('{"b": [1.0, "é"], "a": null}', url="https://api.x.com/v1/chat?api-version=1")
    reduced = canonical_request(request, MatchRules(("+host", "+headers")))
    assert (reduced.method, reduced.scheme, reduced.host, reduced.path) == ("POST", None, "api.x.com", "/v1/chat")
    assert (reduced.query, reduced.headers) == ((("api-version", "1"),), (("content-type", "application/json"),))
    assert (reduced.kind, reduced.body) == ("json", {"b": [1, "é"], "a": None})

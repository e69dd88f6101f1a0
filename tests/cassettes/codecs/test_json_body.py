"""JSON bodies become structure only where the exact bytes come back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.json_body import JsonStyle
from tests.support.cassettes import json_bodies, json_values
from tests.support.examples import examples


def again(body: bytes) -> bytes | None:
    """The body, taken apart and put together; None if it is not taken as JSON."""
    found = json_body.parse_exact(body)
    if found is None:
        return None
    style = JsonStyle.from_words(str(found.style)) if str(found.style) else JsonStyle()
    assert style == found.style
    return json_body.write_json(json_body.put_literals(found.value, found.literals), style).encode()


@settings(max_examples=examples(300), deadline=None)
@given(json_bodies)
def test_any_json_comes_back_exactly_or_is_left_alone(body: bytes) -> None:
    assert again(body) in (body, None)


@settings(max_examples=examples(300), deadline=None)
@given(st.text('{}[]",:0123456789.eE-+ntrufalsN\\u/ \n\t\ud800"é', max_size=40))
def test_what_only_looks_like_json_comes_back_exactly_or_is_left_alone(text: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    assert again(body) in (body, None)


@settings(max_examples=examples(150), deadline=None)
@given(json_values, st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
@pytest.mark.slow
def test_what_python_writes_is_always_taken_as_structure(
    value: object, indent: int | str | None, ascii: bool, separators: tuple[str, str]
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii, separators=separators if indent is None else None)
    assert again(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ('{"model":"gpt-4o","input":"é"}', ""),
        ('{"model": "gpt-4o", "n": [1, 2]}', "spaced"),
        (
            '{\n  "id": "resp_1",\n  "output": [\n    {\n      "text": "caf\\u00e9"\n    }\n  ],\n  "error": []\n}\n',
            "indent 2, ascii, newline",
        ),
        ('{"text":"\\u003cb\\u003e \\u0026"}\n', "html, newline"),
        ('{"url":"https:\\/\\/x"}', "slash"),
        ("[1.0,1e-05,-0.0000012,1E+2,-0,12345678901234567890123,0.1e1]", ""),
        ("42", ""),
        ('"text"', ""),
    ],
)
def test_the_writing_styles_of_servers_are_known(text: str, style: str) -> None:
    found = json_body.parse_exact(text.encode())
    assert found is not None
    assert str(found.style) == style
    assert found.literals == {}
    assert again(text.encode()) == text.encode()


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        ('{"a":["x","caf\\u00e9 é"]}', {"/a/1": '"caf\\u00e9 é"'}),
        ('{"a/b~":"\\u0041"}', {"/a~1b~0": '"\\u0041"'}),
        ('{"half":"\\ud800"}', {"/half": '"\\ud800"'}),
        ('"\\ud800"', {"": '"\\ud800"'}),
        ('{"upper":"\\u00E9"}', {"/upper": '"\\u00E9"'}),
    ],
)
def test_strings_that_no_style_explains_are_kept_literally(text: str, literals: dict[str, str]) -> None:
    found = json_body.parse_exact(text.encode())
    assert found is not None
    assert found.literals == literals
    assert again(text.encode()) == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " {}",
        "{} ",
        '{"a":1,"a":2}',
        '{"a":NaN}',
        "[Infinity]",
        '{"a" : 1}',
        '{"a":1, "b":2}',
        "{'a':1}",
        "[1,]",
        "[" * 61 + "]" * 61,
        "[" * 100_000,
        '{"' + "k" * 101 + '":1}',
        '{"\\ud800":1}',
        '{"caf\\u00e9":"é"}',
        "[" + "9" * 5000 + ",  1]",
        "\ufeff{}",
        '{\n\t\t"a": 1\n}',
        '{\n         "a": 1\n}',
    ],
)
def test_json_that_would_not_come_back_is_left_alone(text: str) -> None:
    assert json_body.parse_exact(text.encode()) is None


def test_a_number_of_any_length_keeps_its_digits() -> None:
    body = b"[" + b"9" * 6000 + b"]"
    assert again(body) == body


@pytest.mark.parametrize("words", ["", "pretty", "indent 9", "spaced,ascii", "indent"])
def test_an_unknown_style_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="no style of JSON"):
        JsonStyle.from_words(words)


@pytest.mark.parametrize(
    ("pointer", "literal"),
    [("/b", '"x"'), ("/a/0", '"x"'), ("/a", "x"), ("/a", '"\n"'), ("/a", '"x" '), ("/l/x", '"x"'), ("/l/0", '"x"')],
)
def test_a_literal_must_have_a_place_and_be_a_string(pointer: str, literal: str) -> None:
    with pytest.raises(ValueError, match=r"no string at|not the text"):
        json_body.put_literals({"a": "x", "l": [[]]}, {pointer: literal})

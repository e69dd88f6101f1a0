"""The check of a tool's arguments by a handwritten JSON schema agrees with a complete implementation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import aquila
from aquila.schema_check import find_problems
from tests.support.examples import examples

SCHEMAS: list[Any] = [
    True,
    False,
    {},
    {"type": "integer"},
    {"type": ["integer", "null"]},
    {"type": "number", "minimum": 0, "maximum": 2},
    {"exclusiveMinimum": 0, "exclusiveMaximum": 2},
    {"multipleOf": 2},
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"pattern": "^[a-c]+$"},
    {"enum": [1, "a", None, [True]]},
    {"const": True},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 1}]},
    {"allOf": [{"minimum": 0}, {"multipleOf": 2}]},
    {"not": {"type": "string"}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"prefixItems": [{"type": "integer"}], "items": False},
    {"prefixItems": [{"type": "integer"}]},
    {"uniqueItems": True},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]},
    {"properties": {"a": {"minimum": 1}}, "additionalProperties": False},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    {"properties": {"a": True}, "patternProperties": {"b": {"type": "integer"}}, "additionalProperties": False},
    {"additionalProperties": {"type": "integer"}},
    {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}},
    {"$defs": {"x/y": {"type": "integer"}}, "items": {"$ref": "#/$defs/x~1y"}},
    {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
]

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.0, 0.5, 1.0, 2.5]) | st.text("abx", max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "ab"]), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@settings(max_examples=examples(50))
@given(value=VALUES)
def test_check_agrees_with_a_complete_implementation(schema: Any, value: Any) -> None:
    assert (find_problems(value, schema) == []) == Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "value", "problems"),
    [
        (
            {"properties": {"days": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
            {"days": "two"},
            ["days: must be of type integer or days: must be of type null"],
        ),
        ({"properties": {"days": {"minimum": 1}}}, {"days": 0}, ["days: must be at least 1"]),
        ({"properties": {"zip": {"pattern": "^\\d{5}$"}}}, {"zip": "89"}, ["zip: must match the pattern ^\\d{5}$"]),
        ({"items": {"type": "integer"}}, [1, "a"], ["1: must be of type integer"]),
        ({"enum": [1, "a"]}, True, ["must be one of 1, 'a'"]),
        ({"items": {"const": [0]}}, [[0], [False]], ["1: must be [0]"]),
        ({"oneOf": [{"minimum": 0}, {"maximum": 9}]}, 5, ["must fit one of the 2 forms of the schema, and fits 2"]),
        (
            {"additionalProperties": False, "required": ["a"]},
            {"b": 1},
            ["a: is required", "b: is not a known argument"],
        ),
    ],
)
def test_problems_say_where_and_what(schema: Any, value: Any, problems: list[str]) -> None:
    assert find_problems(value, schema) == problems


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.org/schema.json"},
        {"pattern": "(?<name>x)"},
        {"format": "date", "if": {"type": "string"}, "then": False},
    ],
    ids=str,
)
def test_unsupported_keywords_are_not_checked(schema: Any) -> None:
    assert find_problems("value", schema) == []


def test_tool_with_a_handwritten_schema_checks_referenced_definitions() -> None:
    day = {"$defs": {"day": {"type": "string", "pattern": "^\\d{4}-\\d\\d-\\d\\d$"}}}
    tool = aquila.Tool("book", {**day, "properties": {"day": {"$ref": "#/$defs/day"}}}, lambda day: day)
    assert tool.parse_arguments('{"day": "2026-01-02"}') == {"day": "2026-01-02"}
    with pytest.raises(ValueError, match="day: must match the pattern"):
        tool.parse_arguments('{"day": "tomorrow"}')


LARGE = pytest.param(10**400, 0.5, id="larger than any float")


@pytest.mark.parametrize(("value", "step"), [(0.3, 0.1), (19.99, 0.01), (3, 0.5), (1e300, 0.01), LARGE])
def test_multiples_are_computed_in_decimal(value: float, step: float) -> None:
    assert find_problems(value, {"multipleOf": step}) == []


@pytest.mark.parametrize(("value", "step"), [(0.35, 0.1), (19.999, 0.01), (float("inf"), 0.5), (float("nan"), 0.5)])
def test_a_number_that_is_no_multiple_is_a_problem(value: float, step: float) -> None:
    assert find_problems(value, {"multipleOf": step}) == [f"must be a multiple of {step}"]

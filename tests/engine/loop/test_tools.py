"""Tools: their schemas, their arguments, and the text about a failure that a model gets."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import aquila
from aquila.engine.loop.tool_execution import remove_changing_parts, value_to_text
from aquila.errors import ConfigError
from aquila.tools import BUILT_IN, make_toolbox


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(pydantic.BaseModel):
    city: str
    country: Annotated[str, Field(description="two letters")] = "DE"


@aquila.tool
def weather(
    place: Place,
    days: Annotated[int, "how many days ahead"] = 1,
    unit: Unit = Unit.C,
    detail: Literal["short", "long"] | None = None,
    *,
    tool_context: dict[str, Any],
) -> str:
    """Tell the weather.

    It is always fine.

    Args:
        place: where to look,
            in the world
        detail (str): how much to tell

    Returns:
        a forecast
    """
    return f"{place.city} {days} {unit.name} {detail} {tool_context['user']}"


def test_schema_comes_from_hints_and_docstring() -> None:
    schema = weather.schema
    assert weather.name == "weather"
    assert weather.description == "Tell the weather.\n\nIt is always fine."
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"place", "days", "unit", "detail"}
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place", "description": "where to look, in the world"}
    assert schema["properties"]["days"] == {"type": "integer", "default": 1, "description": "how many days ahead"}
    assert schema["properties"]["detail"]["description"] == "how much to tell"
    assert schema["$defs"]["Unit"]["enum"] == ["celsius", "fahrenheit"]
    assert schema["$defs"]["Place"]["properties"]["country"]["description"] == "two letters"
    assert "title" not in str(schema)


def test_arguments_are_converted_to_the_hinted_types() -> None:
    arguments = weather.parse_arguments('{"place": {"city": "Ulm"}, "unit": "fahrenheit"}')
    assert arguments == {"place": Place(city="Ulm"), "unit": Unit.F}
    assert weather(**arguments, tool_context={"user": "me"}) == "Ulm 1 F None me"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{", "the arguments are not a JSON object"),
        ("[1]", "the arguments are not a JSON object"),
        ("", "place: Field required"),
        ('{"place": {"city": 5}}', "place.city: Input should be a valid string"),
        ('{"place": {"city": "Ulm"}, "dayz": 1}', "dayz: Extra inputs are not permitted"),
        ('{"place": {"city": "Ulm"}, "unit": "kelvin"}', "unit: Input should be 'celsius' or 'fahrenheit'"),
        ('{"place": {"city": "Ulm"}, "tool_context": {}}', "tool_context: Extra inputs are not permitted"),
    ],
)
def test_wrong_arguments_are_named(raw: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        weather.parse_arguments(raw)


def test_sphinx_docstring_describes_parameters_too() -> None:
    @aquila.tool(name="add_up", description="Adds.")
    def add(a: int, b: int = 2) -> int:
        """Add.

        :param a: the first
        :param int b: the second,
            of two
        :returns: the sum
        """
        return a + b

    assert (add.name, add.description) == ("add_up", "Adds.")
    assert [each["description"] for each in add.schema["properties"].values()] == ["the first", "the second, of two"]


def test_field_called_title_or_default_stays_in_the_schema() -> None:
    def book(title: str, default: int = 1) -> None: ...

    made = aquila.tool(strict=True)(book).schema
    assert set(made["properties"]) == {"title", "default"}
    assert made["required"] == ["title", "default"]
    assert made["properties"]["default"] == {"type": "integer"}


@pytest.mark.parametrize("strict", [True, False])
def test_names_and_values_in_a_schema_are_not_taken_for_keywords(strict: bool) -> None:
    class Plan(enum.Enum):
        SMALL = {"default": 1, "title": "Small"}
        LARGE = {"discriminator": 2}

    class Order(pydantic.BaseModel):
        plan: Plan

    made = aquila.Tool("order", Order, strict=strict).schema
    parts = [*made.get("$defs", {}).values(), *made["properties"].values()]
    (allowed,) = (each["enum"] for each in parts if "enum" in each)
    assert allowed == [{"default": 1, "title": "Small"}, {"discriminator": 2}]
    named = {name: {"type": "integer"} for name in ("default", "discriminator", "title")}
    spelled = {"properties": {"a": {"$ref": "#/$defs/default"}}, "$defs": named}
    assert aquila.Tool("f", spelled, lambda **given: given, strict=strict).schema["$defs"] == named


def test_strict_schema_has_no_keywords_beside_a_reference() -> None:
    class Node(pydantic.BaseModel):
        place: Annotated[Place, Field(description="where it is")]
        next: Annotated[Node, Field(description="what follows")] | None = None

    Node.model_rebuild(_types_namespace={"Node": Node})
    made = aquila.Tool("walk", Node, strict=True).schema

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert "$ref" not in value or len(value) == 1
            for each in value.values():
                check(each)
        if isinstance(value, list):
            for each in value:
                check(each)

    check(made)
    nodes = made.get("properties") or made["$defs"]["Node"]["properties"]
    assert nodes["place"]["description"] == "where it is"
    assert nodes["place"]["required"] == ["city", "country"]


def test_strict_schema_replaces_a_discriminated_union_by_any_of() -> None:
    class Cat(pydantic.BaseModel):
        kind: Literal["cat"]
        discriminator: str = "a field, and no keyword"

    class Dog(pydantic.BaseModel):
        kind: Literal["dog"]

    class Owner(pydantic.BaseModel):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    made = aquila.Tool("adopt", Owner, strict=True).schema
    assert made["properties"]["pet"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}
    assert made["$defs"]["Cat"]["required"] == ["kind", "discriminator"]


def test_strict_schema_writes_tuples_and_sets_as_lists_and_arguments_are_checked_here() -> None:
    class Box(pydantic.BaseModel):
        corner: tuple[int, int]
        label: tuple[str, Place | None]
        tags: set[str]

    made = aquila.Tool("draw", Box, lambda **given: given, strict=True)
    number, text, size = {"type": "integer"}, {"type": "string"}, {"type": "array", "minItems": 2, "maxItems": 2}
    place = {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}
    assert made.schema["properties"] == {
        "corner": size | {"items": number},
        "label": size | {"items": {"anyOf": [text, place]}},
        "tags": {"type": "array", "items": text},
    }
    with pytest.raises(ValueError, match="label"):
        made.parse_arguments('{"corner": [1, 2], "label": [null, "a"], "tags": []}')

    class Corner(NamedTuple):
        x: int
        y: int

    class Chosen(pydantic.BaseModel):
        corner: Corner = Field(description="where to begin")  # a reference with another keyword

    corner = aquila.Tool("choose", Chosen, strict=True).schema["properties"]["corner"]
    assert corner == size | {"items": number, "description": "where to begin"}
    spelled = {"properties": {"at": {"prefixItems": [number, text], "items": False, "uniqueItems": True}}}
    made = aquila.Tool("f", spelled, lambda **given: given, strict=True)
    assert made.schema["properties"]["at"] == {"items": {"anyOf": [number, text]}}
    with pytest.raises(ValueError, match="at"):
        made.parse_arguments('{"at": ["a", 1]}')


def test_one_of_is_checked_here_where_a_strict_schema_cannot_express_it() -> None:
    city, code = ({"type": "object", "properties": {name: {"type": "string"}}} for name in ("city", "code"))
    made = aquila.Tool("f", {"properties": {"place": {"oneOf": [city, code]}}}, lambda **given: given, strict=True)
    assert made.parse_arguments('{"place": {"city": "Rome"}}') == {"place": {"city": "Rome"}}
    with pytest.raises(ValueError, match="place"):
        made.parse_arguments('{"place": {"city": "Rome", "code": "00100"}}')


def test_schema_of_true_allows_everything() -> None:
    made = aquila.Tool("f", {"properties": {"x": True, "y": False}}, lambda **given: given)
    assert made.parse_arguments('{"x": [1]}') == {"x": [1]}
    with pytest.raises(ValueError, match="y: is not allowed"):
        made.parse_arguments('{"y": 1}')


def test_tool_can_be_made_from_a_handwritten_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}}},
        "required": ["n"],
        "additionalProperties": False,
    }
    made = aquila.Tool("double", schema, lambda n, tags=(): n * 2, "Doubles.")
    assert made.parse_arguments('{"n": 4}') == {"n": 4}
    for raw, message in {
        "{}": "n: is required",
        '{"n": "4"}': "n: must be of type integer",
        '{"n": true}': "n: must be of type integer",
        '{"n": 1, "m": 2}': "m: is not a known argument",
        '{"n": 1, "tags": ["c"]}': "tags.0: must be one of 'a', 'b'",
    }.items():
        with pytest.raises(ValueError, match=message):
            made.parse_arguments(raw)


def test_pydantic_model_serves_as_parameters() -> None:
    made = aquila.Tool("go", Place, lambda city, country="DE": city + country)
    assert made.parse_arguments('{"city": "Ulm"}') == {"city": "Ulm"}
    assert made.schema["required"] == ["city"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: aquila.Tool("no spaces", {}), "letters, digits"),
        (lambda: aquila.Tool("x", {"type": "string"}), "must be of type 'object'"),
        (lambda: aquila.Tool("x", int), "parameters are a JSON schema or a pydantic model"),
        (lambda: aquila.Tool("x", {}, "not callable"), "function must be callable"),
        (lambda: aquila.tool(lambda x: x), "needs a name that a model can call"),
        (lambda: aquila.tool(_many), "cannot be given by name"),
        (lambda: aquila.tool(_opaque), "no JSON schema"),
        (lambda: aquila.tool(_unresolved), "a type hint cannot be resolved"),
        (lambda: aquila.tool(_Counter.count), "method without its object; make the tool of object.count"),
        (lambda: aquila.tool(max), "its parameters are not known"),
        (lambda: make_toolbox("web_search"), "tools is a list"),
        (lambda: make_toolbox(["web_serch"]), r"unknown built-in tool 'web_serch'; did you mean 'web_search'\?"),
        (lambda: make_toolbox(["file_search"]), "'file_search' needs more: .*'vector_store_ids'"),
        (lambda: make_toolbox([5]), "not int"),
        (lambda: make_toolbox([weather, weather]), "two tools are called 'weather'"),
        (lambda: make_toolbox([{"name": "x"}]), "needs a 'type'"),
        (lambda: make_toolbox([{"type": "function"}]), "needs a 'name'"),
    ],
)
def test_tools_that_cannot_work_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


class _Counter:
    def count(self, by: int) -> int:
        return by


def _many(*numbers: int) -> None: ...


def _opaque(thing: object, lock: re.Match[str]) -> None: ...


def _unresolved(thing: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def test_toolbox_takes_tools_functions_names_and_dicts() -> None:
    box = make_toolbox(
        [
            weather,
            _plain,
            "web_search",
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
            {"type": "function", "function": {"name": "chat_form", "parameters": {"type": "object"}}},
            {"type": "function", "name": "responses_form"},
        ]
    )
    assert list(box.tools) == ["weather", "_plain", "chat_form", "responses_form"]
    assert box.built_in == ("web_search", {"type": "file_search", "vector_store_ids": ["vs_1"]})
    assert all(name in BUILT_IN for name in box.built_in if isinstance(name, str))


def _plain(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<Thing object at 0x7f3a2b1c>", "<Thing object>"),
        ("[Errno 2] No such file: '/tmp/pytest-12/x y.txt'", "[Errno 2] No such file: '<path>'"),
        (r"cannot open C:\Users\me\file.txt", "cannot open <path>"),
        ("no file at file:///tmp/a7/b.txt", "no file at <path>"),
        ("at 2026-11-24T10:00:00.123Z it broke", "at <time> it broke"),
        ("took until 10:11:12", "took until <time>"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("1/2 and/or 3", "1/2 and/or 3"),
    ],
)
def test_error_texts_omit_paths_times_and_addresses(text: str, expected: str) -> None:
    assert remove_changing_parts(text) == expected


@given(st.text())
def test_cleaning_an_error_text_is_idempotent(text: str) -> None:
    assert remove_changing_parts(remove_changing_parts(text)) == remove_changing_parts(text)


def test_results_are_sent_to_the_model_as_json() -> None:
    class Odd:
        pass

    assert value_to_text("as it is") == "as it is"
    assert value_to_text(None) == "null"
    assert value_to_text({"b": 1, "place": Place(city="Ulm")}) == '{"b":1,"place":{"city":"Ulm","country":"DE"}}'
    assert value_to_text({"x": {"c", "a", "b"}}) == '{"x":["a","b","c"]}'
    assert "0x" not in value_to_text([Odd()])


def test_parameters_may_have_the_names_of_methods_of_a_pydantic_model() -> None:
    def convert(schema: str, copy: int = 1, json: str = "") -> str:
        return f"{schema} {copy}"

    made = aquila.tool(convert)
    assert list(made.schema["properties"]) == ["schema", "copy", "json"]
    assert made.parse_arguments('{"schema": "a", "copy": 2}') == {"schema": "a", "copy": 2}


def test_private_parameters_are_hidden_from_the_model() -> None:
    def count(word: str, _seen: int = 0) -> int:
        return _seen

    def count_all(_seen: int) -> int:
        return _seen

    def configure(model_config: str) -> None: ...

    assert list(aquila.tool(count).schema["properties"]) == ["word"]
    with pytest.raises(ConfigError, match="give it a default"):
        aquila.tool(count_all)
    with pytest.raises(ConfigError, match="'model_config'"):
        aquila.tool(configure)

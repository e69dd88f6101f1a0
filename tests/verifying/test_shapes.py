"""Shapes of answers: values do not count, and the SDK's types decide whether a difference is critical."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.verifying.answers import read_values
from aquila.verifying.sdk_types import ANYTHING, SdkType, sdk_type_for
from aquila.verifying.shapes import Shape, compare_shapes, shape_of, type_of
from tests.support.slow import slow_but_each
from tests.support.traffic import exchanges, names

OPENAI = ("own", "test_openai", "test_openai_responses")
CHAT = sdk_type_for("/v1/chat/completions", streamed=False)

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
fields = st.sampled_from(["id", "name", "type", "items", "input"])
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4), max_leaves=15
)


def changes(then: Any, now: Any, sdk: SdkType = ANYTHING) -> list[tuple[str, str, bool]]:
    return [(each.path, each.what, each.is_critical) for each in compare_shapes(shape_of([then]), shape_of([now]), sdk)]


@given(json_values, st.data())
def test_different_values_are_not_a_change(value: Any, data: st.DataObject) -> None:
    def others(part: Any, name: str = "") -> Any:
        if isinstance(part, dict):
            return {name: others(each, name) for name, each in part.items()}
        if isinstance(part, list):
            return [others(each) for each in part]
        if name == "type":
            return part
        same = {"null": st.none(), "boolean": st.booleans(), "number": st.integers(), "string": st.text(max_size=3)}
        return data.draw(same[type_of(part)])

    assert changes(value, others(value)) == []


@given(json_values, st.text("xyz", min_size=1, max_size=3), json_values)
def test_new_and_missing_fields_are_notes(value: Any, name: str, new: Any) -> None:
    then = {"value": value}
    assert changes(then, then | {name: new}) == [(name, "new", False)]
    assert changes(then | {name: new}, then) == [(name, "gone", False)]


def completion(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "x", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return whole | changes


def at(value: Any, path: str, new: Any) -> Any:
    """A copy of a value with another one at a path; without what stands there for ``...``."""
    copied = copy.deepcopy(value)
    *parts, last = path.split(".")
    holder = copied
    for part in parts:
        holder = holder[int(part)] if part.isdecimal() else holder[part]
    if new is ...:
        del holder[last]
    else:
        holder[last] = new
    return copied


@pytest.mark.parametrize(
    ("path", "new", "expected"),
    [
        ("choices.0.message.content", None, []),  # the type allows both
        ("choices.0.message.content", 5, [("choices[].message.content", "type", True)]),
        ("choices.0.message.role", ..., [("choices[].message.role", "gone", True)]),
        ("choices.0.message.refusal", ..., [("choices[].message.refusal", "gone", False)]),
        ("choices.0.message.annotations", [], [("choices[].message.annotations", "new", False)]),
        ("choices.0.message.annotations", "x", [("choices[].message.annotations", "type", True)]),
        ("choices.0.message.mood", "good", [("choices[].message.mood", "new", False)]),
        ("created", 1.5, []),
        ("created", "1", [("created", "type", True)]),
        ("usage", ..., [("usage", "gone", False)]),
        ("usage.total_tokens", ..., [("usage.total_tokens", "gone", True)]),
        ("choices", [], []),  # nothing is known of its items
        ("choices", {}, [("choices", "type", True)]),
        ("service_tier", None, [("service_tier", "new", False)]),
    ],
)
def test_the_types_of_the_sdk_decide_whether_a_difference_is_critical(path: str, new: Any, expected: list[Any]) -> None:
    assert changes(completion(), at(completion(), path, new), CHAT) == expected


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ({"a": 1}, {"a": None}, [("a", "type", False)]),
        ({"a": None}, {"a": "x"}, [("a", "type", False)]),
        ({"a": 1}, {"a": "x"}, [("a", "type", True)]),
        (
            [{"type": "text", "a": 1}],
            [{"type": "tool", "b": 1}],
            [("[]<text>", "kind", False), ("[]<tool>", "kind", False)],
        ),
        ({"input": {"a": 1}}, {"input": {"b": "x"}}, []),  # the arguments of a call
        ([{"type": "a"}], [{"type": each} for each in "adcb"], [(f"[]<{each}>", "kind", False) for each in "dcb"]),
    ],
)
def test_without_types_of_an_sdk_only_both_answers_are_compared(then: Any, now: Any, expected: list[Any]) -> None:
    assert changes(then, now) == expected


def test_a_required_field_that_one_of_several_objects_lacks_is_critical() -> None:
    choice = completion()["choices"][0]
    lacking = {name: each for name, each in choice.items() if name != "index"}
    then, now = completion(choices=[choice, choice]), completion(choices=[choice, lacking])
    assert changes(then, now, CHAT) == [("choices[].index", "gone", True)]


def test_the_type_of_an_object_is_that_of_its_kind() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    sdk = sdk_type_for("/v1/responses", streamed=False)
    found = changes({"output": [call]}, {"output": [at(call, "name", ...)]}, sdk)
    assert found == [("output[]<function_call>.name", "gone", True)]


def test_a_streamed_tool_call_of_another_kind_is_unknown_to_the_sdk_and_a_later_piece_is_not() -> None:
    def chunk(*calls: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, **call} for call in calls]}}]}

    sdk = sdk_type_for("/v1/chat/completions", streamed=True)
    live = shape_of([chunk({"type": "function"}, {"type": "odd"}, {})])
    found = list(compare_shapes(shape_of([chunk({"type": "function"})]), live, sdk))
    assert [each.text for each in found] == ["new, which the SDK does not know", "new"]


@pytest.mark.parametrize(("path", "kind"), [("generations", "image_generation"), ("edits", "image_edit")])
def test_the_events_of_a_streamed_image_are_known(path: str, kind: str) -> None:
    sdk = sdk_type_for(f"/v1/images/{path}", streamed=True)
    assert [sdk.knows_kind(f"{kind}.{end}") for end in ("partial_image", "completed", "odd")] == [True, True, False]


@pytest.mark.parametrize("name", slow_but_each(4, [name for name in names() if name.partition("/")[0] in OPENAI]))
def test_the_types_of_the_sdk_allow_what_providers_answer(name: str) -> None:
    for each in exchanges(name):
        form, values = read_values(each.body)
        if each.endpoint is None or each.status != 200 or form == "bytes":
            continue
        sdk = sdk_type_for(each.path, streamed=form == "events")
        assert sdk.is_known
        untyped = shape_of(values)
        forget_types(untyped)
        assert [one for one in compare_shapes(untyped, shape_of(values), sdk) if one.is_critical] == []


def forget_types(shape: Shape) -> None:
    """Let a shape be one whose fields had no type, so that each type is a new one."""
    shape.types.clear()
    if shape.items is not None:
        forget_types(shape.items)
    for each in (field for kind in shape.objects.values() for field in kind.fields.values()):
        forget_types(each)

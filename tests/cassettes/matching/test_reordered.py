"""A request that differs from its recording in nothing but an order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedRequest
from tests.cassettes.matching.test_miss_message import chat, explain, request

REMARK = "holds the same as the recording, in another order"


def schema(*required: str) -> RecordedRequest:
    return chat("hi", response_format={"json_schema": {"schema": {"required": list(required)}}})


def tools(*names: str) -> RecordedRequest:
    return chat("hi", tools=[{"function": {"name": name, "strict": name == "find"}} for name in names])


ANOTHER_ORDER = [
    (chat("Topics: park, school, river."), chat("Topics: river, park, school."), "messages[1].content"),
    (chat("Topics: {'a b', 'c d'}"), chat("Topics: {'c d', 'a b'}"), "messages[1].content"),
    (chat('{"one": 1, "two": 2.5}'), chat('{"two": 2.5, "one": 1}'), "messages[1].content"),
    (chat("Combine: A heron.\n\nAn owl."), chat("Combine: An owl.\n\nA heron."), "messages[1].content"),
    (schema("a", "b", "c"), schema("c", "a", "b"), "response_format.json_schema.schema.required[*]"),
    (tools("find", "read"), tools("read", "find"), "tools[*].function.name"),
    (request({"input": [1, "two"]}), request({"input": ["two", 1]}), "input[*]"),
]


@pytest.mark.parametrize(("recorded", "now", "place"), ANOTHER_ORDER)
def test_a_miss_says_that_only_an_order_differs(recorded: RecordedRequest, now: RecordedRequest, place: str) -> None:
    shown = " ".join(explain(now, recorded).split())
    assert f"{place} {REMARK}." in shown
    assert "recording again is not enough: sort it" in shown


SOMETHING_ELSE = [
    (chat("Topics: park, school"), chat("Topics: school, parks")),
    (chat("Topics: park, school"), chat("Topics:  park,\nschool")),  # the same order
    (chat("Topics: park, school, school"), chat("Topics: school, park, park")),
    (chat("Version 1.5 at 12:30"), chat("Version 5.1 at 30:12")),
    (chat("park school", temperature=0), chat("school park", temperature=1)),
    (schema("a", "b"), schema("b", "c")),
    (schema("a", "b"), schema("b")),
    (RecordedRequest("GET", "https://x/y?a=1"), RecordedRequest("GET", "https://x/y?a=2")),
]


@pytest.mark.parametrize(("recorded", "now"), SOMETHING_ELSE)
def test_a_miss_for_another_reason_says_nothing_of_an_order(recorded: RecordedRequest, now: RecordedRequest) -> None:
    assert REMARK not in " ".join(explain(now, recorded).split())


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=8), st.data())
def test_any_list_in_another_order_is_told(words: list[str], data: Any) -> None:
    shuffled = data.draw(st.permutations(words))
    remark = " ".join(explain(chat(" ".join(shuffled)), chat(" ".join(words))).split())
    assert (REMARK in remark) == (shuffled != words)

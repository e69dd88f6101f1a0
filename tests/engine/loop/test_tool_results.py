"""The result of a tool is the same text for the model in every process."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from pydantic import BaseModel, Field

from aquila.engine.loop.tool_execution import (
    PreparedToolCall,
    ToolOutcome,
    run_tools,
    run_tools_async,
    value_to_text,
)
from aquila.events import ToolCall


class Tags(BaseModel):
    names: set[str]
    when: datetime.date = datetime.date(2026, 1, 2)
    inner: list[dict[str, frozenset[int]]] = Field(default_factory=list, alias="innerSets")


@dataclass
class Plain:
    tags: Tags
    words: frozenset[str] = field(default_factory=frozenset)


NAMES = {"kestrel", "harrier", "osprey", "buzzard", "merlin"}


def test_sets_within_models_and_dataclasses_are_sorted() -> None:
    told = value_to_text(Plain(Tags(names=NAMES, innerSets=[{"a": frozenset({3, 1, 2})}]), frozenset({"b", "a"})))
    assert told == (
        '{"tags":{"names":["buzzard","harrier","kestrel","merlin","osprey"],"when":"2026-01-02",'
        '"innerSets":[{"a":[1,2,3]}]},"words":["a","b"]}'
    )


def test_a_dataclass_may_hold_what_pydantic_has_no_schema_for() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "odd"

    @dataclass
    class Held:
        things: list[Odd]  # pydantic cannot look up the name either
        words: set[str]

    assert value_to_text({"held": Held([Odd()], {"b", "a"})}) == '{"held":{"things":["odd"],"words":["a","b"]}}'


@pytest.mark.slow
def test_the_order_does_not_depend_on_the_hash_seed_of_the_process() -> None:
    program = (
        "from pydantic import BaseModel\nfrom aquila.engine.loop.tool_execution import value_to_text\n"
        "class Tags(BaseModel):\n    names: set[str]\n"
        f"print(value_to_text([Tags(names={NAMES!r})]))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_custom_serializers_of_a_model_are_used() -> None:
    from pydantic import field_serializer

    class Price(BaseModel):
        cents: int

        @field_serializer("cents", when_used="json")
        def shown(self, cents: int) -> str:
            return f"{cents / 100:.2f}"

    assert value_to_text(Price(cents=1250)) == '{"cents":"12.50"}'


async def wait_for_what_is_cancelled() -> None:
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    waiting.cancel()
    await waiting


async def answer_later() -> str:
    await asyncio.sleep(0)
    return "fine"


def prepared(*functions: Callable[[], Awaitable[object]]) -> list[PreparedToolCall]:
    return [PreparedToolCall(ToolCall("1", "tool", {}, "{}"), function, {}, True) for function in functions]


RUNNERS = [lambda ready: run_tools(ready, lambda work: work), lambda ready: asyncio.run(run_tools_async(ready))]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("run", RUNNERS)
def test_an_outcome_of_pytest_that_a_tool_raises_is_raised_as_it_is(
    run: Callable[[list[PreparedToolCall]], list[ToolOutcome]], count: int
) -> None:
    async def skip() -> None:
        pytest.skip("no network")

    with pytest.raises(pytest.skip.Exception, match="no network"):
        run(prepared(skip, answer_later)[:count])


@pytest.mark.parametrize("run", RUNNERS)
def test_a_tool_whose_own_task_was_cancelled_fails_alone(
    run: Callable[[list[PreparedToolCall]], list[ToolOutcome]],
) -> None:
    first, second = run(prepared(wait_for_what_is_cancelled, answer_later))
    assert "cancelled" in str(first.error)
    assert (second.value, second.error) == ("fine", None)
    (alone,) = run(prepared(wait_for_what_is_cancelled))
    assert "cancelled" in str(alone.error)


@pytest.mark.parametrize("count", [1, 2])
def test_tools_of_a_call_that_is_cancelled_are_cancelled(count: int) -> None:
    async def scenario() -> None:
        started = asyncio.Event()

        async def wait_for_ever() -> None:
            started.set()
            await asyncio.Event().wait()

        running = asyncio.create_task(run_tools_async(prepared(*[wait_for_ever] * count)))
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())

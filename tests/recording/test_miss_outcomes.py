"""Where an outcome of the test would end a task of asyncio that nothing awaits, so that its reader waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aquila.recording.miss_outcomes import is_in_background_task

Work = Callable[[], Awaitable[None]]


async def in_group(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work())  # type: ignore[arg-type]


async def gathered(work: Work) -> None:
    await asyncio.gather(work(), asyncio.sleep(0))


async def shielded(work: Work) -> None:
    await asyncio.shield(work())


@pytest.mark.parametrize("awaited_by", [in_group, gathered, shielded])
@pytest.mark.parametrize("background", [False, True])
def test_a_task_is_as_much_in_the_background_as_the_one_that_awaits_it(
    background: bool, awaited_by: Callable[[Work], Awaitable[None]]
) -> None:
    async def run() -> bool:
        answer = asyncio.get_running_loop().create_future()

        async def work() -> None:
            answer.set_result(is_in_background_task())

        if not background:
            await awaited_by(work)
            return bool(await answer)
        task = asyncio.ensure_future(awaited_by(work))
        told = bool(await answer)
        await task
        return told

    assert asyncio.run(run()) == background

import time

import anyio
import httpcore2  # noqa: F401 - httpx2 imports it late, in the event loop, which blockbuster refuses
import pytest
from app import aask
from blockbuster import BlockingError, blockbuster_ctx

pytestmark = [pytest.mark.anyio, pytest.mark.aquila]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster():
    with blockbuster_ctx() as detector:
        for function in detector.functions.values():
            function.can_block_in("provider.py", "_answer")  # it stands for the network
        yield detector


async def test_one():
    assert await aask("blockbuster one") == "about blockbuster one"


async def test_some(aquila_cassette):
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(aask, f"blockbuster {number}")
    assert aquila_cassette.requests


async def test_what_the_program_does_is_still_refused(aquila_cassette):
    await aask("blockbuster last")
    with pytest.raises(BlockingError):
        time.sleep(0.01)

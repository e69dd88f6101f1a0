import anyio
import pytest
from app import aask, aask_over_socket

pytestmark = [pytest.mark.anyio, pytest.mark.aquila]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture(scope="module")
async def of_module(anyio_backend):
    yield await aask("anyio module")
    await aask("anyio module teardown")


async def test_one(of_module):
    assert await aask("anyio one") == "about anyio one"


async def test_task_group(aquila_cassette):
    answers = []

    async def task(number):
        answers.append(await aask(f"anyio task {number}"))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(task, number)
    assert len(answers) == 3


@pytest.mark.aquila("socket")
async def test_socket(anyio_backend):
    if anyio_backend == "trio":
        pytest.skip("websockets needs asyncio")
    assert await aask_over_socket("over a socket") == "heard over a socket"

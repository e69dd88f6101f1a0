import pytest
from app import aask, aask_over_socket, ask


@pytest.fixture(scope="module")
async def of_module():
    yield await aask("auto module")
    await aask("auto module teardown")


@pytest.fixture
async def of_test(aquila_cassette):
    return await aask("auto fixture")


async def test_one(of_module):
    assert of_module == "about auto module"


async def test_two(of_test, aquila_cassette):
    assert await aask("auto two") == "about auto two"


def test_sync_beside(aquila_cassette):
    assert ask("auto sync") == "about auto sync"


@pytest.mark.aquila("socket")
async def test_socket():
    assert await aask_over_socket("over a socket") == "heard over a socket"

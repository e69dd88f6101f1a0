import asyncio

import pytest
import pytest_asyncio
from app import aask, aask_over_socket

pytestmark = pytest.mark.aquila


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def of_session():
    return await aask("strict session")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def of_module():
    yield await aask("strict module")
    await aask("strict module teardown")


@pytest_asyncio.fixture
async def of_test():
    yield await aask("strict fixture")
    await aask("strict fixture teardown")


@pytest.mark.asyncio
async def test_loop_of_the_test(of_test):
    assert await aask("strict function") == "about strict function"


@pytest.mark.asyncio(loop_scope="module")
async def test_loop_of_the_module(of_module):
    first, second = await asyncio.gather(aask("strict gather 1"), aask("strict gather 2"))
    assert (first, second) == ("about strict gather 1", "about strict gather 2")


@pytest.mark.asyncio(loop_scope="session")
async def test_loop_of_the_session(of_session, aquila_cassette):
    assert await asyncio.create_task(aask("strict task")) == "about strict task"


@pytest.mark.asyncio(loop_scope="session")
async def test_loop_of_the_session_again(of_session):
    assert of_session == "about strict session"
    assert await aask("strict again")


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.aquila("socket")
async def test_socket():
    assert await asyncio.create_task(aask_over_socket("over a socket")) == "heard over a socket"

import pytest
from app import aask


@pytest.fixture
async def answer(aquila_cassette):
    yield await aask("trio fixture")
    await aask("trio fixture teardown")


@pytest.mark.trio
async def test_one(answer):
    assert answer == "about trio fixture"
    assert await aask("trio one") == "about trio one"

"""A folder with a configuration of its own; the module is marked as a whole."""

import httpx
import pytest

pytestmark = [pytest.mark.vcr, pytest.mark.block_network]


def test_its_matchers_and_its_cassettes(vcr):
    assert httpx.get("https://api.example.com/items?page=9").json() == {"number": 1}
    assert "kept" in vcr._path


@pytest.mark.vcr(match_on=["uri"])
def test_the_nearest_mark_wins():
    httpx.get("https://api.example.com/items?page=9")


@pytest.fixture
def default_cassette_name():
    return "test_its_matchers_and_its_cassettes"


def test_a_name_by_a_fixture():
    assert httpx.get("https://api.example.com/items").json() == {"number": 1}

"""Tests and fixtures of every kind that need no other plugin."""

import pytest
from app import ask


@pytest.fixture(scope="session")
def of_session(tmp_path_factory):
    yield ask("plain session")
    ask("plain session teardown")


@pytest.fixture(scope="module", autouse=True)
def of_module():
    return ask("plain module")


@pytest.fixture(params=["a", "b"], scope="class")
def of_class(request):
    return ask(f"plain class {request.param}")


class TestMarked:
    pytestmark = pytest.mark.aquila

    def test_one(self, of_session, of_class, tmp_path):
        assert ask("plain one") == "about plain one"

    def test_two(self, of_session, of_module):
        assert ask("plain two") == "about plain two"


@pytest.mark.parametrize("number", range(4))
def test_with_cassette(number, of_session, aquila_cassette):
    assert ask(f"plain number {number}")


def test_unmarked(of_session, of_module):
    assert of_session == "about plain session"


@pytest.mark.aquila
def test_skips_after_asking():
    if ask("plain skip"):
        pytest.skip("as meant")


@pytest.mark.aquila
@pytest.mark.xfail(strict=True, raises=AssertionError)
def test_xfails_after_asking():
    assert ask("plain xfail") == "something else"

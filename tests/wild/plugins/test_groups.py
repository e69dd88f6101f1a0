"""Tests that pytest-xdist runs in one worker. Their ids end in the name of their group."""

import pytest
from app import ask

pytestmark = pytest.mark.aquila


@pytest.fixture(scope="module")
def shared():
    return ask("groups shared")


@pytest.mark.xdist_group("one of them")
@pytest.mark.parametrize("word", ["a", "b@c"])
def test_in_a_group(word, shared):
    assert ask(f"groups {word}") == f"about groups {word}"


def test_in_no_group():
    assert ask("groups none") == "about groups none"

"""The tests of a user's project: each way of its client, from a cassette."""

import os

import app
import observer
import pytest

WAYS = os.environ["WILD_WAYS"].split()
PROMPT = os.environ["WILD_PROMPT"]


@pytest.mark.parametrize("way", WAYS)
def test_asking(way, aquila_cassette):
    observer.use(way, getattr(app, way), PROMPT)
    assert aquila_cassette.all_played

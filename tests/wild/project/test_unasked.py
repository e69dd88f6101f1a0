"""Tests that say nothing of a cassette."""

import os

import app
import observer
import pytest

WAYS = os.environ["WILD_WAYS"].split()
PROMPT = os.environ["WILD_PROMPT"]


@pytest.mark.parametrize("way", WAYS)
def test_unasked(way):
    observer.use(way, getattr(app, way), PROMPT)

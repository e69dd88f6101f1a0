"""Tests that say nothing of a cassette."""

import os

import app
import observer
import pytest
from ways import PROMPT


@pytest.mark.parametrize("way", os.environ["WILD_WAYS"].split())
def test_unasked(way):
    observer.use(way, getattr(app, way), PROMPT)

"""Tests that say nothing of a cassette."""

import pytest
from ways import PROMPT, WAYS, go


@pytest.mark.parametrize("way", WAYS)
def test_unasked(way):
    go(way, PROMPT)

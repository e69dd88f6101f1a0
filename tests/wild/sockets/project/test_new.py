"""Tests that have not been recorded yet."""

from ways import PROMPT, each_way, go


@each_way("new-{}")
def test_new(way):
    go(way, PROMPT)

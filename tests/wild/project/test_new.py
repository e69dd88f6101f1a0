"""Tests that have not been recorded yet."""

import app
import observer
from ways import PROMPT, each_way


@each_way("new-{}")
def test_new(way):
    observer.use(way, getattr(app, way), PROMPT)

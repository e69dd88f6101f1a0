"""The same tests from the same cassettes, after the prompt has been changed."""

import app
import observer
from ways import OTHER_PROMPT, each_way


@each_way()
def test_changed(way):
    observer.use(way, getattr(app, way), OTHER_PROMPT)

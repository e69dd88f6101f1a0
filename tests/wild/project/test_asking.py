"""Each way of the client, from a cassette."""

import app
import observer
from ways import PROMPT, each_way


@each_way()
def test_asking(way, aquila_cassette):
    observer.use(way, getattr(app, way), PROMPT)
    assert aquila_cassette.all_played

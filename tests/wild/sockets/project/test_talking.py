"""Each way of each client. What it raises is what the program sees."""

import observer
from ways import PROMPT, each_way, go


@each_way()
def test_talking(way, request):
    is_caught = request.config.pluginmanager.hasplugin("aquila")
    cassette = request.getfixturevalue("aquila_cassette") if is_caught else None
    try:
        seen = go(way, PROMPT)
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        seen = f"raised {type(error).__module__}.{type(error).__qualname__}: {error}"
    observer.note(way, seen)
    assert cassette is None or cassette.all_played

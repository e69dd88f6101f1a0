"""``--aquila-drift``: after a changed message, a conversation goes on, and the difference is reported."""

from __future__ import annotations

import json

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files
from tests.cassettes.web_socket_frames.conversations import received, sent, store
from tests.cassettes.web_socket_frames.test_sounds import append
from tests.plugin.conftest import Project

URL = "wss://api.openai.com/v1/realtime?model=m"
TESTS = f"""
import json
from websockets.sync.client import connect

@pytest.mark.aquila("x", silence=5)
def test_talk(aquila_cassette):
    with connect({URL!r}) as connection:
        for message in MESSAGES:
            connection.send(json.dumps(message))
        assert connection.recv(60) == "bye"
"""


def test_changed_messages_are_reported_and_the_conversation_goes_on(project: Project) -> None:
    recorded = [
        {"type": "session.update", "session": {"speed": 1, "voice": "alloy"}},
        {"type": "item.create", "item": {"id": "msg_1", "text": "Hi"}},
        append(b"one"),
        append(b"two"),
        {"type": "commit", "item_id": "msg_1"},
    ]
    chunks = tuple(store(*map(sent, recorded), received(b"bye")))
    interaction = Interaction(
        RecordedRequest("GET", URL), RecordedResponse(101, chunks=chunks, end="closed"), kind="websocket"
    )
    cassette_files.save_cassette(project.cassettes / "x.yaml", Cassette((interaction,)))
    now = [
        {"type": "session.update", "session": {"speed": 2, "voice": "alloy"}},
        {"type": "item.create", "item": {"id": "msg_2", "text": "Hello"}},
        append(b"o"),
        append(b"ther"),
        append(b"sound"),
        {"type": "commit", "item_id": "msg_2"},
    ]
    result = project.run("--aquila-drift=drift.json", tests=TESTS.replace("MESSAGES", repr(now)))
    result.assert_outcomes(passed=1)
    report = json.loads((project.pytester.path / "drift.json").read_text())
    changes = [
        ("session.speed", "1", "2"),
        ("item.text", "'Hi'", "'Hello'"),
        ("sound", "as it is", "another"),
    ]
    found = [(one["path"], one["recorded"], one["now"]) for group in report["groups"] for one in group["changes"]]
    assert sorted(found) == sorted(changes)
    assert ["aquila_ignore = session.speed"] in [group["settings"] for group in report["groups"]]
    result = project.run("--aquila-drift", tests=TESTS.replace("MESSAGES", repr(recorded)))
    assert "aquila: drift: none" in result.outlines

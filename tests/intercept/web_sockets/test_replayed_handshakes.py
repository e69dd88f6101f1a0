"""The answer to a handshake has the recorded header fields in a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from websockets.sync.client import connect

import aquila
from tests.support.web_sockets import web_socket_server

DATE = "Tue, 01 Sep 2026 09:00:00 GMT"


def test_the_recorded_date_takes_the_place_of_that_of_the_replay(root: Path) -> None:
    def answer_in_september(connection: Any, request: Any, response: Any) -> None:
        del response.headers["Date"]
        response.headers["Date"] = DATE

    with web_socket_server(lambda connection: connection.recv(60), process_response=answer_in_september) as provider:
        for transport in ("record", "replay"):
            with (
                aquila.use_cassette("x", transport=transport),
                connect(f"{provider.url}/v1/realtime?model=m") as connection,
            ):
                assert connection.response is not None
                assert connection.response.headers.get_all("date") == [DATE]
    assert len(provider.paths) == 1

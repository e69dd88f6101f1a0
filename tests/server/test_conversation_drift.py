"""A conversation that drifts behind ``aquila serve --record``: nothing can be run again, so the client is told."""

from __future__ import annotations

from pathlib import Path

import httpx2

from aquila.cassettes.storage.cassette_files import load_cassette
from tests.server.conftest import TOKEN, Serve
from tests.support.server import Seen
from tests.support.stateful_api import StatefulApi
from tests.support.upstream import Answer, Upstream


def converse(base_url: str, last: str) -> httpx2.Response:
    """A conversation of two requests; the second answer."""
    with httpx2.Client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        first = client.post(f"{base_url}/responses", json={"model": "m", "input": "What is an eagle?"}).json()
        body = {"model": "m", "input": last, "previous_response_id": first["id"]}
        return client.post(f"{base_url}/responses", json=body)


def test_a_client_is_told_how_to_record_the_conversation_anew(root: Path, serve: Serve, provider: Upstream) -> None:
    api = StatefulApi()

    def script(path: str, body: bytes) -> Answer:
        answer = api(Seen("POST", path, {}, body))
        pieces = [piece for piece in answer.pieces if isinstance(piece, bytes)]
        return Answer(answer.status, {"content-type": answer.content_type}, pieces)

    provider.script = script
    with serve(record="missing", cassette="talk") as running:
        assert converse(running.base_url, "Is it large?").status_code == 200
    api.restart()
    before = load_cassette(root / "talk.yaml")
    with serve(record="missing", cassette="talk") as running:
        refused = converse(running.base_url, "Is it very large?")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (404, "cassette_miss")
    assert "previous_response_id names an id that was replayed from recording 1 of talk" in error["message"]
    assert "AQUILA_RECORD=all" in error["message"]
    assert load_cassette(root / "talk.yaml") == before
    assert len(provider.requests) == 2
    with serve(record="all", cassette="talk") as running:
        assert converse(running.base_url, "Is it very large?").status_code == 200
    with serve(record="missing", cassette="talk") as running:
        assert converse(running.base_url, "Is it very large?").status_code == 200
    assert (len(provider.requests), api.refused) == (4, [])

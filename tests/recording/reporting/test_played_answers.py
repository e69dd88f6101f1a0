"""Answers that other processes have played are counted."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from aquila import use_cassette
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import save_cassette
from aquila.recording import runtime
from aquila.recording.reporting import played_answers
from aquila.recording.reporting.exchange_watch import ExchangeWatch
from aquila.recording.reporting.played_answers import PlayedAnswer, plays_of
from aquila.recording.scope import Scope, current_scope


def test_a_play_from_a_cassette_that_is_not_in_the_folder_of_this_process_counts_all_the_same(root: Path) -> None:
    runtime.current_run().exchange_watch = ExchangeWatch(lambda *taken: None, lambda job: None)
    told = [1.5, 20, "2026-01-01T00:00:00Z", "only-there", 0]
    assert plays_of(Scope(kind="block"), [told]) == [PlayedAnswer(1.5, 20, "2026-01-01T00:00:00Z")]


def test_the_tokens_of_an_answer_that_is_repeated_are_counted_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = RecordedRequest("GET", "https://api.openai.com/v1/models")
    save_cassette(root / "models.yaml", Cassette([Interaction(request, RecordedResponse(200), recorded="2026-01-01")]))
    counted: list[Interaction] = []
    monkeypatch.setattr(played_answers, "count_tokens", lambda interaction: counted.append(interaction) or 7)
    with use_cassette("models", repeat="last"), httpx2.Client() as client:
        for _ in range(3):
            client.get(request.url)
        scope = current_scope()
        assert scope is not None
        played = plays_of(scope, [])
        assert [each.tokens for each in played] == [7, 0, 0]
        assert len(counted) == 1

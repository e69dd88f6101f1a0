"""Answers that other processes have played are counted."""

from __future__ import annotations

from pathlib import Path

from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import ExchangeWatch
from aquila.recording.reporting.played_answers import PlayedAnswer, plays_of
from aquila.recording.scope import Scope


def test_a_play_from_a_cassette_that_is_not_in_the_folder_of_this_process_counts_all_the_same(root: Path) -> None:
    runtime.current_run().exchange_watch = ExchangeWatch(lambda *taken: None, lambda job: None)
    told = ["a message", 1.5, 20, "2026-01-01T00:00:00Z", "only-there", 0]
    assert plays_of(Scope(kind="block"), [told]) == [PlayedAnswer(1.5, 20, "2026-01-01T00:00:00Z")]

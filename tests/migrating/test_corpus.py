"""Cassettes that vcrpy recorded replay as they are, to a client that knows nothing of Aquila."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import httpx2
import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.runs import separate_run
from tests.support.slow import slow_but_each
from tests.support.traffic import recorded_files


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with separate_run(tmp_path):
        (tmp_path / "cassettes").mkdir()
        yield tmp_path / "cassettes"


@pytest.mark.parametrize("recorded", slow_but_each(4, recorded_files()), ids=lambda path: path.stem)
def test_every_recording_of_a_cassette_replays(recorded: Path, root: Path) -> None:
    shutil.copy(recorded, root / "old.yaml")
    stored = load_cassette(root / "old.yaml").interactions
    assert stored
    for library in (httpx2, httpx):
        with aquila.use_cassette("old") as cassette, library.Client() as client:
            for one in stored:
                answer = client.request(
                    one.request.method, one.request.url, headers=list(one.request.headers), content=one.request.body
                )
                assert (answer.status_code, answer.content) == (one.response.status, one.response.body)
            assert cassette.all_played
            assert cassette.play_count == len(stored)

"""The pending files beside the cassettes of a whole run are found, and a folder without any is only listed."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.merging import Changes, NewRecording
from aquila.errors import CassetteMiss
from aquila.recording.storing import journal_merging, pending_files

FORMS = ["one.pending.yaml", "two.pending.msgpack", "three.script.pending.yaml"]


def test_pending_files_are_found_in_every_folder_and_form(tmp_path: Path) -> None:
    for folder in ("tests", "tests/deep", "other"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    waiting = [tmp_path / "tests" / FORMS[0], tmp_path / "tests/deep" / FORMS[1], tmp_path / "other" / FORMS[2]]
    for path in waiting:
        path.write_text("")
    (tmp_path / "tests/unused.pending.yaml").write_text("")
    cassettes = ["tests/one", "tests/two", "tests/deep/one", "tests/deep/two", "other/three", "gone/one"]
    found = list(pending_files.find_all_pending_files((tmp_path, name) for name in cassettes))
    assert found == [(tmp_path, path) for path in waiting]


def test_a_folder_without_pending_files_is_listed_once_and_no_file_in_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    listed: list[object] = []
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listed.append(folder) or list_folder(folder))
    monkeypatch.setattr(pending_files, "find_pending_files", lambda root, name: pytest.fail(f"looked for {name}"))
    names = [f"tests/test_{number}" for number in range(9)]
    assert list(pending_files.find_all_pending_files((tmp_path, name) for name in names)) == []
    assert listed == [str(tmp_path / "tests")]


def test_files_are_looked_for_one_by_one_in_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FORMS[0]).write_text("")

    def refuse(folder: str) -> list[str]:
        raise PermissionError(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    found = list(pending_files.find_all_pending_files([(tmp_path, "one"), (tmp_path, "two")]))
    assert found == [(tmp_path, tmp_path / FORMS[0])]


def test_a_miss_reads_each_pending_file_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9/v1/models"
    asked = [RecordedRequest("GET", url), RecordedRequest("GET", f"{url}/new")]
    stored = [Interaction(each, RecordedResponse(200)) for each in asked]
    cassette_files.save_cassette(root / "x.yaml", Cassette.from_interactions(stored[:1]))
    pending = cassette_files.pending_path(root / "x.yaml")
    cassette_files.save_cassette(pending, Cassette.from_interactions(stored))
    read: list[Path] = []
    load = cassette_files.load_cassette
    monkeypatch.setattr(cassette_files, "load_cassette", lambda path, **kw: read.append(Path(path)) or load(path, **kw))
    with (
        aquila.use_cassette("x"),
        httpx2.Client() as client,
        pytest.raises(CassetteMiss, match="It answers this request"),
    ):
        client.get(f"{url}/new")
    assert read.count(pending) == 1


@pytest.mark.parametrize(("day", "kept"), [(1, "waiting"), (3, "stored")])
def test_of_a_cassette_that_was_written_since_only_later_recordings_replace_what_waits(
    day: int, kept: str, root: Path
) -> None:
    """git may have written it: its time of change is new then, and its recordings are not."""

    def recording(path: str, answer: str, day: int) -> Interaction:
        request = RecordedRequest("GET", f"http://127.0.0.1:9/{path}")
        return Interaction(request, RecordedResponse(200, (), (RecordedChunk(answer.encode()),)), f"2026-11-0{day}")

    beside = cassette_files.pending_path(root / "x.yaml")
    cassette_files.save_cassette(beside, Cassette((recording("one", "waiting", 2),)))
    os.utime(beside, (1, 1))
    stored = Cassette((recording("one", "stored", day),))
    cassette_files.save_cassette(root / "x.yaml", stored)
    new = recording("two", "new", 4)
    row = NewRecording(journal_merging.stored_key(MatchRules())(new.request), 0, 0, new)
    journal_merging.keep_pending(root / "x.yaml", stored, [(Changes((row,)), MatchRules())], root)
    waiting = cassette_files.load_cassette(beside).interactions
    assert [each.response.body.decode() for each in waiting] == [kept, "new"]

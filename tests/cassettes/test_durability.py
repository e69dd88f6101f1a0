"""Nothing recorded is lost: kills, many processes at once, and disks that do not take it. With real processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import aquila
from aquila.cassettes import journal, recording, store
from aquila.errors import CassetteWriteError
from tests.support import writers
from tests.support.writers import finished, post, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with writers.recording_project(tmp_path) as cassettes:
        yield cassettes


def prompts(path: Path) -> list[object]:
    return [json.loads(row.request.body)["prompt"] for row in store.load(path).interactions]


def record(*asked: object) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        for prompt in asked:
            post(client, prompt)


def test_a_kill_at_any_moment_loses_no_finished_interaction(root: Path) -> None:
    chance = random.Random(5)
    acknowledged: dict[str, int] = {}
    for number in range(50):
        done, its_end = multiprocessing.Pipe()
        process = start(writers.record_until_killed, root.parent, f"killed-{number}", its_end)
        its_end.close()
        seen = 0
        for _ in range(chance.randrange(1, 30)):
            done.recv_bytes()
            seen += 1
        for _ in range(chance.randrange(20_000)):  # a moment anywhere within an interaction
            pass
        process.kill()
        assert finished(process) == -signal.SIGKILL
        try:
            while True:
                done.recv_bytes()
                seen += 1
        except EOFError:
            acknowledged[f"killed-{number}"] = seen
    assert not list(root.glob("*.yaml"))
    assert len(recording.recover(root)) == 50
    for name, count in acknowledged.items():
        stored = prompts(root / f"{name}.yaml")
        assert stored[:count] == list(range(count))
        assert len(stored) <= count + 1  # the one in progress may have been finished, and not yet reported
    assert recording.recover(root) == []


def test_recovering_replaces_nothing_that_a_cassette_holds(root: Path) -> None:
    record("kept")
    before = (root / "x.yaml").read_bytes()
    finished(start(writers.record_anew_and_die, root.parent))
    recording.recover(root)
    assert (root / "x.yaml").read_bytes() == before
    assert prompts(root / "x.pending.yaml") == ["kept"]


def test_four_processes_with_eight_threads_store_each_interaction_exactly_once(root: Path) -> None:
    together = multiprocessing.get_context("forkserver").Barrier(4)
    processes = [start(writers.record_from_eight_threads, root.parent, n, together) for n in range(4)]
    assert [finished(process) for process in processes] == [0, 0, 0, 0]
    counts = Counter(prompts(root / "shared.yaml"))
    # Each process is a scope of its own: its n-th identical request gets the n-th recording.
    assert counts.pop("the same everywhere") == 8
    assert counts == {f"{p}-{t}-{n}": 1 for p in range(4) for t in range(8) for n in range(4)}
    assert list((root / ".journal").glob("*.journal")) == []


def test_children_of_a_scope_record_into_it_and_its_owner_stores_all(root: Path) -> None:
    with aquila.use_cassette("x") as cassette, aquila.http_client() as client:
        post(client, "owner")
        finished(start(writers.join_record_and_die, root.parent, cassette._scope.stamp()))
    assert sorted(map(str, prompts(root / "x.yaml"))) == ["child", "owner"]
    assert list((root / ".journal").glob("*.journal")) == []


def test_the_recordings_of_a_running_scope_are_not_recovered_by_another_run(root: Path) -> None:
    reached, its_end = multiprocessing.Pipe()
    process = start(writers.record_and_hold, root.parent, its_end)
    reached.recv_bytes()
    assert recording.recover(root) == []
    reached.send_bytes(b".")
    assert finished(process) == 0
    assert prompts(root / "x.yaml") == [1]


def test_what_a_scope_recorded_is_its_own_until_it_is_stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = store.save
    taken_over: list[object] = []

    def saving(*arguments: object) -> None:
        taken_over.extend(recording.recover(root))
        save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "save", saving)
    with pytest.raises(ZeroDivisionError), aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "hi")
        raise ZeroDivisionError
    assert taken_over == []
    assert [path.name for path in root.glob("*.yaml")] == ["x.pending.yaml"]
    assert list((root / ".journal").glob("*.journal")) == []


def test_a_disk_that_is_full_leaves_the_cassette_as_it_was(root: Path) -> None:
    record("old")
    before = (root / "x.yaml").read_bytes()
    many = [f"a prompt that takes room {number}" for number in range(100)]
    assert finished(start(writers.record_onto_a_full_disk, root.parent, 2000, many)) == 0
    assert (root / "x.yaml").read_bytes() == before
    assert not list(root.glob(".*.tmp"))


def test_a_cassette_that_does_not_fit_any_more_stays_and_its_recordings_wait_in_the_journal(root: Path) -> None:
    record("old " * 2000)
    before = (root / "x.yaml").read_bytes()
    assert finished(start(writers.record_onto_a_full_disk, root.parent, 5000, ["new"])) == 0
    assert (root / "x.yaml").read_bytes() == before
    assert [(path.name, count) for path, count in recording.recover(root)] == [("x.yaml", 1)]
    assert prompts(root / "x.yaml")[1:] == ["new"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that an unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_is_read_only_is_noticed_before_anything_is_asked(open_folder: Path) -> None:
    (open_folder / "cassettes").mkdir(mode=0o555)
    assert finished(start(writers.record_without_permission, open_folder)) == 0


def test_a_folder_that_vanishes_during_a_recording_is_made_again(root: Path) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, 1)
        shutil.rmtree(root)
        post(client, 2)
    assert prompts(root / "x.yaml") == [1, 2]


def test_a_cassette_is_replaced_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record("old")
    before = (root / "x.yaml").read_bytes()

    def fails(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with (
        monkeypatch.context() as patch,
        pytest.raises(CassetteWriteError, match="Input/output error"),
        aquila.use_cassette("x"),
        aquila.http_client() as client,
    ):
        post(client, "new")
        patch.setattr(os, "replace", fails)
    assert (root / "x.yaml").read_bytes() == before
    assert not list(root.glob(".*.tmp"))
    assert journal.abandoned(root)

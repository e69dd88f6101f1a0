"""Nothing recorded is lost: kills, many processes at once, and disks that do not take it. With real processes."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

import aquila
from aquila import config
from aquila.cassettes import journal, recording, store
from aquila.errors import CassetteWriteError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")

URL = "https://provider.example/v1/x"


def echo(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, content=request.content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    from aquila.transports import routing

    monkeypatch.setattr("aquila._ambient.opener", None)
    monkeypatch.setitem(routing._loaded, "echo", routing._given(httpx2.MockTransport(echo), "echo"))
    monkeypatch.setenv("AQUILA_TRANSPORT", "record")
    monkeypatch.setenv("AQUILA_UPSTREAM", "echo")
    with config.layers(root=tmp_path):
        yield tmp_path / "cassettes"


def post(client: httpx2.Client, prompt: object) -> None:
    client.post(URL, json={"prompt": prompt})


def forked(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child and return its process id. The child exits with 0 if it returns."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def prompts(path: Path) -> list[object]:
    return [json.loads(row.request.body)["prompt"] for row in store.load(path).interactions]


def test_a_kill_at_any_moment_loses_no_finished_interaction(root: Path) -> None:
    chance = random.Random(5)
    acknowledged: dict[str, list[int]] = {}
    for number in range(50):
        reading, writing = os.pipe()
        name = f"killed-{number}"

        def work(name: str = name, writing: int = writing) -> None:
            with aquila.use_cassette(name), aquila.http_client() as client:
                for prompt in range(10_000):
                    post(client, prompt)
                    os.write(writing, b".")

        process = forked(work)
        os.close(writing)
        enough = chance.randrange(1, 40)
        seen = 0
        while seen < enough:
            seen += len(os.read(reading, enough - seen))
        for _ in range(chance.randrange(20_000)):  # a moment anywhere within an interaction
            pass
        os.kill(process, signal.SIGKILL)
        assert wait(process) == -signal.SIGKILL
        while rest := os.read(reading, 65536):
            seen += len(rest)
        os.close(reading)
        acknowledged[name] = list(range(seen))
    assert not list(root.glob("*.yaml"))
    found = recording.recover(root)
    assert len(found) == 50
    for name, finished in acknowledged.items():
        stored = prompts(root / f"{name}.yaml")
        assert stored[: len(finished)] == finished
        assert len(stored) <= len(finished) + 1  # the one in progress may have been finished, and not yet reported
    assert recording.recover(root) == []


def test_recovering_replaces_nothing_that_a_cassette_holds(root: Path) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "kept")
    before = (root / "x.yaml").read_bytes()

    def work() -> None:
        with aquila.use_cassette("x", record="all"), aquila.http_client() as client:
            post(client, "kept")
            os.kill(os.getpid(), signal.SIGKILL)

    wait(forked(work))
    recording.recover(root)
    assert (root / "x.yaml").read_bytes() == before
    assert prompts(root / "x.pending.yaml") == ["kept"]


def test_four_processes_with_eight_threads_store_each_interaction_exactly_once(root: Path) -> None:
    ready, go = os.pipe()

    def work(process: int) -> None:
        os.close(go)
        os.read(ready, 1)  # all start when the other end closes
        with aquila.use_cassette("shared"), aquila.http_client() as client:

            def ask(thread: int) -> None:
                for number in range(4):
                    post(client, f"{process}-{thread}-{number}")
                post(client, "the same everywhere")

            threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    processes = [forked(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    os.close(ready)
    os.close(go)
    assert [wait(process) for process in processes] == [0, 0, 0, 0]
    counts = Counter(prompts(root / "shared.yaml"))
    # Replaying, each process counts for itself: its n-th identical request gets the n-th recording.
    assert counts.pop("the same everywhere") == 8
    assert counts == {f"{p}-{t}-{n}": 1 for p in range(4) for t in range(8) for n in range(4)}
    assert list((root / ".journal").glob("*.journal")) == []


def test_children_of_a_scope_record_into_it_and_its_owner_stores_all(root: Path) -> None:
    from aquila.cassettes import scope as scopes

    with aquila.use_cassette("x") as cassette, aquila.http_client() as client:
        post(client, "owner")
        stamp = cassette._scope.stamp()

        def work() -> None:
            scopes._registry.clear()  # as in a process that was not forked from the owner
            with scopes.bound(scopes.join(stamp)):
                post(client, "child")
            os.kill(os.getpid(), signal.SIGKILL)

        wait(forked(work))
    assert sorted(map(str, prompts(root / "x.yaml"))) == ["child", "owner"]
    assert list((root / ".journal").glob("*.journal")) == []


def test_the_recordings_of_a_running_scope_are_not_recovered_by_another_run(root: Path) -> None:
    reading, writing = os.pipe()
    holding, release = os.pipe()

    def work() -> None:
        os.close(release)
        with aquila.use_cassette("x"), aquila.http_client() as client:
            post(client, 1)
            os.write(writing, b".")
            os.read(holding, 1)

    process = forked(work)
    os.close(holding)
    os.read(reading, 1)
    assert recording.recover(root) == []
    os.close(release)
    assert wait(process) == 0
    assert prompts(root / "x.yaml") == [1]


def test_a_disk_that_is_full_leaves_the_cassette_as_it_was(root: Path) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "old")
    before = (root / "x.yaml").read_bytes()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        with pytest.raises(CassetteWriteError, match="cannot record: .*The cassette is as it was"):
            with aquila.use_cassette("x"), aquila.http_client() as client:
                for number in range(100):
                    post(client, f"a prompt that takes room {number}")

    assert wait(forked(work)) == 0
    assert (root / "x.yaml").read_bytes() == before
    assert not list(root.glob(".*.tmp"))


def test_a_cassette_that_does_not_fit_any_more_stays_and_its_recordings_wait_in_the_journal(root: Path) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "old " * 2000)
    before = (root / "x.yaml").read_bytes()

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(CassetteWriteError):
            with aquila.use_cassette("x"), aquila.http_client() as client:
                post(client, "new")
                resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

    assert wait(forked(work)) == 0
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


def test_a_folder_that_is_read_only_is_noticed_before_anything_is_asked(root: Path, open_folder: Path) -> None:
    def work() -> None:
        asked: list[int] = []
        folder = open_folder / "cassettes"
        folder.mkdir(mode=0o555)
        if os.getuid() == 0:
            os.setuid(65534)
        with config.layers(root=open_folder):
            with pytest.raises(CassetteWriteError, match=r"Permission denied.*make the folder writable"):
                with aquila.use_cassette("x"), aquila.http_client() as client:
                    post(client, "hi")
                    asked.append(1)
        assert asked == []

    assert wait(forked(work)) == 0


def test_a_folder_that_vanishes_during_a_recording_is_made_again(root: Path) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, 1)
        shutil.rmtree(root)
        post(client, 2)
    assert prompts(root / "x.yaml") == [1, 2]


def test_a_cassette_is_replaced_whole_or_not_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "old")
    before = (root / "x.yaml").read_bytes()

    def fails(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(CassetteWriteError, match="Input/output error"):
        with aquila.use_cassette("x"), aquila.http_client() as client:
            post(client, "new")
            patch.setattr(os, "replace", fails)
    assert (root / "x.yaml").read_bytes() == before
    assert not list(root.glob(".*.tmp"))
    assert journal.abandoned(root)

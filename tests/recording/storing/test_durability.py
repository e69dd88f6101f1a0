"""Nothing recorded is lost: kills, many processes at once, and disks that do not take it. With real processes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import aquila
from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files, cassette_lock, file_replacement, journal
from aquila.cassettes.storage.journal import Journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import CassetteWriteError
from aquila.recording import scope as scopes
from aquila.recording.scope_joining import ScopeReference, reference_fields
from aquila.recording.storing import interrupted_runs, journal_merging
from tests.support import writers
from tests.support.slow import slow_but
from tests.support.writers import finished, post, start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with writers.recording_project(tmp_path) as cassettes:
        yield cassettes


@pytest.mark.parametrize(
    ("kind", "end", "chunks", "is_cut"),
    [
        ("http", "closed", 1, True),
        ("http", "complete", 1, False),
        ("websocket", "closed", 0, True),
        ("websocket", "closed", 1, False),
    ],
)
def test_of_an_interrupted_test_an_answer_that_was_left_is_kept_only_if_it_is_a_conversation_that_began(
    kind: Literal["http", "websocket"], end: Literal["closed", "complete"], chunks: int, is_cut: bool
) -> None:
    response = RecordedResponse(200, (), (RecordedChunk(b"x"),) * chunks, end)
    made = Interaction(RecordedRequest("POST", "https://x.test/"), response, kind=kind)
    assert interrupted_runs.was_cut(NewRecording("key", 0, 0, made)) is is_cut


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (["one 429", "one 200"], 2),
        (["one 429", "one 429"], 0),  # it may have been waiting to try again
        (["one 200", "two 429"], 1),
        (["one 429", "two 429"], 1),
        ([" 429", " 429"], 1),  # two calls, each with one attempt
    ],
)
def test_failures_with_which_an_interrupted_call_may_not_have_ended_are_not_kept(rows: list[str], kept: int) -> None:
    made = []
    for number, (call, status) in enumerate(row.split(" ") for row in rows):
        response = RecordedResponse(int(status), (), (RecordedChunk(b"x"),))
        interaction = Interaction(RecordedRequest("POST", "https://x.test/"), response)
        made.append(NewRecording("key", number, number, interaction, call=call))
    assert list(interrupted_runs._without_open_ending(made)) == made[:kept]


def test_calls_of_different_processes_are_told_apart(root: Path) -> None:
    # Each process numbers its calls from 1.
    for position, status in enumerate((200, 429, 200)):
        response = RecordedResponse(status, (), (RecordedChunk(b"%d" % position),))
        made = Interaction(RecordedRequest("POST", "https://x.test/"), response)
        row = NewRecording("key", position, position, made, call="2" if position == 0 else "1")
        begun = Journal(root, f"{position:016x}")
        begun.append_entry(JournalEntry("x", "missing", "last", MatchRules(), row))
        begun.close()
    groups, _ = journal_merging.read_journals(sorted(root.rglob("*.journal")))
    ((changes, _),) = journal_merging.changes_by_cassette(groups)["x"]
    assert [(row.position, row.interaction.response.body) for row in changes.recorded] == [
        (0, b"0"),
        (1, b"1"),
        (2, b"2"),
    ]


def prompts(path: Path) -> list[object]:
    return [json.loads(row.request.body)["prompt"] for row in cassette_files.load_cassette(path).interactions]


def record(*asked: object) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        for prompt in asked:
            post(client, prompt)


@pytest.mark.parametrize("kills", slow_but([3], [3, 50]))
def test_a_kill_at_any_moment_loses_no_finished_interaction(root: Path, kills: int) -> None:
    chance = random.Random(5)
    acknowledged: dict[str, int] = {}
    for number in range(kills):
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
    assert len(interrupted_runs.recover_journals(root).cassettes) == kills
    for name, count in acknowledged.items():
        stored = prompts(root / f"{name}.yaml")
        assert stored[:count] == list(range(count))
        assert len(stored) <= count + 1  # the one in progress may have been finished, and not yet reported
    assert interrupted_runs.recover_journals(root) == ([], [])


def test_recovering_replaces_nothing_that_a_cassette_holds(root: Path) -> None:
    record("kept")
    before = (root / "x.yaml").read_bytes()
    finished(start(writers.record_anew_and_die, root.parent))
    interrupted_runs.recover_journals(root)
    assert (root / "x.yaml").read_bytes() == before
    assert prompts(root / "x.pending.yaml") == ["kept"]


@pytest.mark.slow
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
        finished(start(writers.join_record_and_die, root.parent, ScopeReference(**reference_fields(cassette._scope))))
    assert sorted(map(str, prompts(root / "x.yaml"))) == ["child", "owner"]
    assert list((root / ".journal").glob("*.journal")) == []


def test_the_recordings_of_a_running_scope_are_not_recovered_by_another_run(root: Path) -> None:
    reached, its_end = multiprocessing.Pipe()
    process = start(writers.record_and_hold, root.parent, its_end)
    reached.recv_bytes()
    assert interrupted_runs.recover_journals(root) == ([], [])
    reached.send_bytes(b".")
    assert finished(process) == 0
    assert prompts(root / "x.yaml") == [1]


def test_recordings_of_a_scope_are_its_own_until_they_are_stored(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = cassette_files.save_cassette
    taken_over: list[object] = []

    def saving(*arguments: object, **options: object) -> None:
        taken_over.extend(interrupted_runs.recover_journals(root).cassettes)
        save(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cassette_files, "save_cassette", saving)
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
    assert [(path.name, count) for path, count in interrupted_runs.recover_journals(root).cassettes] == [("x.yaml", 1)]
    assert prompts(root / "x.yaml")[1:] == ["new"]


def leave_journal(
    root: Path, name: str, scope: str = "0123456789abcdef", prompt: str = "", field: str = "x-kept"
) -> Path:
    """Leave a journal with one recording for a cassette, as a killed run does."""
    request = RecordedRequest("POST", "https://api.example/v1", (), json.dumps({"prompt": prompt or name}).encode())
    interaction = Interaction(
        request, RecordedResponse(200, ((field, "as the run wanted it"),), (RecordedChunk(b"answer"),))
    )
    rules = MatchRules()
    left = journal.Journal(root, scope)
    left.append_entry(
        JournalEntry(name, "missing", "last", rules, NewRecording(key_of(request, rules), 0, 0, interaction))
    )
    left.close()
    (path,) = journal.find_journals_of(root, scope)
    return path


@pytest.mark.parametrize("field", ["x-kept", "x.trace.id"])
def test_a_secret_that_is_known_when_a_journal_is_taken_over_is_in_no_cassette(
    root: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    leave_journal(root, "x", prompt="eagle-4711-of-the-sea", field=field)
    monkeypatch.setenv("DB_PASSWORD", "eagle-4711-of-the-sea")
    assert interrupted_runs.recover_journals(root) == ([(root / "x.yaml", 1)], [])
    assert prompts(root / "x.yaml") == ["[redacted]"]
    (recorded,) = cassette_files.load_cassette(root / "x.yaml").interactions
    assert recorded.response.headers == ((field, "as the run wanted it"),)


def test_plays_in_the_journal_of_a_killed_process_are_passed_over(root: Path) -> None:
    leave_journal(root, "x")
    left = journal.Journal(root, "bbbbbbbbbbbbbbbb")
    left.append_entry(JournalEntry("x", "missing", "last", MatchRules(), RecordingPlayed("key", 0, 0)))
    left.close()
    assert interrupted_runs.recover_journals(root) == ([(root / "x.yaml", 1)], [])
    assert journal.find_abandoned_journals(root) == {}


def test_a_journal_of_a_child_that_cannot_be_read_is_named_and_kept_and_the_rest_is_stored(root: Path) -> None:
    with (
        pytest.raises(
            CassetteWriteError, match=r"\.journal: not a journal of this version.* `aquila cassettes accept`"
        ),
        aquila.use_cassette("x") as cassette,
        aquila.http_client() as client,
    ):
        post(client, "owner")
        bad = make_unreadable(root / ".journal" / f"{cassette._scope.id}.1-0123456789abcdef.journal")
    assert bad.exists()
    assert prompts(root / "x.yaml") == ["owner"]


def make_unreadable(path: Path) -> Path:
    """Write a journal of another version, with the right checksum."""
    payload = b"\xc1 not msgpack"
    path.write_bytes(b"\0" + struct.pack(">II", len(payload), zlib.crc32(payload)) + payload)
    return path


def test_a_journal_that_cannot_be_read_is_named_and_kept_and_the_others_are_taken_over(root: Path) -> None:
    bad = make_unreadable(leave_journal(root, "lost", "aaaaaaaaaaaaaaaa"))
    leave_journal(root, "good", "bbbbbbbbbbbbbbbb")
    found = interrupted_runs.recover_journals(root)
    assert found.cassettes == [(root / "good.yaml", 1)]
    (message,) = found.failures
    assert str(bad) in message
    assert bad.exists()
    assert list(journal.find_abandoned_journals(root)) == ["aaaaaaaaaaaaaaaa"]


def test_a_cassette_that_takes_no_recordings_is_named_and_they_wait_for_it(root: Path) -> None:
    (root / "broken.yaml").parent.mkdir(exist_ok=True)
    (root / "broken.yaml").write_text("aquila: 1\ninteractions: {\n")
    leave_journal(root, "broken")
    leave_journal(root, "good")
    found = interrupted_runs.recover_journals(root)
    assert found.cassettes == [(root / "good.yaml", 1)]
    assert "broken.yaml, line" in found.failures[0]
    (root / "broken.yaml").unlink()
    assert interrupted_runs.recover_journals(root).failures == []
    assert prompts(root / "broken.yaml") == ["broken"]
    assert journal.find_abandoned_journals(root) == {}


def fail_to_write(monkeypatch: pytest.MonkeyPatch, marker: bytes) -> None:
    """Make the codec fail, in a way that none of ours should, for what has the marker in a request."""
    whole = YamlCodec.dumps

    def dumps(codec: YamlCodec, cassette: Cassette) -> bytes:
        if any(marker in row.request.body for row in cassette.interactions):
            raise ZeroDivisionError("with a secret in its text")
        return whole(codec, cassette)

    monkeypatch.setattr(YamlCodec, "dumps", dumps)


def test_a_codec_that_fails_in_any_way_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        fail_to_write(patched, b"hard")
        with (
            pytest.raises(CassetteWriteError, match=r"hard\.yaml.*ZeroDivisionError in test_durability\.py") as raised,
            aquila.use_cassette("easy"),
            aquila.http_client() as client,
        ):
            with aquila.use_cassette("hard"):
                post(client, "hard")
            post(client, "easy")
        assert "secret" not in str(raised.value)
        leave_journal(root, "good")
        found = interrupted_runs.recover_journals(root)
        assert found.cassettes == [(root / "good.yaml", 1)]
        assert "hard.yaml" in found.failures[0]
    assert interrupted_runs.recover_journals(root) == ([(root / "hard.yaml", 1)], [])
    assert prompts(root / "hard.yaml") == ["hard"]


def test_if_one_cassette_of_a_scope_cannot_be_stored_the_others_are(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_write(monkeypatch, b"hard")
    scope = scopes.Scope(kind="block", name="two cassettes")
    scopes.open_scope(scope)
    try:
        with aquila.http_client(cassette="hard") as hard, aquila.http_client(cassette="easy") as easy:
            post(hard, "hard")
            post(easy, "easy")
    finally:
        scope.run.scopes.remove(scope)
    with pytest.raises(CassetteWriteError, match=r"hard\.yaml"):
        scope.close()
    assert prompts(root / "easy.yaml") == ["easy"]
    assert list(journal.find_abandoned_journals(root)) == [scope.id]


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
    assert journal.find_abandoned_journals(root)


def test_the_whole_entries_of_a_damaged_journal_are_taken_over_and_the_others_are_named(root: Path) -> None:
    for name in ("first", "second"):
        path = leave_journal(root, name)
    data = path.read_bytes()
    at = data.index(b"first")
    path.write_bytes(data[:at] + b"?" + data[at + 1 :])
    found = interrupted_runs.recover_journals(root)
    assert found.cassettes == [(root / "second.yaml", 1)]
    (message,) = found.failures
    kept = path.with_suffix(".damaged")
    assert str(path) in message
    assert str(kept) in message
    assert "pytest --aquila-record" in message
    assert b"?irst" in kept.read_bytes()
    assert not path.exists()


def test_temporary_files_of_killed_writers_are_removed_and_those_of_living_ones_stay(root: Path) -> None:
    root.mkdir(exist_ok=True)
    dead, living, other = root / ".x.yaml.0123abcd.tmp", root / ".y.yaml.0123abcd.tmp", root / ".other.tmp"
    for path in (dead, living, other):
        path.touch()
        os.utime(path, (1, 1))
    with living.open("rb+") as file:
        file_replacement.lock_half_written_file(file.fileno())
        interrupted_runs.recover_journals(root)
    assert [path for path in (dead, living, other) if path.exists()] == [living, other]


def test_large_bodies_of_a_journal_that_is_gone_are_removed(root: Path) -> None:
    bodies = root / ".journal" / "07e1200000000000.1.bodies"
    bodies.mkdir(parents=True)
    (bodies / "body").touch()
    assert interrupted_runs.recover_journals(root) == ([], [])
    assert not bodies.exists()


def test_a_lock_that_a_thread_holds_for_long_is_logged_with_its_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir(exist_ok=True)
    monkeypatch.setattr(cassette_lock, "_SAID_AFTER", 0.05)
    entered, said = threading.Event(), threading.Event()

    def hold() -> None:
        with cassette_lock.hold_cassette_lock(root / "x.yaml", root):
            entered.set()
            said.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(60)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())
            said.set()

    messages: list[str] = []
    logger = logging.getLogger("aquila")
    listener = Listener()
    logger.addHandler(listener)
    try:
        with cassette_lock.hold_cassette_lock(root / "x.yaml", root):
            pass
    finally:
        logger.removeHandler(listener)
        holder.join()
    (message,) = messages
    assert f"{root / 'x.yaml'}: waiting to write it; process {os.getpid()} on " in message


def test_a_cassette_that_would_be_too_large_to_read_loses_no_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("first")
    before = (root / "x.yaml").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(cassette_files, "MAX_BYTES", len(before) + 10)
        with pytest.raises(CassetteWriteError, match=r"may have .* are in the journal.*convert .*--to msgpack"):
            record("second")
        assert (root / "x.yaml").read_bytes() == before
        stored = cassette_files.load_cassette(root / "x.yaml")
        cassette_files.save_cassette(root / "x.msgpack", stored)
        (root / "x.yaml").unlink()
        assert interrupted_runs.recover_journals(root) == ([(root / "x.msgpack", 1)], [])
    assert prompts(root / "x.msgpack") == ["first", "second"]


def test_a_new_cassette_that_would_be_too_large_is_taken_over_as_msgpack(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cassette_files, "MAX_BYTES", 10)
    with pytest.raises(CassetteWriteError, match=r"Nothing was written.*aquila cassettes accept --to msgpack"):
        record("first")
    assert not (root / "x.yaml").exists()
    assert interrupted_runs.recover_journals(root, new_as=".msgpack") == ([(root / "x.msgpack", 1)], [])
    record("first", "second")
    assert prompts(root / "x.msgpack") == ["first", "second"]
    assert not (root / "x.yaml").exists()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_pending_recording_that_would_be_too_large_waits_and_is_taken_over_as_msgpack(
    root: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool
) -> None:
    if was_there:
        record("first")
    room = (root / "x.yaml").stat().st_size if was_there else 0
    with monkeypatch.context() as patched:
        patched.setattr(cassette_files, "MAX_BYTES", room + 10)
        command = r"convert \S*/x\.yaml --to msgpack --replace" if was_there else "accept --to msgpack"
        with pytest.raises(ZeroDivisionError) as caught, aquila.use_cassette("x"), aquila.http_client() as client:
            post(client, "second")
            raise ZeroDivisionError
        assert re.search(f"are in the journal.*aquila cassettes {command}", "".join(caught.value.__notes__))
        assert not (root / "x.pending.yaml").exists()
    if was_there:
        cassette_files.save_cassette(root / "x.msgpack", cassette_files.load_cassette(root / "x.yaml"))
        (root / "x.yaml").unlink()
    assert interrupted_runs.recover_journals(root, new_as=".msgpack") == ([(root / "x.msgpack", 1)], [])
    assert prompts(root / "x.msgpack") == [*(["first"] if was_there else []), "second"]


def test_without_a_free_file_descriptor_the_error_says_so(root: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        with pytest.raises(OSError, match="Too many"):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(CassetteWriteError, match=r"Too many open files.*ulimit -n"):
            record("first")
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_deleted_working_directory_is_a_clear_error(tmp_path: Path) -> None:
    code = (
        "import os, sys, aquila\n"
        "from aquila.recording import runtime\n"
        "os.rmdir(os.getcwd())\n"
        "try:\n"
        "    runtime.current_settings().cassette_root()\n"
        "except aquila.errors.ConfigError as error:\n"
        "    print(error)\n"
    )
    folder = tmp_path / "gone"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env=environment
    )
    assert "the working directory was deleted" in done.stdout
    assert "AQUILA_CASSETTE_DIR" in done.stdout


def test_a_scope_that_is_discarded_leaves_nothing_behind(root: Path) -> None:
    scope = scopes.Scope(kind="block", default_cassette="x", options={"transport": "record"})
    scope.recording.open_journal()
    assert journal.find_journals_of(root, scope.id)
    scope.recording.discard()
    assert not root.exists()

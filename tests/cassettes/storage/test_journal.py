"""The journal: what was finished before a process died is found and stored."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import CassetteCorrupt, CassetteWriteError
from tests.support.cassettes import interactions
from tests.support.examples import examples

rows = st.one_of(
    st.builds(NewRecording, st.text(max_size=9), st.integers(0, 9), st.integers(0, 99), interactions()),
    st.builds(RecordingPlayed, st.text(max_size=9), st.integers(0, 9), st.integers(0, 99)),
)
entries = st.lists(
    st.builds(
        JournalEntry,
        st.sampled_from(["jobs/x", "test_\udcc5/x"]),  # the second of a file whose name the locale cannot decode
        st.sampled_from(["missing", "all"]),
        st.sampled_from(["last", "all"]),
        st.just(MatchRules(ignore=("user",), ignore_query=("X-Amz-*",), normalize=("uuid",))),
        rows,
    ),
    max_size=5,
)


def played(number: int) -> JournalEntry:
    """An entry that is told apart from others by its number."""
    return JournalEntry("jobs/x", "missing", "last", MatchRules(), RecordingPlayed(f"key {number}", 0, number))


def write_journal(root: Path, written: list[JournalEntry]) -> tuple[journal.Journal, Path, list[int]]:
    """Write a journal, and return it with its file and the sizes of that before and after each entry."""
    writer = journal.Journal(root, "5c09e00000000000")
    sizes = [0]
    writer.open()
    (path,) = journal.find_journals_of(root, "5c09e00000000000")
    for entry in written:
        writer.append_entry(entry)
        sizes.append(path.stat().st_size)
    return writer, path, sizes


@settings(max_examples=examples(50))
@given(entries, st.data())
def test_whole_entries_are_read_back_wherever_the_file_was_torn(
    tmp_path_factory: pytest.TempPathFactory, written: list[JournalEntry], data: st.DataObject
) -> None:
    writer, path, sizes = write_journal(tmp_path_factory.mktemp("cassettes"), written)
    assert list(journal.read_entries(path)) == written
    torn = data.draw(st.integers(0, sizes[-1]))
    os.truncate(path, torn)
    assert list(journal.read_entries(path)) == written[: sum(size <= torn for size in sizes[1:])]
    writer.close()


def test_entries_of_a_journal_in_use_are_not_read_again_after_they_were_merged(tmp_path: Path) -> None:
    writer = journal.Journal(tmp_path, "5c09e00000000000")
    entries = list(map(played, range(3)))
    writer.append_entry(entries[0])
    (path,) = journal.find_journals_of(tmp_path, "5c09e00000000000")
    for later in entries[1:]:
        size = journal.size_of(path)
        writer.append_entry(later)  # the process goes on while its journal is merged
        journal.discard_journal(path, merged=size)
        assert list(journal.read_entries(path)) == [later]
    journal.discard_journal(path, merged=journal.size_of(path))
    assert list(journal.read_entries(path)) == []
    writer.close()
    journal.discard_journal(path)
    assert [each.name for each in path.parent.iterdir()] == [".gitignore"]


def test_an_entry_that_was_written_while_its_journal_was_merged_is_kept(tmp_path: Path) -> None:
    entries = list(map(played, range(2)))
    writer, path, sizes = write_journal(tmp_path, entries)
    writer.close()  # the process has written the second while the first was merged, and has ended
    journal.discard_journal(path, merged=sizes[1])
    assert list(journal.read_entries(path)) == entries[1:]
    assert journal.find_abandoned_journals(tmp_path) == {"5c09e00000000000": [path]}


def test_an_entry_that_is_finished_while_it_is_checked_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = played(0)
    writer, path, (_, end) = write_journal(tmp_path, [entry])
    whole = path.read_bytes()
    os.truncate(path, end - 3)
    is_unused = journal._is_unused

    def finish_first(path: Path) -> bool:
        path.write_bytes(whole)
        writer.close()
        return is_unused(path)

    monkeypatch.setattr(journal, "_is_unused", finish_first)
    assert journal.keep_damaged_entries(path) is None
    assert list(journal.read_entries(path)) == [entry]


@settings(max_examples=examples(50))
@given(entries, st.data())
def test_an_entry_that_was_being_written_while_the_others_were_merged_is_read_later(
    tmp_path_factory: pytest.TempPathFactory, written: list[JournalEntry], data: st.DataObject
) -> None:
    writer, path, sizes = write_journal(tmp_path_factory.mktemp("cassettes"), written)
    for merged in sorted(data.draw(st.lists(st.integers(0, sizes[-1]), min_size=1, max_size=3))):
        journal.discard_journal(path, merged=merged)
        assert list(journal.read_entries(path)) == written[sum(size <= merged for size in sizes[1:]) :]
    assert journal.keep_damaged_entries(path) is None
    writer.close()


def test_an_entry_that_is_being_written_is_no_damage_unless_its_process_ends(tmp_path: Path) -> None:
    entry = played(0)
    writer, path, (begin, end) = write_journal(tmp_path, [entry])
    with path.open("ab") as file:
        file.write(path.read_bytes()[begin + 1 : end - 3])
    assert journal.keep_damaged_entries(path) is None
    assert list(journal.read_entries(path)) == [entry]
    writer.close()
    assert journal.keep_damaged_entries(path) is not None


def test_of_a_damaged_journal_only_the_damaged_entry_is_lost_and_its_bytes_are_kept(tmp_path: Path) -> None:
    entries = list(map(played, range(3)))
    writer, path, _ = write_journal(tmp_path, entries)
    writer.close()
    assert journal.keep_damaged_entries(path) is None
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"key 1", b"key 7"))  # still a whole entry, of another request
    assert list(journal.read_entries(path)) == [entries[0], entries[2]]
    kept = journal.keep_damaged_entries(path)
    assert kept is not None
    assert b"key 7" in kept.read_bytes()
    for at in range(1, len(whole)):  # any damage, also of the lengths
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert len(list(journal.read_entries(path))) == 2


def test_a_journal_counts_as_abandoned_only_when_its_process_has_ended(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from aquila.cassettes.storage.journal import Journal
        Journal(Path(sys.argv[1]), "07e1200000000000").open()
        print("open", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"open"
        assert journal.find_abandoned_journals(tmp_path) == {}
        (path,) = journal.find_journals_of(tmp_path, "07e1200000000000")
        journal.discard_journal(path)
        assert path.exists()
        process.kill()
    assert journal.find_abandoned_journals(tmp_path) == {"07e1200000000000": [path]}
    journal.discard_journal(path)
    assert not path.exists()


def test_a_journal_that_another_run_holds_or_removes_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = journal._try_lock
    tried: list[bool] = []

    def disturbed(descriptor: int) -> bool:
        tried.append(True)
        if len(tried) == 1:
            return False  # held by a run that looks whether anybody uses it
        if len(tried) == 2:
            journal.find_journals_of(tmp_path, "5c09e00000000000")[0].unlink()  # and then removed by it
        return really(descriptor)

    monkeypatch.setattr(journal, "_try_lock", disturbed)
    writer = journal.Journal(tmp_path, "5c09e00000000000")
    writer.open()
    monkeypatch.undo()
    assert len(journal.find_journals_of(tmp_path, "5c09e00000000000")) == 1
    assert journal.find_abandoned_journals(tmp_path) == {}
    writer.remove_file()
    assert journal.find_journals_of(tmp_path, "5c09e00000000000") == []


def test_a_journal_is_in_use_as_long_as_a_forked_child_of_its_writer_lives(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from aquila.cassettes.storage.journal import Journal
        journal = Journal(Path(sys.argv[1]), "5c09e00000000000")
        journal.open()
        if os.fork():
            os._exit(0)
        print("forked", flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"forked"
        assert process.wait() == 0
        assert journal.find_abandoned_journals(tmp_path) == {}
        process.stdin.close()
        process.stdout.read()  # until the child has ended
    assert list(journal.find_abandoned_journals(tmp_path)) == ["5c09e00000000000"]


def test_a_forked_child_writes_a_journal_of_its_own(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from aquila.cassettes.storage.journal import Journal
        journal = Journal(Path(sys.argv[1]), "5c09e00000000000")
        journal.open()
        child = os.fork()
        if not child:
            journal.open()
            os._exit(0)
        os.waitpid(child, 0)
    """)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert len(journal.find_journals_of(tmp_path, "5c09e00000000000")) == 2


def test_the_work_folder_keeps_itself_out_of_git(tmp_path: Path) -> None:
    writer = journal.Journal(tmp_path, "5c09e00000000000")
    writer.open()
    writer.close()
    assert (tmp_path / ".journal" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CassetteWriteError, match=r"cannot write .*file.*aquila_cassette_dir"):
        journal.Journal(tmp_path / "file", "5c09e00000000000").open()


def test_a_folder_that_cannot_be_looked_into_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CassetteWriteError, match=r"cannot write .*aquila_cassette_dir"):
        journal.Journal(tmp_path / ("x" * 300), "5c09e00000000000").open()  # no part of a path may be as long


def test_a_frame_of_another_version_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "0123456789abcdef.1.journal"
    payload = b"\x91\x01"
    path.write_bytes(b"\0" + len(payload).to_bytes(4) + zlib.crc32(payload).to_bytes(4) + payload)
    with pytest.raises(CassetteCorrupt, match=r"abcdef\.1\.journal: not a journal of this version"):
        list(journal.read_entries(path))


@pytest.mark.skipif(sys.platform == "win32", reason="no folder is synced there")
def test_a_durable_journal_is_on_the_disk_before_the_caller_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(descriptor: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    monkeypatch.setattr(os, "fsync", note)
    for durable, expected in ((False, []), (True, ["folder", "folder", "file"])):
        writer = journal.Journal(tmp_path, f"5c09e0000000000{durable:d}", durable=durable)
        writer.append_entry(played(0))
        writer.close()
        assert synced == expected


@pytest.mark.parametrize("refused", [False, True], ids=["full", "no more than fsync"])
def test_macos_is_asked_to_write_to_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """What ``fsync`` does there does not survive a loss of power. Some file systems can do no more."""
    fcntl = pytest.importorskip("fcntl")
    asked: list[object] = []

    def note(descriptor: int, command: int) -> None:
        asked.append(command)
        if refused:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", "full", raising=False)
    monkeypatch.setattr(fcntl, "fcntl", note)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    writer = journal.Journal(tmp_path, "5c09e00000000000", durable=True)
    writer.append_entry(played(0))
    writer.close()
    assert asked == (["full", "fsync"] if refused else ["full"]) * 3  # two folders, and the journal


def test_an_entry_that_a_full_disk_took_in_part_leaves_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = journal.Journal(tmp_path, "5c09e00000000000")
    first, second = map(played, range(2))
    writer.append_entry(first)
    (path,) = journal.find_journals_of(tmp_path, "5c09e00000000000")
    whole = path.read_bytes()
    write = os.write
    with monkeypatch.context() as patch, pytest.raises(CassetteWriteError, match="space"):
        patch.setattr(journal.os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        writer.append_entry(second)
    assert path.read_bytes() == whole
    writer.append_entry(second)
    assert list(journal.read_entries(path)) == [first, second]
    writer.close()


def test_large_bodies_are_removed_only_when_their_journal_is_gone(tmp_path: Path) -> None:
    writer = journal.Journal(tmp_path, "5c09e00000000000")
    writer.open()
    (path,) = journal.find_journals_of(tmp_path, "5c09e00000000000")
    kept, stray = journal.bodies_folder_of(path), path.with_name("07e1200000000000.1.bodies")
    for folder in (kept, stray):
        folder.mkdir()
    journal.remove_stray_bodies(tmp_path)
    assert kept.exists()
    assert not stray.exists()
    writer.close()


def test_a_file_that_has_only_the_suffix_of_a_journal_is_none(tmp_path: Path) -> None:
    folder = tmp_path / ".journal"
    folder.mkdir()
    names = ["0123456789abcdef.1-0123456789abcdef.journal", "evil.journal"]
    for name in names:
        (folder / name).touch()
    assert journal.find_what_is_no_journal(tmp_path) == [(folder / names[1], "not the name of a journal")]

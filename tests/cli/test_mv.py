"""``aquila cassettes mv``: cassettes follow a test, a module or a folder that was renamed."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.cassettes.storage import journal, recorded_uses, renaming
from aquila.cassettes.storage.journal import Journal
from aquila.cassettes.storage.journal_entries import JournalEntry
from aquila.cassettes.storage.merging import NewRecording
from aquila.cassettes.storage.names import WORK_FOLDER, name_of_fixture, name_of_test
from tests.cli.conftest import Cassettes, conversation

ONE = conversation("one", "1")
LARGE = type(ONE)(ONE.request, RecordedResponse(200, (), (RecordedChunk(b"\0" * 300_000),)))


def names(cassettes: Cassettes) -> list[str]:
    """The cassettes, with pending ones."""
    return sorted(path.relative_to(cassettes.folder).as_posix() for path in cassettes.folder.rglob("*.yaml"))


def write(cassettes: Cassettes, *written: str) -> None:
    for name in written:
        cassettes.write(f"{name}.yaml", ONE)


def test_a_test_moves_with_its_parameters_its_pending_file_and_its_uses(cassettes: Cassettes) -> None:
    write(cassettes, "t/test_a/test_old", "t/test_a/test_old.pending", "t/test_a/test_old-x.y-1", "t/test_a/test_older")
    uses = {("jobs/x", "t/test_a.py::test_old[x.y-1]"), ("jobs/x", "t/test_a.py::test_older")}
    recorded_uses.change_uses(cassettes.folder, lambda known: uses)
    words = ("mv", "t/test_a.py::test_old", "t/test_b.py::TestIt::test_new")
    moves = [
        "t/test_a/test_old.yaml -> t/test_b/TestIt.test_new.yaml",
        "t/test_a/test_old.pending.yaml -> t/test_b/TestIt.test_new.pending.yaml",
        "t/test_a/test_old-x.y-1.yaml -> t/test_b/TestIt.test_new-x.y-1.yaml",
    ]
    before = names(cassettes)
    assert cassettes.run(*words, "--dry-run").out.splitlines() == [*moves, "would move 3 files"]
    assert names(cassettes) == before
    assert cassettes.run(*words).out.splitlines() == [*moves, "moved 3 files"]
    assert names(cassettes) == sorted(["t/test_a/test_older.yaml", *(move.partition(" -> ")[2] for move in moves)])
    assert recorded_uses.read_uses(cassettes.folder) == {
        ("jobs/x", "t/test_b.py::TestIt::test_new[x.y-1]"),
        ("jobs/x", "t/test_a.py::test_older"),
    }


def test_paths_of_files_and_folders_are_names(cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cassettes, "jobs/a")
    cassettes.write("jobs/b.msgpack", ONE)
    cassettes.write("jobs/f.toml.yaml", ONE)
    assert cassettes.run("mv", "jobs/f.toml", "jobs/g.toml").code == 0
    assert cassettes.run("mv", "cassettes/jobs/a.yaml", "cassettes/jobs/c.yaml").code == 0
    assert cassettes.run("mv", "cassettes/jobs/b.msgpack", "jobs/d").code == 0
    assert cassettes.run("mv", "cassettes/jobs/", str(cassettes.folder / "tasks")).code == 0
    monkeypatch.chdir(cassettes.folder / "tasks")
    assert cassettes.run("mv", "c.yaml", "e.yaml").code == 0
    moved = ["d.msgpack", "e.yaml", "g.toml.yaml"]
    assert sorted(path.name for path in cassettes.folder.joinpath("tasks").iterdir()) == moved


def test_recorded_uses_within_a_folder_move_with_it(cassettes: Cassettes) -> None:
    """In suites of pytest-recording each module has a cassette folder of its own."""
    write(cassettes, "test_old/a", "test_new/b")
    for name in ("test_old", "test_new"):
        uses = {("shared", f"tests/{name}.py::test_{name}"), ("shared", "tests/test_older.py::test_x")}
        recorded_uses.change_uses(cassettes.folder / name, lambda known, uses=uses: uses)
    assert cassettes.run("mv", "test_old", "test_new").code == 0
    assert [path.name for path in cassettes.folder.iterdir() if path.name != WORK_FOLDER] == ["test_new"]
    assert recorded_uses.read_uses(cassettes.folder / "test_new") == {
        ("shared", "tests/test_new.py::test_test_old"),
        ("shared", "tests/test_new.py::test_test_new"),
        ("shared", "tests/test_older.py::test_x"),
    }


def test_a_word_is_a_name_though_the_cassettes_are_in_the_folder_of_the_tests(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", "tests")
    here = Cassettes(Path("tests"), cassettes.run)
    write(here, "tests/test_a/test_it")
    moves = [
        ("test_a.py::test_it", "test_a.py::test_one"),
        ("test_a.py", "test_b.py"),
        ("test_b", "c"),
        ("c/test_one", "d"),
    ]
    for old, new in moves:
        assert here.run("mv", f"tests/{old}", f"tests/{new}").err == ""
    assert names(here) == ["tests/d.yaml"]


def test_a_cassette_moves_without_the_tests_of_a_folder_of_its_name(cassettes: Cassettes) -> None:
    write(cassettes, "jobs")
    test = "jobs/test_a.py::test_it"
    recorded_uses.change_uses(cassettes.folder, lambda known: {("jobs", test)})
    assert cassettes.run("mv", "jobs", "tasks").out.splitlines() == ["jobs.yaml -> tasks.yaml", "moved 1 file"]
    assert recorded_uses.read_uses(cassettes.folder) == {("tasks", test)}


def test_nothing_is_moved_if_a_file_would_be_overwritten(cassettes: Cassettes) -> None:
    write(cassettes, "test_a/test_old", "test_a/test_old-1")
    cassettes.write("test_a/test_new-1.msgpack", ONE)
    existing = cassettes.folder / "test_a/test_new-1.msgpack"
    for more in ((), ("--dry-run",)):
        done = cassettes.run("mv", "test_a.py::test_old", "test_a.py::test_new", *more)
        assert done.code == 2
        assert f"nothing was moved, because {existing.relative_to(Path.cwd())} exists already" in done.err
    assert names(cassettes) == ["test_a/test_old-1.yaml", "test_a/test_old.yaml"]
    assert "no cassette of 'nothing'" in cassettes.run("mv", "nothing", "x").err
    assert "name two of one kind" in cassettes.run("mv", "test_a.py", "test_a.py::test_new").err
    assert cassettes.run("mv", "test_a/test_old", "../x").code == 2
    assert "the old and the new name" in cassettes.run("mv", "test_a/test_old", "test_a/test_old").err
    for words in (("test_a/test_old", "test_a/x.pending"), ("test_a/x.pending", "test_a/y")):
        assert "is a pending recording" in cassettes.run("mv", *words).err
    assert names(cassettes) == ["test_a/test_old-1.yaml", "test_a/test_old.yaml"]


def test_a_folder_moves_into_itself_and_out_again_without_overwriting(cassettes: Cassettes) -> None:
    cassettes.write("jobs/a.yaml", ONE)
    cassettes.write("jobs/old/a.yaml", conversation("two", "2"))
    before = {name: (cassettes.folder / name).read_bytes() for name in names(cassettes)}
    assert cassettes.run("mv", "jobs", "jobs/old").code == 0
    assert {name: (cassettes.folder / name).read_bytes() for name in names(cassettes)} == {
        f"jobs/old/{name.removeprefix('jobs/')}": content for name, content in before.items()
    }
    assert cassettes.run("mv", "jobs/old", "jobs").code == 0
    assert {name: (cassettes.folder / name).read_bytes() for name in names(cassettes)} == before


def test_a_file_that_another_command_has_written_meanwhile_is_not_overwritten(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cassettes, "a", "b")
    sort, other = renaming._free_targets_first, cassettes.folder / "b.yaml"
    monkeypatch.setattr(
        renaming, "_free_targets_first", lambda moves: (other.rename(cassettes.folder / "n.yaml"), sort(moves))[1]
    )
    assert "n.yaml was written by another process" in cassettes.run("mv", "a", "n").err
    assert names(cassettes) == ["a.yaml", "n.yaml"]


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder does, as those of macOS and Windows do."""
    (folder / "Some Case").touch()
    return (folder / "some case").exists()


def test_a_rename_that_changes_only_the_case_is_possible(cassettes: Cassettes) -> None:
    write(cassettes, "test_a/test_old", "test_a/other")
    old, new = (cassettes.folder / f"test_a/test_{name}.yaml" for name in ("old", "Old"))
    if not ignores_case(cassettes.folder):
        os.link(old, new)  # two names of one file, as such a file system shows them
    done = cassettes.run("mv", "test_a.py::test_old", "test_a.py::test_Old")
    assert (done.code, done.out.splitlines()[-1]) == (0, "moved 1 file")
    assert "test_a/test_Old.yaml" in names(cassettes)
    assert "test_a/other.yaml exists already" in cassettes.run("mv", "test_a/test_Old", "test_a/other").err.replace(
        os.sep, "/"
    )


def test_on_windows_names_that_differ_in_case_have_one_lock(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a path is resolved to the case that its file has, and equal to one in another case."""
    write(cassettes, "test_a/test_old")
    old, new = (cassettes.folder / f"test_a/test_{name}.yaml" for name in ("old", "Old"))
    if not ignores_case(cassettes.folder):
        os.link(old, new)
    resolve = Path.resolve

    def resolve_to_case_of_file(path: Path, strict: bool = False) -> Path:
        return resolve(old if path.name == new.name else path, strict)

    monkeypatch.setattr(Path, "resolve", resolve_to_case_of_file)
    monkeypatch.setattr(PurePath, "__eq__", lambda one, other: str(one).lower() == str(other).lower())
    monkeypatch.setattr(PurePath, "__hash__", lambda path: hash(str(path).lower()))
    done = cassettes.run("mv", "test_a.py::test_old", "test_a.py::test_Old")
    assert (done.code, done.out.splitlines()[-1]) == (0, "moved 1 file")


@pytest.mark.parametrize("target", ["b.yaml", "A.yaml"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_link_and_what_it_leads_to_are_two_files(cassettes: Cassettes, target: str, turned: bool) -> None:
    if ignores_case(cassettes.folder) and target == "A.yaml":
        pytest.skip("the file system ignores case")
    write(cassettes, target.removesuffix(".yaml"))
    (cassettes.folder / "a.yaml").symlink_to(target)
    told = cassettes.run("mv", *(["a", target] if not turned else [target, "a"]))
    assert told.code == 2
    assert "exists already" in told.err
    assert (cassettes.folder / "a.yaml").is_symlink()
    assert not (cassettes.folder / target).is_symlink()


def test_a_folder_rename_that_changes_only_the_case_is_possible(cassettes: Cassettes) -> None:
    if not ignores_case(cassettes.folder):
        pytest.skip("the file system does not ignore case")
    write(cassettes, "t/test_a/test_it", "t/test_a/test_other")
    assert cassettes.run("mv", "t/test_a.py", "T/test_A.py").code == 0
    assert names(cassettes) == ["T/test_A/test_it.yaml", "T/test_A/test_other.yaml"]


def test_a_module_and_a_folder_move_with_their_fixtures_and_large_bodies(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("test_it", "@fixture", "TestIt.@fixture@t.test_a"):
        cassettes.write(f"t/test_a/{name}.yaml", LARGE)
    cassettes.write("t/test_c/@fixture@t.conftest.yaml", ONE)
    assert cassettes.run("mv", "t/test_a.py", "t/u/test_b.py").code == 0
    moved = ["@fixture.yaml", "TestIt.@fixture@t.u.test_b.yaml", "test_it.yaml"]
    assert sorted(path.name for path in (cassettes.folder / "t/u/test_b").glob("*.yaml")) == moved
    assert not (cassettes.folder / "t/test_a").exists()
    Path("t").mkdir()
    monkeypatch.chdir("t")  # paths are typed from where one is, as for pytest
    assert cassettes.run("mv", "../t", "v").code == 0
    monkeypatch.chdir("..")
    assert names(cassettes) == [
        "t/v/test_c/@fixture@t.v.conftest.yaml", "t/v/u/test_b/@fixture.yaml",
        "t/v/u/test_b/TestIt.@fixture@t.v.u.test_b.yaml", "t/v/u/test_b/test_it.yaml",
    ]  # fmt: skip
    assert cassettes.run("list").code == 0  # every body is there
    assert len(list(cassettes.folder.rglob("sha256-*"))) == 1


def test_a_body_that_others_have_too_stays_with_them(cassettes: Cassettes) -> None:
    for name in ("a/x", "a/y"):
        cassettes.write(f"{name}.yaml", LARGE)
    assert cassettes.run("mv", "a/x", "b/x").code == 0
    assert cassettes.run("list").code == 0
    assert len(list(cassettes.folder.rglob("sha256-*"))) == 2


def test_a_body_that_git_lfs_has_not_fetched_moves_too(cassettes: Cassettes) -> None:
    for name in ("a/x", "a/y"):
        cassettes.write(f"{name}.yaml", LARGE)
    (body,) = cassettes.folder.rglob("sha256-*")
    body.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert cassettes.run("mv", "a", "b").code == 0
    assert [path.parts[-3:-1] for path in cassettes.folder.rglob("sha256-*")] == [("b", "@bodies")]


@pytest.mark.parametrize("why", ["it is a pointer of Git LFS", "it is not this user's"])
def test_a_body_of_a_cassette_that_cannot_be_read_stays(
    why: str, cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = cassettes.write("a/y.yaml", LARGE)
    if why == "it is a pointer of Git LFS":  # in which no body is named
        cassettes.write("a/x.yaml", ONE)
        other.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    else:
        cassettes.write("a/x.yaml", LARGE)
        refuse(monkeypatch, Path, "read_bytes", other)
    assert cassettes.run("mv", "a/x", "b/x").code == 0
    assert len(list(cassettes.folder.rglob("a/@bodies/sha256-*"))) == 1


@pytest.mark.parametrize(("module", "name"), [(os, "utime"), (Path, "open")])
def test_a_body_that_this_user_may_only_read_is_copied(
    module: Any, name: str, cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("a/x.yaml", LARGE)
    (body,) = cassettes.folder.rglob("sha256-*")
    refuse(monkeypatch, module, name, body)
    assert cassettes.run("mv", "a/x", "b/x").code == 0
    assert cassettes.run("list").code == 0


def refuse(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, file: Path) -> None:
    """Refuse a call for a file, by any of its links, as the system does without the permission."""
    usual, refused = getattr(module, name), file.stat().st_ino

    def call(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.exists() and path.stat().st_ino == refused and arguments != ("rb",):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path, *arguments, **options)

    monkeypatch.setattr(module, name, call)


def test_cassettes_with_a_hash_in_their_name_are_left_and_named(cassettes: Cassettes) -> None:
    old, new = "test_a.py::test_old[a b]", "test_a.py::test_new[a b]"
    write(cassettes, name_of_test(old))
    done = cassettes.run("mv", "test_a.py::test_old", "test_a.py::test_new")
    assert done.code == 2
    assert "aquila cassettes mv 'test_a.py::test_old[...]' 'test_a.py::test_new[...]'" in done.err
    assert cassettes.run("mv", old, new).code == 0
    assert names(cassettes) == [f"{name_of_test(new)}.yaml"]


def test_recordings_of_interrupted_runs_are_stored_first_and_running_runs_are_refused(cassettes: Cassettes) -> None:
    left = Journal(cassettes.folder, "0123456789abcdef")
    rules = MatchRules()
    row = NewRecording(key_of(ONE.request, rules), 0, 0, ONE)
    left.append_entry(JournalEntry("test_a/test_old", "missing", "last", rules, row))
    words = ("mv", "test_a.py::test_old", "test_a.py::test_new")
    assert "a run is recording into" in cassettes.run(*words).err
    left.close()
    assert cassettes.run(*words).out.startswith("test_a/test_old: stored 1 recording of an interrupted run\n")
    assert names(cassettes) == ["test_a/test_new.yaml"]


def test_nothing_is_moved_if_recordings_of_an_interrupted_run_cannot_be_stored(cassettes: Cassettes) -> None:
    write(cassettes, "test_a/test_old")
    left = Journal(cassettes.folder, "0123456789abcdef")
    left.append_entry(JournalEntry("test_a/test_old", "missing", "last", MatchRules(), NewRecording("key", 0, 0, ONE)))
    left.close()
    ((path,),) = journal.find_abandoned_journals(cassettes.folder).values()
    path.write_bytes(path.read_bytes()[:50])
    done = cassettes.run("mv", "test_a.py::test_old", "test_a.py::test_new")
    assert done.code == 2
    assert "nothing was moved: " in done.err
    assert "was damaged or cut off" in done.err
    assert names(cassettes) == ["test_a/test_old.yaml"]


words = st.from_regex(r"[a-z][a-z0-9_éß雪Ω]{0,8}", fullmatch=True)  # to list all of \w takes seconds
parameters = st.from_regex(r"[a-z0-9_.-]{0,9}", fullmatch=True) | st.text(max_size=5)


@given(words, words, st.booleans(), parameters)
def test_the_new_name_is_the_one_that_a_run_gives_to_the_new_id(
    old: str, new: str, in_class: bool, parameter: str
) -> None:
    inside = "TestIt::" if in_class else ""
    ids = [f"t/test_a.py::{inside}test_{name}[{parameter}]" for name in (old, new)]
    stem = name_of_test(ids[0]).rpartition("/")[2]
    told = renaming.new_name(stem, *(each.partition("[")[0] for each in ids))
    assert told in (name_of_test(ids[1]), None)
    assert (told is None) == ("+" in stem)


def test_cassettes_of_fixtures_are_named_after_class_and_module() -> None:
    assert name_of_fixture("f", defined="t/test_a.py", within="t/test_a.py::TestIt") == "t/test_a/TestIt.@f@t.test_a"

"""The merge driver merges cassettes that two branches changed, request by request. In real repositories."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.body_file import LARGE
from aquila.cassettes.model import Cassette, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage import cassette_files, recorded_uses
from aquila.cli import main
from aquila.errors import CassetteCorrupt
from tests.support.slow import slow_but

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def recording(prompt: str, answer: str = "first", day: int = 1) -> Interaction:
    request = RecordedRequest("POST", "https://provider.example/v1/x", (), b'{"prompt":"%b"}' % prompt.encode())
    response = RecordedResponse(200, (), (RecordedChunk(answer.encode()),))
    return Interaction(request, response, f"2026-11-{day:02}T12:00:00Z")


def run_command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run ``aquila cassettes ...`` in a folder; git starts the one that merges in a process of its own."""
    told = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main(["cassettes", *arguments])
    return code, told.getvalue()


class Repository:
    """A repository with a cassette, and branches that change it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.cassette = folder / "cassettes" / name

    def init(self) -> None:
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "someone@example.org")
        self.git("config", "user.name", "Someone")

    def git(self, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert bool(done.returncode) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def aquila(self, *arguments: str) -> str:
        code, told = run_command(self.folder, *arguments)
        assert code == 0, told
        return told

    def commit(self, *interactions: Interaction) -> None:
        cassette_files.save_cassette(self.cassette, Cassette.from_interactions(interactions))
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "record")

    def branch(self, name: str, *interactions: Interaction) -> None:
        self.git("checkout", "-q", "-b", name, "main")
        self.commit(*interactions)

    def merge(self, *, fails: bool = False) -> str:
        return self.git("merge", "-q", "-m", "merge", "other", fails=fails)

    def held(self) -> list[tuple[str, str]]:
        """The prompts and answers that the cassette holds."""
        stored = cassette_files.load_cassette(self.cassette).interactions
        return [(json.loads(one.request.body)["prompt"], one.response.body.decode()) for one in stored]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the repository that all tests begin with, once for each form of the cassette."""

    @functools.cache
    def make(name: str) -> Path:
        made = Repository(tmp_path_factory.mktemp("template"), name)
        made.init()
        made.commit(recording("a"), recording("b"))
        made.aquila("install-merge-driver")
        made.git("add", "-A")
        made.git("commit", "-q", "-m", "attributes")
        return made.folder

    return make


@pytest.fixture(params=slow_but(["chat.yaml"], ["chat.yaml", "chat.msgpack"]))
def repository(request: pytest.FixtureRequest, tmp_path: Path, template: Callable[[str], Path]) -> Repository:
    shutil.copytree(template(request.param), tmp_path, dirs_exist_ok=True)
    return Repository(tmp_path, request.param)


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """The files base, ours and theirs, as git names them to the merge driver."""
    return [tmp_path / f"{name}.yaml" for name in ("base", "ours", "theirs")]


A, B = recording("a"), recording("b")


def test_uses_of_cassettes_that_both_branches_added_are_kept(repository: Repository) -> None:
    uses = {("chat", "test_b"), ("chat", "test_c")}
    for branch, use in zip(("other", "mine"), sorted(uses), strict=True):
        repository.git("checkout", "-q", "-b", branch, "main")
        recorded_uses.change_uses(repository.cassette.parent, lambda known, use=use: {*known, use})
        repository.git("add", "-A")
        repository.git("commit", "-q", "-m", "record")
    repository.merge()
    assert recorded_uses.read_uses(repository.cassette.parent) == uses


def test_a_cassette_that_both_branches_began_is_merged(repository: Repository) -> None:
    repository.cassette = repository.cassette.with_name(f"new{repository.cassette.suffix}")
    repository.branch("other", recording("theirs"))
    repository.branch("mine", recording("ours"))
    repository.merge()
    assert sorted(repository.held()) == [("ours", "first"), ("theirs", "first")]


def test_without_the_environment_of_the_driver_a_conflict_has_marks_and_a_diff_does_not_stop(
    repository: Repository,
) -> None:
    repository.branch("other", A, B, recording("theirs"))
    repository.branch("mine", A, B, recording("ours"))
    for key in ("merge.aquila.driver", "diff.aquila.textconv"):
        repository.git("config", key, repository.git("config", key).strip().replace(sys.executable, "/gone/python"))
    assert "CONFLICT" in repository.merge(fails=True)
    assert (b"<<<<<<<" in repository.cassette.read_bytes()) == (repository.cassette.suffix == ".yaml")
    assert "a file in conflict has no staged version" in run_command(repository.folder, "diff", "--staged")[1]
    (repository.cassette.parent / "other.msgpack").write_bytes(b"\0")
    repository.git("add", "-N", "cassettes/other.msgpack")
    shown = repository.git("diff", "--", "cassettes/other.msgpack")
    assert "\n+unreadable, f76dd238ade08917e6712764a16a22005a50573d\n" in shown


@pytest.mark.slow
def test_large_bodies_of_both_branches_are_there(repository: Repository) -> None:
    # While git calls the merge driver, the bodies of the other branch are not in the working tree yet.
    theirs, ours = ("ab" * LARGE, "cd" * LARGE), ("uv" * LARGE, "xy" * LARGE)
    repository.branch("other", A, B, recording(*theirs))
    repository.branch("mine", A, B, recording(*ours))
    repository.merge()
    assert sorted(repository.held()[2:]) == [theirs, ours]
    assert len(list((repository.cassette.parent / "@bodies").glob("sha256-*"))) == 4


def diff(repository: Repository, *arguments: str) -> tuple[int, str]:
    return run_command(repository.folder, "diff", *arguments)


def test_a_cassette_is_compared_with_an_earlier_revision(repository: Repository) -> None:
    repository.commit(recording("a", "second", 2), B)
    name = repository.cassette.name.removesuffix(".yaml")
    for arguments in (
        ("HEAD~1", "--", name),
        ("HEAD~1", name),
        ("HEAD~1",),
        ("HEAD~1", f"cassettes/{repository.cassette.name}"),
    ):
        code, told = diff(repository, *arguments)
        assert code == 1
        assert f"{name}: 1 changed answer\n" in told, "the request of the other is the same, whoever wrote its JSON"
        assert "answer: [-first-]{+second+}" in told
    assert diff(repository, "HEAD", name)[0] == 0
    assert diff(repository, "no-such-thing", name)[0] == 2
    code, told = diff(repository, "HEAD~1", "nothing")
    assert code == 2
    assert "no cassette 'nothing'" in told
    repository.cassette.unlink()
    code, told = diff(repository, "HEAD~1", name)
    assert code == 1
    assert f"{name}: 2 recordings gone\n" in told


def test_a_folder_is_compared_with_an_earlier_revision_and_with_another_folder(repository: Repository) -> None:
    first = repository.cassette
    for place in ("old/one", "old/two", "new/one"):
        repository.cassette = first.parent / f"{place}{first.suffix}"
        repository.commit(A, B)
    repository.cassette.unlink()
    repository.cassette = repository.cassette.with_stem("three")
    repository.commit(A)
    code, told = diff(repository, "HEAD~1", "--", "new")
    assert code == 1
    assert "new/one" in told
    assert "new/three" in told
    assert "old/" not in told
    code, told = diff(repository, "old", "new")
    assert code == 1
    assert "3 cassettes differ between old and new" in told


@pytest.mark.slow
def test_the_advice_for_a_merge_conflict_in_a_cassette_resolves_it(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "chat.yaml")
    repository.init()
    repository.commit(A, B)
    repository.branch("other", A, B, recording("theirs"))
    repository.branch("mine", A, B, recording("ours"))
    repository.merge(fails=True)
    with pytest.raises(CassetteCorrupt, match=r"chat\.yaml, line \d+: git conflict.*install-merge-driver"):
        cassette_files.load_cassette(repository.cassette)
    repository.aquila("install-merge-driver")
    repository.git("checkout", "--merge", str(repository.cassette))
    repository.git("add", str(repository.cassette))
    assert sorted(repository.held()[2:]) == [("ours", "first"), ("theirs", "first")]


@pytest.mark.slow
def test_a_file_that_is_no_cassette_is_merged_line_by_line(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "chat.yaml")
    repository.init()
    repository.commit(A)
    repository.aquila("install-merge-driver")
    other = repository.cassette.with_name("settings.yaml")
    for branch, text in (
        ("main", "a: 1\n\n\n\nb: 2\n"),
        ("other", "a: 1\n\n\n\nb: 3\n"),
        ("mine", "a: 0\n\n\n\nb: 2\n"),
    ):
        repository.git("checkout", "-q", *(() if branch == "main" else ("-b", branch)), "main")
        other.write_text(text)
        repository.git("add", "-A")
        repository.git("commit", "-q", "-m", branch)
    repository.merge()
    assert other.read_text() == "a: 0\n\n\n\nb: 3\n"


def test_a_cassette_of_vcrpy_is_merged_line_by_line(versions: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    text = (
        "interactions:\n- request: {method: GET, uri: 'https://a.example/', body: null, headers: {}}\n"
        "  response:\n    body: {string: BODY}\n    headers: {}\n    status: {code: 200, message: MESSAGE}\n"
        "version: 1\n"
    )
    for path, body, message in zip(versions, "aba", "aab", strict=True):
        path.write_text(text.replace("BODY", body).replace("MESSAGE", message))
    assert main(["cassettes", "merge", *map(str, versions)]) == 0
    assert "merged line by line, because it was not written by Aquila" in capfd.readouterr().err
    assert versions[1].read_text() == text.replace("BODY", "b").replace("MESSAGE", "b")


def test_branches_that_recorded_into_a_cassette_of_vcrpy_are_merged_by_request(
    versions: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    asked = "- request: {method: GET, uri: 'https://a.example/%s', body: null, headers: {}}\n"
    answered = (
        "  response:\n    body: {string: first}\n    status: {code: 200, message: OK}\n"
        "    headers: {date: ['Sun, 01 Nov 2026 12:00:00 GMT'], set-cookie: [a=1], server: [a]}\n"
    )
    versions[0].write_text("interactions:\n" + asked % "a" + answered + asked % "b" + answered + "version: 1\n")
    shutil.copy(versions[0], versions[1])
    with contextlib.redirect_stdout(io.StringIO()):  # one branch has converted the file
        assert main(["cassettes", "convert", "--to", "yaml", "--replace", str(versions[1])]) == 0
    ours = cassette_files.load_cassette(versions[1]).interactions
    answer = replace(ours[1].response, headers=(*ours[1].response.headers, ("server", "a")))
    kept = Interaction(ours[1].request, answer)  # as a recording run leaves it
    cassette_files.save_cassette(versions[1], Cassette.from_interactions([*ours, OURS]))
    cassette_files.save_cassette(versions[2], Cassette.from_interactions([kept, THEIRS]))
    assert main(["cassettes", "merge", *map(str, versions)]) == 0
    assert capfd.readouterr().err == ""
    merged = cassette_files.load_cassette(versions[1]).interactions
    assert [one.request.url[-1] for one in merged] == ["b", "x", "x"]
    assert merged[0] == ours[1]
    assert set(merged[1:]) == {OURS, THEIRS}


A2, A3, B2 = recording("a", "second", 2), recording("a", "third", 3), recording("b", "second", 2)
OURS, THEIRS = recording("ours"), recording("theirs")


@pytest.mark.parametrize("suffix", [".yaml", ".msgpack"])
@pytest.mark.parametrize(
    ("ours", "theirs", "merged", "told"),
    [
        ([A, B, OURS], [A, B, THEIRS], [A, B, THEIRS, OURS], ""),
        ([A, B2], [A2, B], [A2, B2], ""),
        ([A3, B], [A2, B], [A3, B], "was recorded in both branches"),
        ([A2, B], [A3, B], [A3, B], "was recorded in both branches"),
        ([B], [A, B, THEIRS], [B, THEIRS], ""),
        ([A, B, OURS], [B], [B, OURS], ""),
        ([B], [A2, B], [A2, B], "removed in one branch and recorded again"),
        ([A2, B], [B], [A2, B], "removed in one branch and recorded again"),
    ],
)
def test_what_both_branches_changed_is_merged_by_request(
    ours: list[Interaction], theirs: list[Interaction], merged: list[Interaction], told: str, suffix: str,
    versions: list[Path],
) -> None:  # fmt: skip
    versions = [path.with_suffix(suffix) for path in versions]
    for path, recordings in zip(versions, ([A, B], ours, theirs), strict=True):
        cassette_files.save_cassette(path, Cassette(tuple(recordings)))
    code, said = run_command(versions[0].parent, "merge", *map(str, versions))
    assert (code, told in said, bool(said)) == (0, True, bool(told))
    assert cassette_files.load_cassette(versions[1]).interactions == tuple(merged)


@pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"# yamllint disable\n", b"---\n"])
def test_a_cassette_that_another_program_saved_is_merged_by_request(begin: bytes, versions: list[Path]) -> None:
    for path, added in zip(versions, ((), (OURS,), (THEIRS,)), strict=True):
        cassette_files.save_cassette(path, Cassette((A, B, *added)))
        path.write_bytes(begin + path.read_bytes())
    assert main(["cassettes", "merge", *map(str, versions)]) == 0
    assert cassette_files.load_cassette(versions[1]).interactions == (A, B, THEIRS, OURS)


def test_a_version_that_is_not_there_is_an_error_and_no_conflict(
    versions: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["cassettes", "merge", *map(str, versions)]) == 2
    assert "ours.yaml" in capfd.readouterr().err


def test_installing_twice_changes_nothing_and_outside_a_repository_it_says_so(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attributes = repository.folder / "cassettes" / ".gitattributes"
    before = attributes.read_text()
    repository.aquila("install-merge-driver")
    assert attributes.read_text() == before
    attributes.write_bytes(b"*.png binary\r\n*.txt text")  # by an editor that ends lines in another way
    repository.aquila("install-merge-driver")
    assert attributes.read_bytes() == b"*.png binary\r\n*.txt text\n" + before.encode()
    outside = tmp_path_factory.mktemp("outside")
    (outside / "cassettes").mkdir()
    code, told = run_command(outside, "install-merge-driver")
    assert code == 2
    assert "not a git repository" in told


def test_a_conflict_marker_in_the_first_line_is_recognized(tmp_path: Path) -> None:
    """The sides may be in two formats, so that their first lines differ."""
    path = tmp_path / "chat.yaml"
    path.write_text(
        "<<<<<<< HEAD\naquila: 1\ninteractions: []\n...\n=======\ninteractions: []\nversion: 1\n>>>>>>> one\n"
    )
    with pytest.raises(CassetteCorrupt, match=r"chat\.yaml, line 1: git conflict.*install-merge-driver"):
        cassette_files.load_cassette(path)

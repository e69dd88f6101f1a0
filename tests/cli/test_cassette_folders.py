"""Several cassette folders in a project: commands find them by themselves, and take folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cli import main
from aquila.cli.project import Project
from tests.cli.conftest import Cassettes, conversation

ROW = conversation("hi", "ho")


@pytest.fixture
def team(cassettes: Cassettes) -> Cassettes:
    """A project with three cassette folders of its own, one of a project inside it, and folders that are none."""
    cassettes.write("jobs/a.yaml", ROW)
    cassettes.write("../api/cassettes/jobs/a.yaml", ROW)
    cassettes.write("../api/cassettes/only_here.yaml", ROW)
    cassettes.write("../web/tests/vcr_cassettes/test_page.yaml", ROW)
    cassettes.write("../packages/inner/recordings/b.yaml", ROW)
    root = cassettes.folder.parent
    (root / "packages/inner/pytest.ini").write_text("[pytest]\naquila_cassette_dir = recordings\n")
    for other in (".git", ".venv", "node_modules", "build", "env/lib"):
        cassettes.write(f"../{other}/cassettes/other.yaml", ROW)
    (root / "env" / "pyvenv.cfg").touch()
    cassettes.write("../src/app/cassettes/module_data.yaml", ROW)
    (root / "src/app/cassettes/__init__.py").touch()
    (root / "empty" / "cassettes").mkdir(parents=True)
    return cassettes


NAMES = [
    "jobs/a",
    "api/cassettes/jobs/a",
    "api/cassettes/only_here",
    "packages/inner/recordings/b",
    "web/tests/vcr_cassettes/test_page",
]


def listed(team: Cassettes, *words: str) -> list[str]:
    return [one["name"] for one in team.run("list", "--json", *words).json]


@pytest.mark.parametrize("inside", [".", "api", "web/tests", "src/app"])
def test_every_folder_of_the_project_is_found_from_anywhere_in_it(
    inside: str, team: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(team.folder.parent / inside)
    assert listed(team) == NAMES
    assert team.run("stats", "--json").json["cassettes"] == 5
    assert team.run("scan").out == "no secrets in 5 files\n"
    team.write("../packages/inner/recordings/cassettes/c.yaml", ROW)  # in a folder that is found already
    assert listed(team).count("packages/inner/recordings/cassettes/c") == 1


@pytest.mark.parametrize(
    ("name", "found"),
    [
        *[(name, [name]) for name in NAMES],
        ("only_here", ["api/cassettes/only_here"]),
        ("api/cassettes/only_here.yaml", ["api/cassettes/only_here"]),
        ("./api/cassettes/only_here", ["api/cassettes/only_here"]),
        ("test_page", ["web/tests/vcr_cassettes/test_page"]),
        ("api", NAMES[1:3]),
        ("api/cassettes", NAMES[1:3]),
        ("cassettes", ["jobs/a"]),
        ("web", NAMES[4:]),
        ("jobs", NAMES[:2]),
        ("jobs/*", NAMES[:2]),
        ("*", NAMES),
    ],
)
def test_a_cassette_is_named_by_its_place_by_its_own_name_or_by_a_folder(
    name: str, found: list[str], team: Cassettes
) -> None:
    assert sorted(listed(team, name)) == sorted(found)


def test_names_are_relative_to_the_current_folder(team: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(team.folder.parent / "api")
    assert listed(team, "cassettes") == NAMES[1:3]
    assert listed(team, "cassettes/jobs/a") == NAMES[1:2]
    assert listed(team, "jobs/a") == NAMES[:1]


def test_a_name_that_several_folders_have_is_refused_with_the_candidates(team: Cassettes) -> None:
    team.write("../web/tests/vcr_cassettes/only_here.yaml", ROW)
    for words in (["show", "only_here"], ["list", "only_here"], ["convert", "only_here", "--to", "msgpack"]):
        done = team.run(*words)
        assert done.code == 2
        assert (
            "'only_here' names 2 cassettes; give one of them: "
            "api/cassettes/only_here, web/tests/vcr_cassettes/only_here" in done.err
        )


def test_a_folder_that_no_setting_names_can_be_given(team: Cassettes, tmp_path: Path) -> None:
    team.write("../elsewhere/x.yaml", ROW)
    assert listed(team, "elsewhere") == [str(team.folder.parent / "elsewhere" / "x.yaml")]
    assert listed(team, "--dir", "api/cassettes", "--dir", "elsewhere") == [
        "jobs/a",
        "only_here",
        "elsewhere/x",
    ]
    done = team.run("list", "--dir", "api/cassettes", "--dir", "nowhere")
    assert (done.code, "there is no cassette folder" in done.err, "nowhere" in done.err) == (2, True, True)
    assert "no cassettes in empty" in team.run("list", "empty").err


def test_a_folder_that_the_environment_names_is_the_only_one(team: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", "api/cassettes")
    assert listed(team) == ["jobs/a", "only_here"]


def test_accept_finds_pending_recordings_in_every_folder(team: Cassettes) -> None:
    new = conversation("hi", "another answer")
    for folder in ("../api/cassettes", "../web/tests/vcr_cassettes", "."):
        team.write(f"{folder}/new.pending.yaml", new)
    assert "3 pending recordings" in team.run("list").out
    done = team.run("accept", "web/tests/vcr_cassettes/new")
    assert (done.code, done.out) == (0, "web/tests/vcr_cassettes/new: created, 1 interaction\n")
    assert team.run("accept", "--yes").out.splitlines() == [
        "new: created, 1 interaction",
        "api/cassettes/new: created, 1 interaction",
    ]
    assert load_cassette(team.folder.parent / "api/cassettes/new.yaml").interactions == (new,)
    assert "nothing is pending" in team.run("accept", "new").err


def test_a_pending_msgpack_cassette_can_be_named_without_its_suffix(cassettes: Cassettes) -> None:
    cassettes.write("test_a/test_b.msgpack", conversation("one", "old"))
    cassettes.write("test_a/test_b.pending.msgpack", conversation("one", "new"))
    assert "test_b.msgpack" in cassettes.run("review", "--list", "test_a/test_b").out
    done = cassettes.run("accept", "test_a/test_b")
    assert (done.code, done.err) == (0, "")
    assert b"new" in cassettes.read("test_a/test_b.msgpack").interactions[0].response.body


def test_the_name_without_a_suffix_means_the_yaml_cassette_if_both_are_pending(cassettes: Cassettes) -> None:
    for suffix in ("yaml", "msgpack"):
        cassettes.write(f"a.{suffix}", conversation("one", "old"))
        cassettes.write(f"a.pending.{suffix}", conversation("one", "new"))
    assert cassettes.run("accept", "a").out == "a: replaced, 1 interaction\n"


def test_convert_keeps_the_places_of_cassettes_with_the_same_name(team: Cassettes) -> None:
    done = team.run("convert", "jobs", "--to", "msgpack", "--output", "out")
    assert done.code == 0, done.err
    out = team.folder.parent / "out"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.msgpack")) == [
        "api/cassettes/jobs/a.msgpack",
        "jobs/a.msgpack",
    ]


def test_mv_moves_within_the_folder_of_both_names(team: Cassettes) -> None:
    done = team.run("mv", "api/cassettes/only_here", "api/cassettes/moved")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "api/cassettes/only_here.yaml -> api/cassettes/moved.yaml",
    ), done.err
    assert "api/cassettes/moved" in listed(team)
    assert team.run("mv", "jobs/a", "jobs/b").code == 0
    assert {"jobs/b", "api/cassettes/jobs/a"} <= set(listed(team))


def test_prune_looks_into_every_folder(team: Cassettes) -> None:
    team.write("../api/cassettes/only_here.msgpack", ROW)
    found = team.run("prune", "--dry-run", "--json").json
    assert [one["file"] for one in found["files"]] == ["api/cassettes/only_here.msgpack"]


def test_a_folder_that_may_not_be_read_is_passed_over(team: Cassettes, monkeypatch: pytest.MonkeyPatch) -> None:
    close_folder(team.folder.parent / "web", monkeypatch)
    assert listed(team) == NAMES[:4]


@pytest.mark.parametrize("inside", ["api/cassettes", "api/cassettes/jobs"])
def test_a_cassette_folder_that_may_not_be_read_is_named_and_makes_commands_fail(
    inside: str, team: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_folder(team.folder.parent / inside, monkeypatch)
    for command in ("list", "stats", "scan"):
        done = team.run(command)
        assert done.code == 2
        assert f"unreadable: {inside}: " in done.out


@pytest.mark.parametrize("command", [("accept",), ("review", "--list")])
def test_an_unreadable_folder_is_not_reported_as_having_nothing_pending(
    command: tuple[str, ...], team: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = team.folder.parent / "api" / "cassettes"
    close_folder(closed, monkeypatch)
    done = team.run(*command)
    assert done.code == 2
    assert (
        f"{closed.relative_to(Path.cwd())} cannot be read, and may have pending recordings: make it readable"
        in done.err
    )


def close_folder(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder that cannot be read. For root the permissions of the file system do not count."""

    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(folder: Any = ".") -> Any:
            if Path(folder) == closed:
                raise PermissionError(13, "Permission denied", str(folder))
            return real(folder)

        return call

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))


def test_links_are_not_followed(team: Cassettes) -> None:
    root = team.folder.parent
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert listed(team) == NAMES


def test_a_project_without_pytest_settings_is_found_from_a_folder_inside(
    team: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = team.folder.parent
    (root / "pytest.ini").unlink()
    monkeypatch.chdir(root / "web" / "tests")
    assert listed(team) == NAMES


def test_a_new_project_is_told_how_to_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AQUILA_CASSETTE_DIR", raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path / "tests")
    assert main(["cassettes", "list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"no cassettes in {tmp_path / 'cassettes'} yet\n")
    assert "pytest --aquila-record" in out
    assert main(["cassettes", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", ""], "the name of a cassette is empty"),
        (["show", " "], "the name of a cassette is empty"),
        (["stats", "--dir", ""], "--dir is empty"),
        (["stats", "--dir", "pytest.ini"], "there is no cassette folder"),
        (["diff", "nothing"], "no cassette 'nothing' in"),
        (["diff", "jobs/a"], "give a second one, or a revision"),
        (["show", "api/nothing"], "no cassette 'api/nothing' in"),
    ],
)
def test_names_without_a_cassette_are_refused(words: list[str], message: str, team: Cassettes) -> None:
    done = team.run(*words)
    assert (done.code, done.out) == (2, "")
    assert message.lower() in done.err.lower()


def test_folders_in_several_places_are_compared_by_the_names_within_them(team: Cassettes) -> None:
    team.write("../api/cassettes/jobs/a.yaml", conversation("hi", "another answer"))
    for a, b in (("cassettes", "api/cassettes"), ("cassettes/jobs", "api/cassettes/jobs")):
        done = team.run("diff", a, b)
        assert done.code == 1, done.err
        assert "another answer+}" in done.out
    assert (
        "'jobs' is a folder in several places: jobs/a and api/cassettes/jobs/a" in team.run("diff", "jobs", "api").err
    )


def test_a_cassette_in_another_format_is_the_same_cassette_in_a_comparison_of_folders(cassettes: Cassettes) -> None:
    for name in ("a/x.yaml", "b/x.msgpack", "a/y.msgpack", "a/y.yaml", "b/y.msgpack", "b/y.yaml"):
        cassettes.write(name, ROW)
    done = cassettes.run("diff", "cassettes/a", "cassettes/b")
    assert (done.code, done.out) == (0, "no cassette differs between cassettes/a and cassettes/b\n")
    assert (done := cassettes.run("diff", "a", "b")).code == 0, done.out


def test_a_folder_that_another_process_removes_meanwhile_is_no_error(
    cassettes: Cassettes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes.write("a.yaml", conversation("one", "1"))
    gone = cassettes.folder / ".journal" / "of-a-run"
    scan = os.scandir

    def remove_first(folder: Any = ".") -> Any:
        if not isinstance(folder, int) and Path(folder) == gone:
            gone.rmdir()
        return scan(folder)

    monkeypatch.setattr(os, "scandir", remove_first)
    for words in (["list"], ["stats"], ["scan"], ["accept"], ["prune"], ["review", "--list"], ["mv", "a", "b"]):
        gone.mkdir(parents=True, exist_ok=True)
        done = cassettes.run(*words)
        assert (done.code, done.err) == (0, ""), words


def test_finding_the_folder_of_a_file_takes_no_longer_among_hundreds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    is_relative_to = Path.is_relative_to
    for count in (10, 100):
        folders = [tmp_path / f"package{number}" / "cassettes" for number in range(count)]
        for folder in folders:
            (folder / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
        here = Project(tmp_path, tmp_path / "cassettes", given=folders)
        for last in (False, True):  # what is read once is read by the first
            calls: list[object] = []
            monkeypatch.setattr(
                Path, "is_relative_to", lambda *both, calls=calls: calls.append(both) or is_relative_to(*both)
            )
            assert here.folder_of(folders[-1] / "test_a" / "test_b.yaml") == folders[-1]
            assert here.recording_folder_of(folders[-1] / "test_a" / "test_b.yaml") == folders[-1]
            monkeypatch.undo()
            compared += [len(calls)] if last else []
    assert compared[0] == compared[1]


def test_the_first_of_two_given_folders_has_a_file_of_both(tmp_path: Path) -> None:
    outer, inner = tmp_path / "cassettes", tmp_path / "cassettes" / "inner"
    inner.mkdir(parents=True)
    for first, second in ((outer, inner), (inner, outer)):
        assert Project(tmp_path, tmp_path / "other", given=[first, second]).folder_of(inner / "a.yaml") == first

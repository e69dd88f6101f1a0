"""Names of cassettes and the files they stand for."""

from __future__ import annotations

import functools
import re
import shlex
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import aquila
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.cassette_files import (
    is_cassette_name,
    is_pending_file,
    load_cassette,
    pending_path,
    save_cassette,
    update_cassette,
)
from aquila.cassettes.storage.names import candidate_paths, cassette_path, name_of_file, name_of_fixture, name_of_test
from aquila.config import find_cassette_root
from aquila.errors import CassetteNameError

ROOT = Path("/project/cassettes")


@pytest.mark.parametrize(
    "name", ["", " ", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:/x", "C:\\x", "a\x00b", "."]
)
def test_a_name_that_is_empty_or_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(CassetteNameError, match="cassette name"):
        cassette_path(ROOT, name)


@pytest.mark.parametrize("name", [5, None, ["jobs"], cassette_path])
def test_a_name_that_is_no_text_is_refused_with_its_type(name: Any) -> None:
    kind = type(name).__name__
    for use in (functools.partial(cassette_path, ROOT), functools.partial(candidate_paths, ROOT), aquila.use_cassette):
        with pytest.raises(CassetteNameError, match=f"is a text such as 'jobs/generate_summary', and .* type {kind}"):
            use(name)


@pytest.mark.parametrize("name", ["a\nb", "a/b\x1b[31m", "\x7f"])
def test_a_name_with_a_control_character_is_refused_and_shown_escaped(name: str) -> None:
    with pytest.raises(CassetteNameError, match="has a control character") as refused:
        cassette_path(ROOT, name)
    assert not set(map(ord, str(refused.value))) & {*range(32), 127}


@pytest.mark.parametrize("name", ["x" * 201, "\u9df2" * 67, "x" * 201 + "/y", "/".join(["x" * 99] * 11), "x" * 300])
def test_a_name_that_no_file_system_takes_is_refused_in_a_short_message(name: str) -> None:
    with pytest.raises(CassetteNameError, match="too long: at most 200 bytes between two slashes") as refused:
        cassette_path(ROOT, name)
    assert len(str(refused.value)) < 250


def test_a_name_that_the_locale_cannot_encode_is_refused_with_what_to_do() -> None:
    with pytest.raises(CassetteNameError, match=r"cannot be the name of a file .*PYTHONUTF8=1"):
        cassette_path(ROOT, "jobs/\ud800")


@pytest.mark.parametrize("name", ["x" * 200, "\u9df2" * 66, "x" * 192 + ".msgpack", "/".join(["x" * 99] * 10)])
def test_the_longest_names_can_be_written(name: str, tmp_path: Path) -> None:
    path = cassette_path(tmp_path, name)
    save_cassette(path, Cassette())
    save_cassette(pending_path(path), Cassette())
    assert update_cassette(path, lambda stored: stored, root=tmp_path) == load_cassette(pending_path(path))


@pytest.mark.parametrize("name", [".journal/x", "./.journal/x", ".Journal\\x", ".journal", "x/.journal/y"])
def test_the_folder_of_journals_holds_no_cassette(name: str) -> None:
    with pytest.raises(CassetteNameError, match="Aquila's own"):
        cassette_path(ROOT, name)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.yaml", True),
        ("jobs/a.msgpack", True),
        ("a.txt", False),
        ("a.pending.yaml", False),
        ("._a.yaml", False),  # written by macOS
        (".journal/a.yaml", False),
    ],
)
def test_a_file_is_a_cassette_by_its_name(name: str, is_one: bool) -> None:
    assert is_cassette_name(ROOT / name, ROOT) is is_one


def test_a_name_is_a_yaml_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert cassette_path(ROOT, "jobs/summary") == ROOT / "jobs" / "summary.yaml"
    assert cassette_path(ROOT, "jobs/summary.msgpack") == ROOT / "jobs" / "summary.msgpack"
    assert cassette_path(ROOT, "v1.2") == ROOT / "v1.2.yaml"
    (tmp_path / "x.msgpack").touch()
    assert cassette_path(tmp_path, "x") == tmp_path / "x.msgpack"
    (tmp_path / "x.yaml").touch()
    assert cassette_path(tmp_path, "x") == tmp_path / "x.yaml"


def test_a_test_gives_its_cassette_a_readable_name() -> None:
    assert name_of_test("tests/jobs/test_x.py::test_y") == "tests/jobs/test_x/test_y"
    assert name_of_test("test_x.py::TestA::test_y[fast]") == "test_x/TestA.test_y-fast"
    assert name_of_test("test_x.py::test_y[gpt-4.1-mini-2]") == "test_x/test_y-gpt-4.1-mini-2"


@pytest.mark.parametrize(
    ("inside", "readable"),
    [
        ("test_y[a/b]", "test_y-a-b"),
        ("test_y[How are you?]", "test_y-How-are-you"),
        ("test_y[GPT]", "test_y-GPT"),  # not a file of its own beside [gpt], on every system
        ("test_y[a.yaml]", "test_y-a.yaml"),  # would be the cassette test_y-a
        ("test_y[a.pending]", "test_y-a.pending"),  # would be the pending recording of test_y-a
        ("test-y", "test-y"),  # would be test[y]
        ("a case", "a-case"),
        ("test_y[" + "x" * 500 + "]", "test_y-" + "x" * 140),
        ("@db", "@db"),  # would be a fixture
        ("--rf[x]", "rf-x"),
    ],
)
def test_a_name_that_others_might_have_too_ends_with_a_hash(inside: str, readable: str) -> None:
    name = name_of_test(f"test_x.py::{inside}")
    assert re.fullmatch(rf"test_x/{re.escape(readable)}\+[0-9a-f]{{12}}", name)


def test_names_that_differ_in_capitals_alone_get_a_hash_if_the_module_has_both() -> None:
    plain, marked = (name_of_test("test_x.py::TestA::test_Y", has_twin=has_twin) for has_twin in (False, True))
    assert plain == "test_x/TestA.test_Y"
    assert marked.startswith("test_x/TestA.test_Y+")
    fixture = name_of_fixture("Db", defined="test_x.py", has_twin=True)
    assert fixture.startswith("test_x/@Db+")


PARAMETERS = (
    st.text() | st.from_regex(r"\A[aAbB.+@\[\] -]{0,6}\Z") | st.sampled_from(["a.yaml", "é", "e\u0301", "ß", "ss"])
)
OWN = st.sampled_from(["test_y", "TestA::test_y", "test", "test-a", "@x", "TestA::@x", "test_y-a", "TestA.test_y", ""])
IDS = st.one_of(OWN, st.builds("{}[{}]".format, OWN, PARAMETERS))


@given(IDS, IDS)
@example("a[a::b]", "a[a.b]")
@example("test[a]", "test-a")
@example("test[A]", "test[a]")
@example("test[]", "test-")
@example("TestA::test_y", "TestA.test_y")
@example("TestA::test_y[:]", "TestA.test_y[:]")
def test_every_test_gets_a_file_of_its_own_inside_the_folder_on_every_file_system(one: str, other: str) -> None:
    names = [name_of_test(f"tests/test_x.py::{inside}") for inside in (one, other)]
    for name in names:
        path = cassette_path(ROOT, name)
        assert path.parent == ROOT / "tests" / "test_x"
        assert len(path.name.encode()) <= 200
        assert path.suffix == ".yaml"
        assert not is_pending_file(path)
    on_disk = [unicodedata.normalize("NFD", name).casefold() for name in names]
    assert (on_disk[0] == on_disk[1]) == (one == other)


@given(IDS)
def test_the_own_part_of_a_name_needs_no_quotes_in_a_shell(inside: str) -> None:
    name = name_of_test(f"tests/test_x.py::{inside}")
    assert re.fullmatch(r"[\w@.+-]+", PurePosixPath(name).name)
    assert not PurePosixPath(name).name.startswith(("-", "."))
    if name.isascii():
        assert shlex.split(name) == [shlex.quote(name)]


def test_a_test_outside_the_root_folder_has_its_cassette_inside_the_cassette_folder() -> None:
    assert name_of_test("../other/test_x.py::test_y") == "@up/other/test_x/test_y"
    assert name_of_test("../../other/test_x.py::test_y") == "@up/@up/other/test_x/test_y"
    assert name_of_test("D:/other/test_x.py::test_y") == "@D/other/test_x/test_y"
    assert name_of_test("@up/test_x.py::test_y") != name_of_test("../test_x.py::test_y")


def test_a_shared_fixture_gives_its_cassette_a_readable_name_that_is_no_other_fixtures_or_tests() -> None:
    names = {
        name_of_fixture("db", defined="tests/conftest.py"): "tests/conftest/@db",
        name_of_fixture("db", defined="conftest.py"): "conftest/@db",
        name_of_fixture("db", defined="@some.plugin"): "@plugins/some.plugin/@db",
        name_of_fixture("db[a]", defined="test_x.py::TestA"): "test_x/TestA.@db-a",
        name_of_fixture("db", defined="test_x.py", within="test_x.py"): "test_x/@db",
        name_of_fixture("db", defined="conftest.py", within="test_x.py"): "test_x/@db@conftest",
        name_of_fixture("db", defined="a/conftest.py", within="a/test_x.py::TestA"): "a/test_x/TestA.@db@a.conftest",
        name_of_fixture("db", defined="@some.plugin", within="test_x.py"): "test_x/@db@@some.plugin",
    }
    assert list(names) == list(names.values())
    assert name_of_test("test_x.py::@db") != "test_x/@db"
    assert name_of_test("test_x.py::TestA::@db") != "test_x/TestA.@db"


class FalsePath(type(Path())):  # type: ignore[misc]
    """A path of pyfakefs, which is in no folder that a real path names, at least since Python 3.13."""

    def relative_to(self, *others: Any) -> Any:
        if any(isinstance(other, Path) and not isinstance(other, FalsePath) for other in others):
            raise ValueError("is not in the subpath")
        return super().relative_to(*others)


def test_a_path_of_a_false_file_system_is_named_in_its_test_and_not_kept_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = Path("/false/cassettes").absolute()
    with monkeypatch.context() as patch:
        patch.setattr("aquila.cassettes.storage.names.Path", FalsePath)
        patch.setattr("aquila.config.Path", FalsePath)
        path = cassette_path(root, "birds")
        assert type(path) is type(find_cassette_root(root, "x")) is FalsePath
        assert name_of_file(root, path) == "birds"
    assert type(cassette_path(root, "birds")) is type(find_cassette_root(root, "x")) is type(root)

"""Names of cassettes and the files they stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aquila.cassettes.storage.names import cassette_path, name_of_fixture, name_of_test
from aquila.errors import CassetteNameError

ROOT = Path("/project/cassettes")


@pytest.mark.parametrize(
    "name", ["", " ", "/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:/x", "C:\\x", "a\x00b", "."]
)
def test_a_name_that_is_empty_or_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(CassetteNameError, match="cassette name"):
        cassette_path(ROOT, name)


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
    assert name_of_test("test_x.py::TestA::test_y[fast]") == "test_x/TestA.test_y[fast]"
    assert name_of_test("test_x.py::test_y[a/b]").startswith("test_x/test_y[a-b]-")


@given(st.text(min_size=1), st.text(min_size=1))
@example("a::b", "a.b")
def test_every_test_gets_a_file_of_its_own_inside_the_folder(one: str, other: str) -> None:
    names = [name_of_test(f"tests/test_x.py::test[{parameter}]") for parameter in (one, other)]
    for name in names:
        path = cassette_path(ROOT, name)
        assert path.parent == ROOT / "tests" / "test_x"
        assert len(path.name.encode()) <= 200
    assert (names[0] == names[1]) == (one == other)


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
        name_of_fixture("db[a]", defined="test_x.py::TestA"): "test_x/TestA.@db[a]",
        name_of_fixture("db", defined="test_x.py", within="test_x.py"): "test_x/@db",
        name_of_fixture("db", defined="conftest.py", within="test_x.py"): "test_x/@db@conftest",
        name_of_fixture("db", defined="a/conftest.py", within="a/test_x.py::TestA"): "a/test_x/TestA.@db@a.conftest",
        name_of_fixture("db", defined="@some.plugin", within="test_x.py"): "test_x/@db@@some.plugin",
    }
    assert list(names) == list(names.values())
    assert name_of_test("test_x.py::@db") != "test_x/@db"
    assert name_of_test("test_x.py::TestA::@db") != "test_x/TestA.@db"

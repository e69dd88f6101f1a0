"""Which tests use a cassette."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from aquila.cassettes.storage.recorded_uses import update_uses
from aquila.review import tested_by
from aquila.review.tested_by import find_tests


def test_a_module_is_read_once_for_all_its_tests_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cassettes = tmp_path / "cassettes"
    cassettes.mkdir()
    tests = [f"test_a.py::TestAll::test_{number}" for number in range(20)]
    update_uses(cassettes, {test: [f"c{number}"] for number, test in enumerate(tests)}, whole=())
    module = tmp_path / "test_a.py"
    lines = [f"    def test_{number}(self): pass\n" for number in range(20)]
    module.write_text("class TestAll:\n" + "".join(lines))
    parsed: list[object] = []
    read: list[object] = []
    parse, read_uses = ast.parse, tested_by.read_uses
    with monkeypatch.context() as inside:
        inside.setattr(tested_by.ast, "parse", lambda text: parsed.append(text) or parse(text))
        inside.setattr(tested_by, "read_uses", lambda root: read.append(root) or read_uses(root))
        found = [find_tests(f"c{number}", cassettes, tmp_path) for number in range(20)]
    assert found == [[tested_by.TestPlace(test, module, number + 2)] for number, test in enumerate(tests)]
    assert (len(parsed), len(read)) == (1, 1)
    module.write_text("\nclass TestAll:\n" + "".join(lines))
    assert find_tests("c3", cassettes, tmp_path) == [tested_by.TestPlace(tests[3], module, 6)]
    update_uses(cassettes, {"test_a.py::TestAll": ["c3"]}, whole=(tests[3],))
    assert find_tests("c3", cassettes, tmp_path) == [tested_by.TestPlace("test_a.py::TestAll", module, 2)]


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("TestBirds.test_owl-night", "TestBirds::test_owl"),
        ("TestBirds.test_inherited", "TestBirds::test_inherited"),
        ("TestBirds.@client", "TestBirds"),
        ("test_removed", None),
        ("@client", None),
    ],
)
def test_a_cassette_that_no_test_is_known_to_use_is_traced_by_its_name(
    name: str, test: str | None, tmp_path: Path
) -> None:
    (tmp_path / "test_a.py").write_text("class TestBirds:\n    def test_owl(self): pass\n")
    found = [each.id for each in find_tests(f"test_a/{name}", tmp_path / "cassettes", tmp_path)]
    assert found == ([] if test is None else [f"test_a.py::{test}"])

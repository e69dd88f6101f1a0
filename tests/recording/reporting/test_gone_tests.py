"""A test or a fixture counts as gone only where the source of its module leaves no doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.cassettes.storage.names import is_name_of_fixture
from aquila.recording.reporting.gone_tests import Sources

MODULE = """
import pytest

class TestHere:
    @pytest.fixture(scope="class")
    def there(self): ...
    def test_it(self, there): ...

class TestMore(Base):
    def test_more(self): ...

class TestTyped[T: list[int]](Base):
    def test_more(self): ...
"""


@pytest.mark.parametrize(
    ("fixture", "is_gone"),
    [
        ("@there", False),
        ("@left", True),
        ("@left-a", True),
        ("@known@conftest", False),  # of another place
        ("TestHere.@there", False),
        ("TestHere.@left", True),
        ("TestMore.@left", False),  # which Base may have
        ("TestTyped.@left", False),
        ("TestHere.@known@conftest", False),
        ("TestLeft.@known@conftest", True),
        ("TestHere.@setup_class", False),  # inherited, or the other spelling of it
        ("TestHere.@setUpClass", False),
        ("TestLeft.@setUpClass", True),
        ("@setup_module", False),
        ("@set_up", False),
    ],
)
def test_a_fixture_is_gone_with_its_name_or_that_of_its_class(fixture: str, is_gone: bool, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE, "utf-8")
    assert is_name_of_fixture(fixture)
    assert Sources(tmp_path).is_fixture_gone("test_it.py", fixture) == is_gone
    assert Sources(tmp_path).is_fixture_gone("test_other.py", fixture)


@pytest.mark.parametrize("last", ["test_it", "test_it-a@b", "TestIt.test_it-a.@b+01a3f7405668"])
def test_a_test_is_no_fixture_whatever_its_parameters(last: str) -> None:
    assert not is_name_of_fixture(last)


@pytest.mark.parametrize(
    ("more", "test", "is_gone"),
    [
        ("", "test_left", True),
        ("", "TestHere::test_it", False),
        ("", "test_left[a@b]", True),
        ("", "test_left-a@b", True),
        ("", "TestHere.@left", False),  # a fixture, which may be defined elsewhere
        ("monkeypatch.setattr(module, name, 1)", "test_left", True),
        ("setattr(module, name, 1)", "test_left", False),
    ],
)
def test_a_test_is_gone_with_its_name_if_nothing_makes_names(
    more: str, test: str, is_gone: bool, tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(MODULE + more, "utf-8")
    assert Sources(tmp_path).is_gone("test_it.py", test) == is_gone


@pytest.mark.parametrize("last", ["", ".", "-x", "+x", "[x]"])
def test_a_cassette_whose_name_holds_no_name_of_a_test_is_not_gone(last: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(MODULE, "utf-8")
    assert not Sources(tmp_path).is_gone("test_it.py", last)
    assert Sources(tmp_path).is_gone("test_other.py", last)

"""The error about an optional package says whether it is missing, or installed and broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from aquila.errors import MissingDependency
from aquila.optional import import_optional


def test_a_missing_package_is_named_with_the_install_command() -> None:
    with pytest.raises(MissingDependency) as caught:
        import_optional("no_such_package.inner", "vcr", purpose="this test")
    assert str(caught.value) == (
        "this test needs the package 'no_such_package.inner'; install it with: pip install 'aquila-llm[vcr]'"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("from json import no_such_name", "cannot import name 'no_such_name' from 'json'"),
    ],
)
def test_a_package_that_is_there_and_cannot_be_imported_says_why(
    source: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("broken_package.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency) as caught:
        import_optional("broken_package", "vcr", purpose="this test")
    assert f"the package 'broken_package', which cannot be imported ({why}" in str(caught.value)
    assert "broken_package" not in sys.modules


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("aquila.huey", "MemoryHuey", "huey"),
        ("aquila.huey.testing", "perform_job", "huey"),
        ("aquila.huey.live", "publish_jobs", "jobs"),
    ],
)
def test_a_public_name_that_needs_an_extra_names_it(package: str, name: str, extra: str) -> None:
    program = (
        "import importlib.abc, sys\n"
        "class NoHuey(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'huey':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NoHuey())\n"
        "from aquila.errors import MissingDependency\n"
        f"try:\n    from {package} import {name}\n"
        "except MissingDependency as missing:\n    print(missing)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    needs = f"{package}.{name} needs the package 'huey'; install it with: pip install 'aquila-llm[{extra}]'"
    assert done.stdout.strip() == needs, done.stderr


def test_a_package_that_is_too_old_is_named_with_its_version_also_for_a_submodule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aged_package").mkdir()
    (tmp_path / "aged_package" / "__init__.py").write_text("__version__ = '10.4'", "utf-8")
    (tmp_path / "aged_package" / "inner.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency) as caught:
        import_optional("aged_package.inner", "vcr", purpose="this test", oldest="11.0")
    assert str(caught.value) == (
        "this test needs the package 'aged_package' in version 11.0 or newer, and 10.4 is installed; "
        "install it with: pip install 'aquila-llm[vcr]'"
    )
    assert import_optional("aged_package.inner", "vcr", purpose="this test", oldest="10.0") is not None

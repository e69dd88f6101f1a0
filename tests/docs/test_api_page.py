"""``docs/api.md`` lists every public name, and nothing that does not exist."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aquila import errors
from aquila.cli import COMMANDS
from aquila.huey import testing
from aquila.option_parsing import OPTIONS
from aquila.other_variables import VARIABLES
from pytest_aquila import fixtures, options
from pytest_aquila.tasks import short_names, task_fixtures
from scripts.site.declared import make_variables_table
from tests.docs.snippets import REPOSITORY

PAGE = REPOSITORY / "docs" / "api.md"
MODULES = (
    "aquila",
    "aquila.cassettes",
    "aquila.errors",
    "aquila.hookspecs",
    "aquila.huey",
    "aquila.huey.live",
    "aquila.huey.testing",
    "aquila.otel",
    "aquila.prices",
    "aquila.research",
    "aquila.run_report",
    "aquila.testing",
    "aquila.testing.strategies",
    "aquila.vcr",
)
"""The public modules. One that does not exist yet adds nothing."""

NOT_FOR_USERS = {"kind_of", "reason_of"}
"""Names of modules without ``__all__`` that only this package uses."""


def public_names(module: ModuleType) -> list[str]:
    """The names of ``__all__`` and of what an extra brings, or what a module without one defines itself."""
    if hasattr(module, "__all__"):
        return [*module.__all__, *getattr(module, "_NEEDS_AN_EXTRA", ())]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ] + (["hookimpl"] if module.__name__ == "aquila.hookspecs" else [])


def names_in_code() -> set[str]:
    names = set()
    for module_name in MODULES:
        if importlib.util.find_spec(module_name) is not None:
            module = importlib.import_module(module_name)
            names |= {f"{module_name}.{name}" for name in public_names(module) if name not in NOT_FOR_USERS}
    return names


def sections() -> dict[str, list[str]]:
    """The names in the first column of each section's table."""
    found: dict[str, list[str]] = {}
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        found[title] = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    return found


class DeclaredOptions:
    """Stands in for pytest's parser, and remembers what is declared."""

    def __init__(self) -> None:
        self.options: set[str] = set()
        self.ini: set[str] = set()

    def getgroup(self, *_: str) -> DeclaredOptions:
        return self

    def addoption(self, *names: str, **_: Any) -> None:
        self.options |= set(names)

    def addini(self, name: str, *_: Any, **__: Any) -> None:
        self.ini.add(name)


def declared() -> DeclaredOptions:
    parser = DeclaredOptions()
    options.add_options(parser)  # type: ignore[arg-type]
    return parser


def variables_in_code() -> set[str]:
    internal = {name for name, variable in VARIABLES.items() if variable.is_internal}
    return (variables_named_in_code() | settings_from_environment()) - internal


def variables_named_in_code() -> set[str]:
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "src").rglob("*.py"))
    return set(re.findall(r"\bAQUILA_[A-Z_]*[A-Z]\b", source))


def settings_from_environment() -> set[str]:
    return {option.env for option in OPTIONS.values() if option.env}


def fixtures_in_code() -> set[str]:
    named = {**vars(fixtures), **vars(task_fixtures), **vars(short_names)}
    return {name for name, value in named.items() if type(value).__name__ == "FixtureFunctionDefinition"}


EXPECTED = {
    "Fixtures": fixtures_in_code,
    "Markers": lambda: {options.MARKER, options.LIVE},
    "Options of pytest": lambda: declared().options,
    "Settings in the ini file": lambda: declared().ini,
    "Environment variables": variables_in_code,
    "Commands": lambda: {f"aquila {command.name}" for command in COMMANDS},
}


def assert_same(listed: Iterable[str], existing: set[str]) -> None:
    listed = list(listed)
    assert existing - set(listed) == set(), "public, but not in docs/api.md"
    assert set(listed) - existing == set(), "in docs/api.md, but it does not exist"
    assert len(listed) == len(set(listed)), "listed twice in docs/api.md"


def test_every_environment_variable_in_the_code_is_declared_and_in_the_table() -> None:
    assert variables_named_in_code() - settings_from_environment() == set(VARIABLES), "declared in other_variables.py"
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    assert make_variables_table() in page, (
        "write it again: python -c 'from scripts.site.declared import *; print(make_variables_table())'"
    )
    assert all((REPOSITORY / "docs" / variable.page).exists() for variable in VARIABLES.values())


@pytest.mark.parametrize("section", EXPECTED)
def test_a_section_lists_what_exists(section: str) -> None:
    assert_same(sections()[section], EXPECTED[section]())


def test_the_other_sections_list_every_public_name_of_the_public_modules() -> None:
    listed = [name for title, names in sections().items() if title not in EXPECTED for name in names]
    assert_same(listed, names_in_code())


def test_each_fixture_is_exported_and_those_for_tasks_have_a_short_name() -> None:
    named = {name for module in (fixtures, task_fixtures) for name in module.__all__}
    assert fixtures_in_code() - named == set(short_names.NAMES), "a fixture is in `__all__` of its module"
    functions = named & {f"aquila_{name}" for name in testing.__all__}
    assert functions == {f"aquila_{name}" for name in short_names.NAMES}, (
        "a function for tasks is in `short_names.NAMES`"
    )


def test_every_error_is_in_the_tree_and_on_the_page_of_errors() -> None:
    classes = {name for name in public_names(errors) if inspect.isclass(getattr(errors, name))}
    raised = [each for name in classes if issubclass(each := getattr(errors, name), Exception)]
    assert [each for each in raised if not issubclass(each, errors.AquilaError | Warning)] == []
    page = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    for place, text in {"the tree in errors.py": errors.__doc__ or "", "docs/errors.md": page}.items():
        assert classes - set(re.findall(r"\w+", text)) == set(), f"not in {place}"


def test_every_command_about_cassettes_is_in_the_table_of_its_page() -> None:
    page = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8")
    names = [command.name.partition("cassettes ")[2] for command in COMMANDS]
    assert set(re.findall(r"^\| `([\w-]+)", page, re.MULTILINE)) == set(filter(None, names)), "docs/cli.md"


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_a_page_names_no_option_or_setting_that_does_not_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w-])--aquila[\w-]*\w", text)) - declared().options == set()
    assert set(re.findall(r"^(aquila_\w+) *=", text, re.M)) - declared().ini == set()

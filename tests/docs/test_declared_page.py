"""The pages describe settings, options and commands as the code declares them."""

from __future__ import annotations

import re

import aquila
from aquila.cli import COMMANDS
from aquila.engine.calls.options import ASK_OPTIONS
from aquila.option_parsing import OPTIONS
from scripts.site import declared
from tests.docs.snippets import REPOSITORY
from tests.docs.test_api_page import declared as declared_to_pytest
from tests.docs.test_api_page import fixtures_in_code

SETTINGS = (REPOSITORY / "docs" / "cassettes-and-testing.md").read_text(encoding="utf-8").partition("\n## Settings")[2]


def test_the_page_of_declarations_names_everything() -> None:
    page = declared.make_page()
    given = declared_to_pytest()
    names = {*given.options, *given.ini, *fixtures_in_code(), *(f"aquila {command.name}" for command in COMMANDS)}
    assert [name for name in sorted(names) if name not in page] == []


def test_the_table_of_settings_has_each_setting_with_its_default() -> None:
    rows = [line.strip("|").split("|") for line in SETTINGS.splitlines() if line.startswith("| ")]
    told = {name: row[3].strip(" `") for row in rows for name in re.findall(r"`(\w+)`", row[1] + row[2])}
    # Those of the marker and `use_cassette` alone are named in the first column.
    told |= {name: row[3].strip(" `") for row in rows for name in re.findall(r"`(\w+)=`", row[0])}
    for name, option in OPTIONS.items():
        names = ([f"aquila_{name}"] if option.ini else []) + ([option.env] if option.env else [])
        names = names or [name]
        assert told.keys() >= set(names), "add a row to the table of docs/cassettes-and-testing.md"
        if name == "transport" or isinstance(option.default, tuple | None):  # described in words
            continue
        shown = "instant" if name == "replay_timing" else declared.show_default(option.default)
        assert told[names[0]] == shown, name


def test_the_list_of_options_is_whole() -> None:
    listed = SETTINGS.partition("Options of pytest:")[2].partition("\n\n")[0]
    assert set(re.findall(r"--aquila[\w-]*\w", listed)) >= declared_to_pytest().options


def test_each_option_of_ask_is_in_its_docstring_and_what_a_body_holds_on_the_page_of_endpoints() -> None:
    told = re.findall(r"``(\w+)(?:``|=)", aquila.ask.__doc__ or "")
    assert ASK_OPTIONS.keys() - set(told) == set(), "the docstring of ask in api.py"
    page = (REPOSITORY / "docs" / "engine.md").read_text(encoding="utf-8")
    table = page.partition("\n## Endpoints\n")[2].partition("\n## ")[0]
    differ = {name for name, option in ASK_OPTIONS.items() if option.only or option.chat != option.responses}
    assert differ - set(re.findall(r"`(\w+)", table)) == set(), "the table of endpoints in docs/engine.md"

"""The page of the reference about what the code declares: settings, ini keys, options, variables, fixtures, commands.

Its content comes from the code: the table of options, the declarations of the plugin for pytest, the docstrings of
fixtures, and the arguments of commands.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from aquila.cli import COMMANDS, FOUND
from aquila.option_parsing import OPTIONS
from aquila.other_variables import VARIABLES
from pytest_aquila import fixtures, options
from pytest_aquila.tasks import short_names, task_fixtures

PAGE, TITLE = "reference/settings-and-commands.md", "Settings, options, fixtures, commands"


def make_page() -> str:
    """Return the page, as Markdown."""
    parts = [f"# {TITLE}", "This page is made of the declarations in the code.", *_settings()]
    parts += ["## Environment variables", make_variables_table().replace("[more](", "[more](../"), *_options()]
    return "\n\n".join([*parts, *_fixtures(), *_commands()]) + "\n"


def _settings() -> Iterator[str]:
    yield "## Settings"
    yield (
        "A value comes from the first of: an argument of `use_cassette` or of the marker `aquila` with this name, the "
        "command line, the environment, the ini file, the default. Under pytest the default transport is `replay`."
    )
    yield _table(
        ("setting", "ini key", "environment", "default", "meaning"),
        (
            (
                _code(name),
                _code(f"aquila_{name}" if option.ini else ""),
                _code(option.env or ""),
                _code(show_default(option.default)),
                option.help,
            )
            for name, option in OPTIONS.items()
        ),
    )


def show_default(value: Any) -> str:
    """Return a default as a user would write it; nothing for one that is empty."""
    if value is None:
        return ""
    return " ".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def make_variables_table() -> str:
    """Return the environment variables as a table: those of settings, then the others that users may set."""
    rows = [(_code(option.env), option.help) for option in OPTIONS.values() if option.env]
    for name, variable in VARIABLES.items():
        if not variable.is_internal:
            rows.append((_code(name), f"{variable.help} ([more]({variable.page}))"))
    return _table(("variable", "what it sets"), rows)


class _Declarations:
    """Takes what a plugin declares, in the place of pytest's parser."""

    def __init__(self) -> None:
        self.options: list[tuple[str, dict[str, Any]]] = []
        self.keys: list[tuple[str, str]] = []

    def getgroup(self, *_: str) -> _Declarations:
        return self

    def addoption(self, name: str, **declared: Any) -> None:
        self.options.append((name, declared))

    def addini(self, name: str, help: str, **_: Any) -> None:
        self.keys.append((name, help))


def _options() -> Iterator[str]:
    declared = _Declarations()
    options.add_options(declared)  # type: ignore[arg-type]
    yield "## Options of pytest"
    rows = ((_code(_usage(name, given)), given["help"].replace("%%", "%")) for name, given in declared.options)
    yield _table(("option", "meaning"), rows)
    yield "## Further ini keys"
    yield "Those that are no setting above."
    known = {f"aquila_{name}" for name in OPTIONS}
    yield _table(("ini key", "meaning"), ((_code(name), help) for name, help in declared.keys if name not in known))


def _usage(name: str, declared: dict[str, Any]) -> str:
    value = declared.get("metavar", "")
    return f"{name}[={value}]" if declared.get("nargs") == "?" else f"{name}={value}" if value else name


def _fixtures() -> Iterator[str]:
    yield "## Fixtures"
    named = {**vars(fixtures), **vars(task_fixtures), **vars(short_names)}
    for name, value in sorted(named.items()):
        if type(value).__name__ == "FixtureFunctionDefinition":
            yield f"### `{name}`"
            yield inspect.getdoc(value) or inspect.getdoc(value._get_wrapped_function()) or ""


def _commands() -> Iterator[str]:
    yield "## Commands"
    for command in COMMANDS:
        module = importlib.import_module(f"aquila.cli.{command.module}")
        parser = argparse.ArgumentParser(prog=f"aquila {command.name}", add_help=False)
        module.add_arguments(parser)
        yield f"### `aquila {command.name}`"
        yield inspect.getdoc(module) or command.help
        yield _table(("argument", "meaning"), (_argument(action) for action in parser._actions))
        examples = "\n".join(f"$ aquila {command.name} {example}".rstrip() for example in command.examples)
        yield f"```console\n{examples}\n```"
        if command.found:
            yield f"Exit code {FOUND}: {command.found}."


def _argument(action: argparse.Action) -> tuple[str, str]:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    names = ", ".join(action.option_strings) or str(action.dest)
    shown = f"{names} {value}" if action.option_strings and action.nargs != 0 else names
    return _code(shown), (action.help or "").replace("%%", "%")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_row(head), _row("---" for _ in tuple(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_escape_bars(cell.replace("\n", " ")) for cell in cells) + " |"


def _escape_bars(cell: str) -> str:
    """Escape the bars of a cell, but those in code: there the site needs none, and would show it."""
    return "`".join(part if in_code % 2 else part.replace("|", "\\|") for in_code, part in enumerate(cell.split("`")))

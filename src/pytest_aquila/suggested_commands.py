"""Commands for the user to type, with those options of this run without which they would mean something else."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording.secrets import outgoing
from aquila.shell_words import join_words, path_from, quote_word
from pytest_aquila import how_called, run_life

if TYPE_CHECKING:
    from aquila import pytest_settings
    from aquila.recording import installed_code
else:  # only where a folder between a test and the root has such a file, as in a monorepo, or a program calls pytest
    lazy_modules(globals(), "aquila: pytest_settings", "aquila.recording: installed_code")

_WITH_VALUE = {
    "-c": "-c",
    "--config-file": "-c",
    "--rootdir": "--rootdir",  # with it cassettes are elsewhere
    "-m": "-m",  # without it an `-m` of the ini file may deselect the test
    "-p": "-p",
    "-o": "-o",
    "--override-ini": "-o",
    "--import-mode": "--import-mode",
    "--confcutdir": "--confcutdir",
    "--ds": "--ds",  # pytest-django: its settings
    "--doctest-glob": "--doctest-glob",
    "--asyncio-mode": "--asyncio-mode",  # pytest-asyncio: without it nothing may run the test
    "--count": "--count",  # pytest-repeat: it is in the names of tests
}
"""Options that are repeated, each with how it is written."""
_WITHOUT_VALUE = ("--doctest-modules", "--nbmake", "--nbval", "--nbval-lax")
"""Options that are repeated: without them pytest finds no test in a module, or in a notebook."""
_OVERRIDES = ("aquila_", "addopts", "asyncio_", "consider_", "django_", "markers", "python_", "pythonpath")
"""How ini keys begin whose ``-o`` is repeated. Other keys change nothing here, and their values may be private."""

_ROOT_FILES = (
    *("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"),
    *("pyproject.toml", "tox.ini", "setup.cfg", "setup.py"),
)
"""Files by which pytest finds the root folder. Some count only by what is in them."""

_MOST_TYPED = 10
"""At most so many files, folders and tests that were typed are repeated, and so many that were left out."""

_starts: pytest.StashKey[dict[Path | None, str]] = pytest.StashKey()
"""How commands of a run begin: those for the tests of a file, and those for all tests."""


def record_command(item: pytest.Item, typed: str) -> str:
    """Return what to type to record a test. ``typed`` is its id as ``node_ids.id_to_type`` returns it."""
    return complete_command(item.config, f"pytest {quote_word(typed)} --aquila-record", item.path)


def complete_command(config: pytest.Config, command: str, file: Path | None = None) -> str:
    """Return a command with the options of this run that it needs. Only a command of ``pytest`` is changed.

    Tests whose parameters look like a secret are named by their functions. ``file`` is the one that has the tests in
    the command, if the caller knows it.
    """
    name, space, rest = command.partition(" ")
    if name != "pytest":
        return command
    if "[" in rest:
        rest = _without_secrets(rest)
    if file is not None:
        return start_of_command(config, file) + space + rest
    words = shlex.split(rest)
    named: Sequence[str] = [word for word in words if not word.startswith("-")]
    if "--aquila-record" in rest and "::" not in rest:
        named = _choose_as_in_run(config, named)
        options = [word for word in words if word.startswith("-")]
        rest = _without_secrets(join_words([*_choosing_options(config), *named, *options]))
    return start_for_tests(config, named) + space + rest


def _choose_as_in_run(config: pytest.Config, files: Sequence[str]) -> Sequence[str]:
    """Return what a command names for whole ``files``, or for all: what was typed, if that leaves other tests out."""
    typed = config.args
    if config.args_source is not config.ArgsSource.ARGS or config.getoption("pyargs", False):
        return files
    return typed if len(typed) <= _MOST_TYPED and (not files or any("::" in each for each in typed)) else files


def _choosing_options(config: pytest.Config) -> Iterator[str]:
    """Yield the options by which this run leaves tests of whole files out. A ``-k`` with a secret is none of them."""
    keyword = config.getoption("keyword", "")
    if keyword and outgoing.redact_label(keyword) == keyword:
        yield from ["-k", keyword]
    left_out = [
        f"--{name.replace('_', '-')}={each}"
        for name in ("ignore", "ignore_glob", "deselect")
        for each in config.getoption(name, None) or ()
    ]
    yield from left_out if len(left_out) <= _MOST_TYPED else ()


def _without_secrets(words: str) -> str:
    # The command is redacted before it is shown, and a redacted id names no test. So the function is named instead.
    if outgoing.redact_label(words) == words:
        return words
    return join_words(dict.fromkeys(map(_without_parameters, shlex.split(words))))


def _without_parameters(word: str) -> str:
    file, colons, inside = word.partition("::")
    return file + colons + inside.partition("[")[0]


def start_for_tests(config: pytest.Config, tests: Sequence[str]) -> str:
    """Return the beginning of a command for ``tests``, which are ids as users type them; for all tests if empty."""
    here = config.invocation_params.dir
    named = [Path(os.path.normpath(here / file)) for file in dict.fromkeys(test.partition("::")[0] for test in tests)]
    file = next((each for each in named if _finds_another_root(config, each)), named[0] if named else None)
    return start_of_command(config, file)


def start_of_command(config: pytest.Config, file: Path | None = None) -> str:
    """Return what calls pytest, and of the options of this run those that decide which tests and cassettes are meant.

    ``file`` has the tests that are to be named behind it. Without it all tests are meant.
    """
    starts = config.stash.setdefault(_starts, {})
    if file not in starts:
        starts[file] = join_words(
            [
                *how_called.program_words(config),
                *_repeated_options(config),
                *_root_options(config, file),
                *([] if file else _places_of_other_root(config)),
            ]
        )
    return starts[file]


def _places_of_other_root(config: pytest.Config) -> Iterator[str]:
    """Yield the files and folders that were typed, if without them pytest would run tests of another root folder."""
    if config.args_source is config.ArgsSource.ARGS and _finds_another_root(config, config.invocation_params.dir / "_"):
        yield from dict.fromkeys(place.partition("::")[0] for place in config.args)


def _root_options(config: pytest.Config, file: Path | None) -> Iterator[str]:
    """Yield the option without which pytest takes another root folder for a file, and other cassettes with it."""
    here, option = config.invocation_params.dir, config.option
    if option.inifilename or option.rootdir or not _finds_another_root(config, file or here / "_"):
        return
    if config.inipath is not None:
        yield from ["-c", path_from(here, config.inipath)]
    else:
        yield f"--rootdir={path_from(here, run_life.root_of(config))}"


def _finds_another_root(config: pytest.Config, file: Path) -> bool:
    """Whether pytest may take another root folder than that of this run, if its only argument is this path."""
    root = run_life.root_of(config)
    folder = file if file == root else file.parent
    while folder != root and root in folder.parents:
        if any(_may_decide_root(config, folder / name) for name in _ROOT_FILES):
            return True
        folder = folder.parent
    return folder != root


def _may_decide_root(config: pytest.Config, path: Path) -> bool:
    """Whether pytest may take the folder of a file for the root. If the run has settings, a file without does not."""
    if not path.exists():
        return False
    ini = config.inipath
    return ini is None or not pytest_settings.has_settings(ini) or pytest_settings.has_settings(path)


def _repeated_options(config: pytest.Config) -> Iterator[str]:
    flags = _flags_of_the_project(config)
    arguments = iter(_arguments_of(config))
    for argument in arguments:
        if argument == "--":
            return
        if argument in flags or argument in _WITHOUT_VALUE:
            yield argument
            continue
        name, equals, value = argument.partition("=")
        if not argument.startswith("--"):
            name, equals, value = argument[:2], argument[2:], argument[2:].removeprefix("=")
        if name not in _WITH_VALUE:
            continue
        if not equals:
            value = next(arguments, "")
        name = _WITH_VALUE[name]
        if name == "-p" and (value.startswith("no:") or _is_of_an_editor(config, value)):
            continue
        if name == "-o" and not value.lower().startswith(_OVERRIDES):
            continue
        yield from [f"{name}={value}"] if name.startswith("--") else [name, value]


def _is_of_an_editor(config: pytest.Config, plugin: str) -> bool:
    """Whether a plugin belongs to the program that has called pytest, such as VS Code. A typed ``pytest`` lacks it.

    Such a plugin is neither installed nor in the project.
    """
    file = getattr(sys.modules.get(plugin), "__file__", None)
    if file is None or _was_typed(config):
        return False
    return installed_code.package_of(file) is None and run_life.root_of(config) not in Path(file).parents


def _was_typed(config: pytest.Config) -> bool:
    """Whether pytest was started by itself, and not by a program."""
    words = how_called.words_of_controller(config)
    return run_life.ends_with_pytest() if words is None else run_life.is_pytests_own("".join(words[:1]))


def _arguments_of(config: pytest.Config) -> Sequence[str]:
    """Return the words that were typed behind ``pytest``."""
    words = how_called.words_of_controller(config)
    return config.invocation_params.args if words is None else words[1:]


def _flags_of_the_project(config: pytest.Config) -> set[str]:
    """Return the options without a value that are in no group: those of a conftest, such as ``--runslow``."""
    added = getattr(getattr(config, "_parser", None), "_anonymous", None)  # private: without it none is repeated
    return {
        name
        for option in getattr(added, "options", ())
        if isinstance(config.getoption(option.dest, None), bool)
        for name in option.names()
        if name.startswith("--")
    }

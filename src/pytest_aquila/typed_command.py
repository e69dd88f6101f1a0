"""Commands for the user to type: the options of this run are in them without which they would mean something else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import pytest

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
    "--count": "--count",  # pytest-repeat: it is in the names of tests
}
"""Options that are repeated, each with how it is written."""
_WITHOUT_VALUE = ("--doctest-modules",)
_OVERRIDES = ("aquila_", "addopts", "asyncio_", "consider_", "django_", "markers", "python_", "pythonpath")
"""How ini keys begin whose ``-o`` is repeated. Others change nothing here, and may hold what is not to be shown."""

_start: pytest.StashKey[str] = pytest.StashKey()


def complete(config: pytest.Config, command: str) -> str:
    """Return a command that begins with ``pytest``, with the options of this run that it needs; others as they are."""
    name, space, rest = command.partition(" ")
    return start_of_command(config) + space + rest if name == "pytest" else command


def start_of_command(config: pytest.Config) -> str:
    """Return ``pytest``, and of the options of this run those that decide which tests and cassettes are meant."""
    known = config.stash.get(_start, None)
    if known is None:
        config.stash[_start] = known = shlex.join(["pytest", *_repeated_options(config)])
    return known


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
        if (name == "-p" and value.startswith("no:")) or (name == "-o" and not value.lower().startswith(_OVERRIDES)):
            continue
        yield from [f"{name}={value}"] if name.startswith("--") else [name, value]


def _arguments_of(config: pytest.Config) -> Sequence[str]:
    """What was typed behind ``pytest``, also if this process is a worker of pytest-xdist."""
    worker = getattr(config, "workerinput", None)
    return worker.get("mainargv", [])[1:] if worker is not None else config.invocation_params.args


def _flags_of_the_project(config: pytest.Config) -> set[str]:
    """Options without a value that no group has: those of a conftest, such as ``--runslow``."""
    added = getattr(getattr(config, "_parser", None), "_anonymous", None)  # private: without it none is repeated
    return {
        name
        for option in getattr(added, "options", ())
        if isinstance(config.getoption(option.dest, None), bool)
        for name in option.names()
        if name.startswith("--")
    }

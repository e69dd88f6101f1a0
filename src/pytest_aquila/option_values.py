"""Options whose value may be left out take one after ``=`` alone. What follows such an option is a path.

Loaded only where one is used. argparse gives it the next word of the command line, if that is no option: in
``pytest --aquila-record tests`` the folder. So what stands for a value that was left out is written out before pytest
reads the command line as a whole.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import pytest

from pytest_aquila.options import IMPLIED_VALUES


def write_implied_values(args: list[str], early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Give the options in a command line the value that was left out, and read anew what was misread before.

    ``args`` is the command line of ``pytest_load_initial_conftests``, which is changed.
    """
    written = _with_values(args)
    if written != args:
        args[:] = written
        confcutdir = early_config.known_args_namespace.confcutdir
        early_config.known_args_namespace = parser.parse_known_args(args, namespace=copy.copy(early_config.option))
        early_config.known_args_namespace.confcutdir = confcutdir


def check_none_was_misread(config: pytest.Config) -> None:
    """Raise ``UsageError`` if an option took the word behind it. For when a conftest has brought the plugin: too late
    for ``write_implied_values``.
    """
    words = config.invocation_params.args
    for option, value in itertools.pairwise(words):
        if option in IMPLIED_VALUES and config.getoption(option) == value:
            raise pytest.UsageError(
                f"{option} took {value!r} as its value, because a conftest.py brings the plugin of Aquila, when the "
                f"command line was read. Write {option}={IMPLIED_VALUES[option]} {value}"
            )


def _with_values(args: Sequence[str]) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    return [f"{each}={IMPLIED_VALUES[each]}" if each in IMPLIED_VALUES else each for each in args[:end]] + [*args[end:]]

"""Options with an optional value, which must follow after ``=``. The next word of the command line is a path.

This module is loaded only if such an option is used. argparse would take the next word as its value: in
``pytest --aquila-record tests`` the folder. So the implied value is written into the command line before pytest parses
it as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest

from pytest_aquila.options import IMPLIED_VALUES


def write_implied_values(args: list[str], early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add the omitted values to the options of a command line, and parse again what was parsed wrongly before.

    ``args`` is the command line of ``pytest_load_initial_conftests``; it is changed in place.
    """
    written = _with_values(args)
    if written != args:
        args[:] = written
        confcutdir = early_config.known_args_namespace.confcutdir
        early_config.known_args_namespace = parser.parse_known_args(args, namespace=copy.copy(early_config.option))
        early_config.known_args_namespace.confcutdir = confcutdir


def _with_values(args: Sequence[str]) -> list[str]:
    end = args.index("--") if "--" in args else len(args)
    return [f"{each}={IMPLIED_VALUES[each]}" if each in IMPLIED_VALUES else each for each in args[:end]] + [*args[end:]]

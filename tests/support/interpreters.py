"""Runs code in another interpreter within this process, in each version of Python."""

from __future__ import annotations

import importlib
import sys


def run_within(program: str) -> None:
    """Run ``program`` in an interpreter of its own. Raises ``RuntimeError`` with the error of the program."""
    if sys.version_info >= (3, 13):
        found = importlib.import_module("_interpreters")
        made = found.create()
    else:
        found = importlib.import_module("_xxsubinterpreters")
        made = found.create(isolated=False)  # in an isolated one of 3.12, vcrpy cannot be imported
    try:
        failed = found.run_string(made, program)  # before 3.13, `run_string` raises instead
        if failed is not None:
            raise RuntimeError(failed.formatted)
    finally:
        found.destroy(made)

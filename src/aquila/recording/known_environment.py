"""Tells whether the environment has changed, so that what was computed from it need not be computed again."""

from __future__ import annotations

import os
import sys
from typing import Any

from aquila.recording.environment import CHANGED_BY_EVERY_TEST, copy_environment_without

_RAW_CHANGED = tuple(map(os.fsencode, CHANGED_BY_EVERY_TEST))


class KnownEnvironment:
    """The environment as it is when this is made, but for the variables that change with every test of a run.

    The names and values are in the form in which ``os.environ`` stores them, and are only compared.
    """

    __slots__ = ("_variables",)

    def __init__(self) -> None:
        self._variables = copy_environment_without(CHANGED_BY_EVERY_TEST)

    def is_current(self) -> bool:
        """Whether the environment is still the same."""
        inner: Any = getattr(os.environ, "_data", None)
        if type(inner) is not dict or sys.platform == "win32":
            return self._variables == copy_environment_without(CHANGED_BY_EVERY_TEST)
        # Each test does this twice, and comparing takes a sixth of copying. So the variables that may differ are copied
        # first. Of two threads at once, one may find a difference where there is none; then it only computes again.
        known = self._variables
        for name in _RAW_CHANGED:
            value = inner.get(name)
            if value is not None:
                known[name] = value
            else:
                known.pop(name, None)
        return known == inner

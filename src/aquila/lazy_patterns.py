"""Regular expressions that are compiled when they are first used.

Compiling takes long: the patterns of all secrets took 40 ms, and a run that records or misses needs a dozen. The
modules that such a run loads declare their patterns here.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what ``re.compile(pattern, flags)`` returns, except that it is compiled when a method is first used.

    A pattern with a mistake raises ``re.error`` only then.
    """
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))


class _LazyPattern:
    """A pattern that takes each attribute from the compiled pattern when it is first used, and keeps it."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self.pattern = pattern
        self.flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and printing ask for such names
            raise AttributeError(f"a pattern has no attribute {name!r}")
        value = getattr(re.compile(self.pattern, self.flags), name)  # `re` keeps what it has compiled
        setattr(self, name, value)
        return value

    def __repr__(self) -> str:
        return f"lazy_pattern({self.pattern!r}, {self.flags!r})"

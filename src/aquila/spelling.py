"""The end of every error about an unknown name: ``; did you mean 'x'?``, or the names that are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import difflib
else:
    lazy_modules(globals(), "difflib")


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to ``name``, also to its lower case, or None if none is similar."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.lower(), names, n=1)
    return near[0] if near else None


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name: ``; did you mean 'x'?``, or all known names."""
    names = list(known)
    near = find_nearest(name, names)
    return f"; did you mean {near!r}?" if near else f"; known are {', '.join(sorted(names))}"

"""Says whether a test certainly no longer exists, by the source of its module, which is read and not imported."""

from __future__ import annotations

import re
from pathlib import Path

_LARGEST_MODULE = 4 * 1024 * 1024


class Sources:
    """The modules below the folder ``root``, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._texts: dict[str, str | None] = {}  # None for a module that is missing or too large; goes with this object

    def is_gone(self, module: str, test: str) -> bool:
        """Whether a module, or a test in it, is surely gone.

        ``module`` is its path, ``test`` the id of the test within it, or the last part of the name of its cassette.

        A test may be inherited, imported, made by code, or defined on some systems only. So its name must not occur in
        the module, which must hold nothing that brings in tests of other names.
        """
        text = self._read(module)
        if text is None:
            return not (self._root / module).exists()
        if "@" in test:
            return False  # a fixture, which may be defined elsewhere
        names = re.split(r"::|\.", re.split(r"[\[+-]", test, maxsplit=1)[0])
        if re.search(r"\bglobals\(\)|\bsetattr\(|\bimport \*", text):
            return False
        if not _occurs(names[-1], text):
            return not any(re.search(rf"\bclass\s+{re.escape(name)}\s*\(", text) for name in names[:-1])
        return not all(_occurs(name, text) for name in names[:-1])

    def mentions(self, module: str, name: str) -> bool:
        """Whether a name occurs in a module, as far as its source can be read."""
        text = self._read(module)
        return text is not None and _occurs(name, text)

    def _read(self, module: str) -> str | None:
        if module not in self._texts:
            path = self._root / module
            try:
                is_small = path.stat().st_size <= _LARGEST_MODULE
                self._texts[module] = path.read_text(encoding="utf-8", errors="replace") if is_small else None
            except OSError:
                self._texts[module] = None
        return self._texts[module]


def _occurs(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None

"""Says whether a test certainly no longer exists, by the source of its module, which is read and not imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
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

        A test may be inherited, imported, made by code, or defined on some systems only. So it is gone only if its name
        does not occur in the module, and if nothing in the module brings in tests of other names.
        """
        text = self._read(module)
        if text is None:
            return not (self._root / module).exists()
        if "@" in _without_parameters(test):
            return False  # a fixture, which may be defined elsewhere
        names = names_in(test)  # none in the name of a cassette such as `-x`, which somebody has chosen
        return bool(names) and _are_gone(names, text)

    def is_fixture_gone(self, module: str, fixture: str) -> bool:
        """Whether a module, or a shared fixture in it or the class of the fixture, is surely gone.

        ``module`` is its path, ``fixture`` the last part of the name of its cassette. A fixture of another place, or a
        function such as ``setUpClass``, which may be inherited or have another name, counts as gone with its class
        only.
        """
        text = self._read(module)
        if text is None:
            return not (self._root / module).exists()
        owner, _, name = fixture.partition("@")
        names = names_in(owner)
        if "@" not in name and not name.lower().startswith(("setup", "set_up")):
            names += names_in(name)
        return bool(names) and _are_gone(names, text)

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


def names_in(text: str) -> list[str]:
    """Return the names of classes and functions in an id, or in the name of a cassette, without parameters."""
    return [name for name in re.split(r"::|\.", _without_parameters(text)) if name]


def _occurs(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _without_parameters(text: str) -> str:
    return re.split(r"[\[+-]", text, maxsplit=1)[0]


def _are_gone(names: Sequence[str], text: str) -> bool:
    """Whether a module surely lacks the last of some names, or a class around it. ``text`` is its source."""
    # A method `setattr` is that of `monkeypatch`, which makes no tests.
    if re.search(r"\bglobals\(\)|(?<!\.)\bsetattr\(|\bimport \*", text):
        return False
    if not _occurs(names[-1], text):
        return not any(re.search(rf"\bclass\s+{re.escape(name)}\s*[\[(]", text) for name in names[:-1])
    return not all(_occurs(name, text) for name in names[:-1])

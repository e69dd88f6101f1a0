"""The types of a parsed YAML document, and the exception and the advice for a mistake in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from aquila.cassettes.codecs import HOW_TO_RECORD
from aquila.lazy_patterns import lazy_pattern

Tree: TypeAlias = Any
"""dict[str, Tree] | list[Tree] | str | bytes | bool | None | Number."""

TreePath: TypeAlias = tuple[str | int, ...]
"""The place of a value in a document: the keys and indexes that lead to it from the top."""

ADVICE = f"Restore the file, or delete it and record again: {HOW_TO_RECORD}"
"""The advice for a file of Aquila that is empty, cut off or damaged."""

_EDIT_ADVICE = f"Correct it, restore the file, or delete it and record again: {HOW_TO_RECORD}"
"""The advice for a mistake in a file of Aquila: somebody has probably edited it by hand."""

FOREIGN_ADVICE = (
    "The file stays as it is. Aquila reads its own cassettes, and those of vcrpy and cassetter; restore it if it was "
    "one, or name another cassette to record anew"
)
"""The advice for a file that does not say that it is Aquila's. It never says to delete the file: there may be no other
copy."""

SCRIPT_ADVICE = (
    "It is a script: answers written by hand. A test names it with @pytest.mark.aquila(NAME), and "
    "`aquila serve --script FILE` answers from it"
)
"""The advice for a script that is read as a cassette."""

_OURS = lazy_pattern(rb"^(?:\xef\xbb\xbf)?aquila:", re.MULTILINE)
_SCRIPT = lazy_pattern(rb"^(?:\xef\xbb\xbf)?script:", re.MULTILINE)


def is_ours(data: bytes) -> bool:
    """Whether the bytes of a text cassette have the line with Aquila's version. A byte order mark may precede it."""
    return _OURS.search(data) is not None


def advice_for(data: bytes) -> str:
    """Return the advice for a text cassette that cannot be read."""
    if not data.strip():
        return ADVICE
    if is_ours(data):
        return _EDIT_ADVICE
    return SCRIPT_ADVICE if _SCRIPT.search(data) else FOREIGN_ADVICE


MAX_DEPTH = 100
"""The most levels of containers inside containers."""


class FormatError(Exception):
    """A mistake in a cassette.

    ``what`` says what is wrong, ``path`` is its place, and ``below`` how many lines it is below the line of ``path``.
    ``newer`` says that a later version of Aquila may be able to read the cassette.
    """

    def __init__(self, what: str, path: TreePath, *, below: int = 0, newer: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.below = below
        self.newer = newer


class Number(str):
    """A number as its literal text, so that ``1e-05`` and ``-0.0000012`` are written again exactly."""

    __slots__ = ()


class OneLine(dict[str, Tree]):
    """A mapping that is written on one line."""


class PlainText(str):
    """A plain scalar in a file of another recorder that is no value of JSON, such as ``yes`` or ``0x1F``."""

    __slots__ = ()


def shorten_name(name: str) -> str:
    """Return a name in quotes, cut to 40 characters."""
    return repr(name if len(name) <= 40 else name[:39] + "…")


def map_scalars(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """Return a tree with ``change`` applied to all that is neither a mapping nor a list."""
    if type(tree) is dict:
        return {name: map_scalars(value, change) for name, value in tree.items()}
    if type(tree) is list:
        return [map_scalars(value, change) for value in tree]
    return change(tree)

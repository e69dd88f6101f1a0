"""What a YAML document is read into, and how a mistake in it is said."""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from aquila.lazy_patterns import lazy_pattern

Tree: TypeAlias = Any
"""dict[str, Tree] | list[Tree] | str | bytes | bool | None | Number."""

TreePath: TypeAlias = tuple[str | int, ...]
"""Where something stands in a document: the keys and indexes that lead to it from the top."""

ADVICE = "Restore the file, or delete it and record again with: pytest --aquila-record"
"""What to do about a corrupt file of ours."""

FOREIGN_ADVICE = (
    "The file stays as it is. Aquila reads its own cassettes, and those of vcrpy and cassetter; restore it if it was "
    "one, or name another cassette to record anew"
)
"""What to do about a file that does not say that it is Aquila's. Never to delete it: it may be the only copy."""

SCRIPT_ADVICE = (
    "It is a script: answers written by hand. A test names it with @pytest.mark.aquila(NAME), and "
    "`aquila serve --script FILE` answers from it"
)
"""What to do with a script, where a cassette is read."""

_OURS = lazy_pattern(rb"^(?:\xef\xbb\xbf)?aquila:", re.MULTILINE)
_SCRIPT = lazy_pattern(rb"^(?:\xef\xbb\xbf)?script:", re.MULTILINE)


def is_ours(data: bytes) -> bool:
    """Whether the bytes of a text cassette have the line with Aquila's version, after a byte order mark or without."""
    return _OURS.search(data) is not None


def advice_for(data: bytes) -> str:
    """What to do about a readable cassette that cannot be read."""
    if not data.strip() or is_ours(data):
        return ADVICE
    return SCRIPT_ADVICE if _SCRIPT.search(data) else FOREIGN_ADVICE


MAX_DEPTH = 100
"""Containers inside containers."""


class FormatError(Exception):
    """A mistake in a cassette: ``what`` is wrong, at which ``path``, and how many lines ``below`` that path's line.

    ``newer`` says that a later version of Aquila may read it.
    """

    def __init__(self, what: str, path: TreePath, *, below: int = 0, newer: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.below = below
        self.newer = newer


class Number(str):
    """A number as its literal text: ``1e-05`` and ``-0.0000012`` must come back as they stood."""

    __slots__ = ()


class OneLine(dict[str, Tree]):
    """A mapping that is written on one line."""


class PlainText(str):
    """A plain scalar in a file of another recorder that is no value of JSON, such as ``yes`` or ``0x1F``."""

    __slots__ = ()


def shorten_name(name: str) -> str:
    """Return a name in quotes, cut to 40 characters."""
    return repr(name if len(name) <= 40 else name[:39] + "…")


def as_texts(tree: Tree) -> Tree:
    """Return a tree in which plain scalars that are no values of JSON are texts like any other."""
    if type(tree) is dict:
        return {name: as_texts(value) for name, value in tree.items()}
    if type(tree) is list:
        return [as_texts(value) for value in tree]
    return str(tree) if type(tree) is PlainText else tree

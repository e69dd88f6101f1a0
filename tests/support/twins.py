"""Finds functions that are written twice: for synchronous callers, and for asynchronous callers.

``async``, ``await`` and names such as ``aclose`` are ignored. Two functions are then twins if they have the same name,
or nearly the same lines.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

SAME_ALREADY = 0.7
"""Two functions with different names are twins if at least this share of their lines is equal."""

_ASYNC_WORDS = re.compile(r"\basync (?=def|for|with)|\bawait ")
_ASYNC_NAMES = re.compile(r"(?i)_?async_?")
_A_NAMES = re.compile(
    r"\b(__)?a(?=(?:enter__|exit__|iter__|next__|iter\(|next\(|close\b|closing\b|read\b|send\b|emit\b))"
)
_DECIDES = re.compile(r"(?:if|elif|while|except)\b|.* if .* else |.* for .* in .* if ")


@dataclass(frozen=True)
class Function:
    place: str
    """The file and the qualified name."""
    folder: Path
    name: str
    """The name without ``async`` and its like."""
    node: ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def is_async(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of its body, nested functions included, as a synchronous function would have them."""
        statements = [each for each in self.node.body if not _is_docstring(each)]
        return tuple(as_synchronous(line.strip()) for each in statements for line in ast.unparse(each).splitlines())

    @cached_property
    def shape(self) -> Counter[str]:
        """The number of its statements of each kind."""
        return Counter(type(each).__name__.removeprefix("Async") for each in _statements_below(self.node))


@dataclass(frozen=True)
class Twins:
    sync: Function
    asynchronous: Function
    alike: tuple[str, ...]
    """The lines that both functions have, in their order."""

    @property
    def decisions(self) -> list[str]:
        """The common lines that decide something: branches, loops with a condition, caught errors.

        The cases of a ``match`` do not count, because in a driver each case is another kind of I/O.
        """
        return [line for line in self.alike if _DECIDES.match(line)]

    def __str__(self) -> str:
        return f"{self.asynchronous.place} and {self.sync.place} both decide: {'; '.join(self.decisions)}"


def as_synchronous(text: str) -> str:
    """Remove from source code the words that only asynchronous code has."""
    without = _ASYNC_NAMES.sub("", _ASYNC_WORDS.sub("", text))
    return _A_NAMES.sub(lambda found: found.group(1) or "", without).lower()


def functions_in(module: ast.Module, place: Path) -> Iterator[Function]:
    """Yield the functions of a module, nested functions included."""
    yield from _functions_below(module, place, "")


def _functions_below(node: ast.AST, place: Path, around: str) -> Iterator[Function]:
    for child in _statements_in(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _functions_below(child, place, around)
            continue
        name = f"{around}{child.name}"
        if not isinstance(child, ast.ClassDef):
            yield Function(f"{place}:{name}", place.parent, as_synchronous(child.name).strip("_"), child)
        yield from _functions_below(child, place, f"{name}.")


def _statements_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements, handlers and cases directly in a node."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        yield from getattr(node, field, ())


def _statements_below(node: ast.AST) -> Iterator[ast.AST]:
    for child in _statements_in(node):
        yield child
        yield from _statements_below(child)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def find_twins(functions: Iterable[Function]) -> list[Twins]:
    """Return each asynchronous function with its synchronous twin in the same folder, if it has one."""
    known = list(functions)
    sync: dict[Path, list[Function]] = defaultdict(list)
    for function in known:
        if not function.is_async:
            sync[function.folder].append(function)
    found = []
    for function in known:
        if function.is_async:
            twins = [twin for other in sync[function.folder] if (twin := _compare(other, function)) is not None]
            found += sorted(twins, key=lambda twin: -len(twin.alike))[:1]
    return found


def _compare(sync: Function, asynchronous: Function) -> Twins | None:
    if any(
        f"{one.place}.".startswith(f"{other.place}.") for one, other in ((sync, asynchronous), (asynchronous, sync))
    ):
        return None  # one function is defined within the other
    if sync.name != asynchronous.name and not _are_similar(sync, asynchronous):
        return None
    blocks = SequenceMatcher(None, sync.lines, asynchronous.lines, autojunk=False).get_matching_blocks()
    alike = tuple(line for start, _, size in blocks for line in sync.lines[start : start + size])
    return Twins(sync, asynchronous, alike) if alike else None


def _are_similar(sync: Function, asynchronous: Function) -> bool:
    both = (sync.shape & asynchronous.shape).total()  # cheap, and enough for nearly all
    if 2 * both < SAME_ALREADY * (sync.shape.total() + asynchronous.shape.total()):
        return False
    return SequenceMatcher(None, sync.lines, asynchronous.lines, autojunk=False).ratio() >= SAME_ALREADY

"""Finds the code that shows how a public name is used: an example in its docstring, or a snippet of a page.

Both are executed by the tests. Only the source is read here: nothing of the package is imported.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"
TABLE = REPOSITORY / "docs" / "api.md"
PROMPT = ">>> "
_PYTHON = re.compile(r"^(?P<note><!-- test: (?:not run|raises \w+) -->\n)?```python\n(?P<code>.*?)^```$", re.M | re.S)
_FIXTURE_TYPES = "aquila.huey.testing.fixture_types"


class Snippet(NamedTuple):
    """A piece of code, and the page of ``docs`` that it is from."""

    page: str
    code: str


def names_by_topic() -> dict[str, list[str]]:
    """Return the public names of each section of ``docs/api.md``."""
    found: dict[str, list[str]] = {}
    for section in TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        names = [name for cell in cells for name in re.findall(r"`(aquila(?:\.\w+)+)`", cell)]
        if names:
            found[title] = names
    return found


def shows_itself(name: str) -> bool:
    """Whether the docstring of a name has an example."""
    return PROMPT in _find_definition(*name.rsplit(".", 1)).docstring


def find_function_of(name: str) -> str:
    """Return the function whose type a name is, for the types of fixtures; otherwise an empty string."""
    definition = _find_definition(*name.rsplit(".", 1))
    if definition.module != _FIXTURE_TYPES:
        return ""
    return "aquila.huey.testing." + re.sub(r"(?<!^)([A-Z])", r"_\1", name.rpartition(".")[2]).lower()


def find_snippet(name: str) -> Snippet | None:
    """Return the shortest piece of a page's code that uses a name."""
    # The page of errors shows errors: other code there is wrong on purpose.
    is_error = name.startswith("aquila.errors")
    fitting = [
        snippet for snippet in _snippets() if (is_error or snippet.page != "errors.md") and _uses(snippet.code, name)
    ]
    return min(fitting, key=lambda snippet: len(snippet.code), default=None)


def _uses(code: str, name: str) -> bool:
    module, _, short = name.rpartition(".")
    if short not in code:
        return False
    imported = re.search(rf"^ *from {re.escape(module)} import (?:\([^)]*\b|.*\b){short}\b", code, re.M)
    is_imported = imported is not None and len(re.findall(rf"\b{short}\b", code)) > 1
    is_hook = module == "aquila.hookspecs" and re.search(rf"^ *def {short}\(", code, re.M) is not None
    return is_imported or is_hook or re.search(rf"\b{re.escape(name)}\b", code) is not None


@cache
def _snippets() -> list[Snippet]:
    return [
        Snippet(page.name, found["code"])
        for page in sorted((REPOSITORY / "docs").glob("*.md"))
        for found in _PYTHON.finditer(page.read_text("utf-8"))
        if not found["note"]
    ]


class _Definition(NamedTuple):
    module: str
    docstring: str


def _find_definition(module: str, name: str) -> _Definition:
    """Return where a name is defined, and its docstring: that of a class, a function, a variable or a module."""
    path = _path_of(f"{module}.{name}")
    if path is not None:
        return _Definition(module, ast.get_docstring(_parse(path)) or "")
    path = _path_of(module)
    if path is None:  # of another package
        return _Definition(module, "")
    found = _Definition(module, "")
    for statement, following in _statements(_parse(path).body):
        match statement:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if statement.name == name:
                found = _Definition(module, ast.get_docstring(statement) or "")
            case ast.Assign(targets=[ast.Name(id=target)]) | ast.AnnAssign(target=ast.Name(id=target)) if (
                target == name
            ):
                found = _Definition(module, text_of(following))
            case ast.ImportFrom(module=str(origin)):
                for alias in statement.names:
                    if name == (alias.asname or alias.name) and (origin, alias.name) != (module, name):
                        return _find_definition(origin, alias.name)
    return found


def text_of(statement: ast.stmt | None) -> str:
    """Return the text of a statement that is nothing but a text, such as the docstring of a variable."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return textwrap.dedent(text)
    return ""


def _statements(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """Yield statements, each with the one that follows, and those that a condition holds."""
    for statement, following in zip(body, [*body[1:], None], strict=True):
        yield statement, following
        if isinstance(statement, ast.If):
            yield from _statements([*statement.body, *statement.orelse])


def _path_of(module: str) -> Path | None:
    place = SOURCE.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))

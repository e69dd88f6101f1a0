"""The reference of public names: a page for each topic of ``docs/api.md``, from the docstrings.

Beside each name stands a piece of code that uses it, out of the pages whose code the tests execute.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import griffe

REPOSITORY = Path(__file__).parents[2]
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
_TABLE = REPOSITORY / "docs" / "api.md"


def titles() -> dict[str, str]:
    """Return the pages of the reference by name, each with its title."""
    return {_page_name(topic): topic for topic in _names_by_topic()}


def make_pages() -> dict[str, str]:
    """Return the pages of the reference by name, as Markdown."""
    return {_page_name(topic): _make_page(topic, names) for topic, names in _names_by_topic().items()}


def _page_name(topic: str) -> str:
    return "reference/" + re.sub(r"[^a-z]+", "-", topic.lower()).strip("-") + ".md"


def _names_by_topic() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for section in _TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        names = [name for cell in cells for name in re.findall(r"`(aquila(?:\.\w+)+)`", cell)]
        if names:
            found[title] = names
    return found


def _make_page(topic: str, names: list[str]) -> str:
    return "\n\n".join([f"# {topic}", *(_describe(name) for name in names)]) + "\n"


def _describe(name: str) -> str:
    found = _package()[name.removeprefix("aquila.")]
    try:
        getattr(found, "final_target", found)
    except griffe.AliasResolutionError as error:
        return f"### `{name}`\n\n`{error.alias.target_path}`, under another name."
    return f"::: {name}{_show_example(name)}"


def _show_example(name: str) -> str:
    """Return the shortest piece of code that uses a name, with the page that it is from."""
    fitting = [example for example in _examples() if _uses(example.code, name)]
    if not fitting:
        return ""
    page, code = min(fitting, key=lambda example: len(example.code))
    return f"\n\nAn example, from [{_read_title(page)}](../{page}):\n\n```python\n{code}```"


def _uses(code: str, name: str) -> bool:
    module, _, short = name.rpartition(".")
    imported = re.search(rf"^ *from {re.escape(module)} import (\([^)]*\)|.*)", code, re.M)
    is_imported = imported is not None and re.search(rf"\b{short}\b", imported[1]) is not None
    return is_imported or re.search(rf"\b{re.escape(name)}\b", code) is not None


class _Example(NamedTuple):
    page: str
    code: str


@cache
def _examples() -> list[_Example]:
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    return [_Example(page.name, found[1]) for page in pages for found in _PYTHON.finditer(page.read_text("utf-8"))]


def _read_title(page: str) -> str:
    return (REPOSITORY / "docs" / page).read_text("utf-8").partition("\n")[0].removeprefix("# ")


@cache
def _package() -> griffe.Object | griffe.Alias:
    return griffe.load("aquila", search_paths=[REPOSITORY / "src"])

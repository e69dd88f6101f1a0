"""The reference of public names: a page for each topic of ``docs/api.md``, from the docstrings.

Beside each name stands code that uses it: the example of its docstring, or the shortest piece of a page that has it.
"""

from __future__ import annotations

import re
from functools import cache

import griffe
import usage


def titles() -> dict[str, str]:
    """Return the pages of the reference by name, each with its title."""
    return {_page_name(topic): topic for topic in usage.names_by_topic()}


def make_pages() -> dict[str, str]:
    """Return the pages of the reference by name, as Markdown."""
    return {_page_name(topic): _make_page(topic, names) for topic, names in usage.names_by_topic().items()}


def _page_name(topic: str) -> str:
    return "reference/" + re.sub(r"[^a-z]+", "-", topic.lower()).strip("-") + ".md"


def _make_page(topic: str, names: list[str]) -> str:
    return "\n\n".join([f"# {topic}", *(_describe(name) + _show_example(name) for name in names)]) + "\n"


def _describe(name: str) -> str:
    found = _package()[name.removeprefix("aquila.")]
    try:
        getattr(found, "final_target", found)
    except griffe.AliasResolutionError as error:
        return f"### `{name}`\n\n`{error.alias.target_path}`, under another name."
    return f"::: {name}"


def _show_example(name: str) -> str:
    if usage.shows_itself(name):
        return ""
    snippet = usage.find_snippet(name)
    if snippet is None:
        function = usage.find_function_of(name)
        return f"\n\nFor an example see [`{function}`][{function}], whose type this is." if function else ""
    return f"\n\nAn example, from [{_read_title(snippet.page)}](../{snippet.page}):\n\n```python\n{snippet.code}```"


def _read_title(page: str) -> str:
    return (usage.REPOSITORY / "docs" / page).read_text("utf-8").partition("\n")[0].removeprefix("# ")


@cache
def _package() -> griffe.Object | griffe.Alias:
    return griffe.load("aquila", search_paths=[usage.SOURCE])

"""``llms.txt``, which leads a language model to the pages as Markdown (see llmstxt.org).

Every page of the site has its text beside it, under the same name with ``.md``: those of ``docs`` as they are, those of
the reference with signatures and docstrings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import declared
import reference
import usage

_LINK = re.compile(r"^- \[(?P<title>.+?)\]\((?P<target>[^)\s]+)\)(?P<about>.*)$", re.M)


def write_texts(site: Path, name: str, description: str, elsewhere: Mapping[str, str]) -> None:
    """Write the text of each page into the folder of the site, and the list of them.

    ``elsewhere`` has the pages that do not lie in ``docs``, and the files of the repository that they are made of.
    """
    for page, text in _texts(elsewhere).items():
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text(text, encoding="utf-8")
    parts = [f"# {name}\n\n> {description}", *_sections(elsewhere), _reference_section()]
    (site / "llms.txt").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _texts(elsewhere: Mapping[str, str]) -> dict[str, str]:
    docs = {page.name: page.read_text("utf-8") for page in (usage.REPOSITORY / "docs").glob("*.md")}
    others = {page: (usage.REPOSITORY / source).read_text("utf-8") for page, source in elsewhere.items()}
    return {**docs, **others, **reference.make_texts(), declared.PAGE: declared.make_page()}


def _sections(elsewhere: Mapping[str, str]) -> Iterator[str]:
    """Yield the sections of ``docs/index.md``, each with its links."""
    index = (usage.REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {f"../{source}": page for page, source in elsewhere.items()}
    for section in index.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = [
            f"- [{link['title']}]({pages.get(link['target'], link['target'])}){link['about']}"
            for link in _LINK.finditer(text)
        ]
        yield "\n".join([f"## {title}\n", *rows])


def _reference_section() -> str:
    pages = {declared.PAGE: declared.TITLE, **reference.titles(), "changelog.md": "Changelog"}
    rows = [f"- [{title}]({page})" for page, title in {**pages, "contributing.md": "Contributing"}.items()]
    return "\n".join(["## Every public name\n", *rows])

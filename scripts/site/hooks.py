"""The parts of the site that are not in ``docs``: its navigation, pages from other folders, and the reference.

The pages are written for readers of the repository too, so nothing of the site is in them. The navigation is what
``docs/index.md`` says. A link out of ``docs`` leads to the page that stands for its target, if there is one, and
becomes plain text otherwise: the source is not part of the site.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import declared
import llms
import reference
import usage

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

REPOSITORY = Path(__file__).parents[2]

FROM_ELSEWHERE = {
    "example.md": "examples/summaries/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site, and the files of the repository that they are made of."""

_LINK = re.compile(r'\[(?P<text>(?:[^\[\]]|\[[^\]]*\])+)\]\((?P<target>[^()\s]+)(?P<title> "[^"]*")?\)')
_FOREIGN = re.compile(r"""<(?:script|link|img|iframe)\b[^>]+(?:src|href)=["']?(?:https?:)?//[^"' >]+""")
_TEST_NOTE = re.compile(r"^<!-- test: [^\n]*? -->\n", re.M)
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def on_config(config: MkDocsConfig) -> None:
    """Build the navigation from the sections and links of the index page."""
    config.nav = list(_read_navigation())


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Add the pages that are not in ``docs``."""
    for name, source in FROM_ELSEWHERE.items():
        files.append(File.generated(config, name, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    for name, text in {**reference.make_pages(), declared.PAGE: declared.make_page()}.items():
        files.append(File.generated(config, name, content=text))
    style = Path(__file__).with_name("site.css").read_text(encoding="utf-8")
    files.append(File.generated(config, "assets/site.css", content=style))


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Take out the notes for the tests, and lead links to where their targets are on the site."""
    name = page.file.src_uri
    if name in reference.titles() or name == declared.PAGE:
        return markdown
    source = REPOSITORY / FROM_ELSEWHERE.get(name, f"docs/{name}")
    kept: list[str] = []
    end = 0
    markdown = _TEST_NOTE.sub("", markdown)
    for code in _FENCED.finditer(markdown):
        kept += [_adjust_links(markdown[end : code.start()], source), code[0]]
        end = code.end()
    kept.append(_adjust_links(markdown[end:], source))
    return _link_names("".join(kept)) if name == "api.md" else "".join(kept)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write the texts for language models, and look for what comes from another host."""
    site = Path(config.site_dir)
    llms.write_texts(site, config.site_name, config.site_description or "", FROM_ELSEWHERE)
    for page in site.rglob("*.html"):
        if foreign := _FOREIGN.search(page.read_text("utf-8")):
            raise PluginError(f"{page.relative_to(site)} asks another host for something: {foreign[0]}")


def _link_names(markdown: str) -> str:
    """Lead each name in the first column of a table to its place in the reference."""
    known = {name for names in usage.names_by_topic().values() for name in names}

    def link(code: re.Match[str]) -> str:
        return f"[{code[0]}][{code[1]}]" if code[1] in known else code[0]

    def link_cell(row: re.Match[str]) -> str:
        return re.sub(r"`([^`]+)`", link, row[0])

    return re.sub(r"^\| `[^|]*\|", link_cell, markdown, flags=re.M)


def _adjust_links(text: str, source: Path) -> str:
    return _LINK.sub(lambda link: _adjust_link(link, source), text)


def _adjust_link(link: re.Match[str], source: Path) -> str:
    target, hash_sign, anchor = link["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = (source.parent / target).resolve()
    if not path.is_relative_to(REPOSITORY):
        return link[0]  # leads nowhere; the strict build reports it
    place = path.relative_to(REPOSITORY).as_posix()
    pages = {elsewhere: name for name, elsewhere in FROM_ELSEWHERE.items()}
    pages |= {"README.md": "index.md", "docs": "index.md", "examples/summaries": "example.md"}
    name = place.removeprefix("docs/") if place.startswith("docs/") else pages.get(place)
    if name is None:
        return link["text"] if path.exists() else link[0]
    return f"[{link['text']}]({name}{hash_sign}{anchor})"


def _read_navigation() -> Iterator[dict[str, Any]]:
    """Yield the sections of ``docs/index.md``, each with the pages that its list leads to."""
    yield {"Overview": "index.md"}
    index = REPOSITORY / "docs" / "index.md"
    for section in index.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        pages = []
        for link in re.finditer(r"^- \[(.+?)\]\(([^)#]+)\)", text, re.M):
            adjusted = _LINK.match(_adjust_links(link[0][2:], index))
            if adjusted is None:
                raise ValueError(f"docs/index.md: {link[2]} is no page of the site")
            pages.append({link[1].replace("`", ""): adjusted["target"]})
        if title == "Reference":
            pages[1:1] = [{declared.TITLE: declared.PAGE}]
            pages += [{"Changelog": "changelog.md"}, {"Contributing": "contributing.md"}]
        yield {title: pages}
    yield {"Every public name": [{topic: name} for name, topic in reference.titles().items()]}

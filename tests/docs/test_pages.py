"""Every snippet of these pages is executed, and what it prints is what the page shows.

What they record comes from the cassette ``docs/commands``. ``DOCS_RECORD=1 pytest tests/docs`` adds what is missing
there, from the embedded model.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY, UPSTREAM, Block, Page, blocks, commands, matches
from tests.support.runs import separate_run

PAGES = (
    "README.md",
    "docs/index.md",
    "docs/getting-started.md",
    "docs/cassettes-and-testing.md",
    "docs/transports.md",
    "docs/scripts.md",
    "docs/faults.md",
    "docs/report.md",
    "docs/verifying.md",
    "docs/websockets.md",
    "docs/choosing.md",
    "docs/ci.md",
    "docs/git.md",
    "docs/comparison.md",
    "docs/troubleshooting.md",
    "docs/errors.md",
    "docs/api.md",
    "docs/any-client.md",
    "docs/local-model.md",
    "docs/matching.md",
    "docs/redaction.md",
    "docs/migrating.md",
    "docs/security.md",
    "examples/summaries/README.md",
)
IDS = [name.removesuffix(".md").replace("/", "-") for name in PAGES]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a page's project: importable, as outside of pytest, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(UPSTREAM)
    monkeypatch.setenv("AQUILA_UPSTREAM", "docs_upstream:transport")
    before = set(sys.modules)
    with separate_run(tmp_path):
        yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.long(20)
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES, ids=IDS)
def test_every_snippet_does_what_the_page_says(name: str, folder: Path) -> None:
    page = Page(REPOSITORY / name, folder)
    if name == "README.md":  # whose first reader has a key
        page.variables["OPENAI_API_KEY"] = "sk-of-a-reader-0123456789"
    if name == "docs/git.md":  # its reader has set a name and an address in git
        who = {f"GIT_{role}_{what}": f"reader@{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        page.variables |= who
    page.execute()
    runnable = [b for b in blocks(page.path) if b.language in ("python", "console") and b.what != "not run"]
    assert page.ran > 0 or not runnable
    fences = [line for line in page.path.read_text(encoding="utf-8").splitlines() if line.startswith("``")]
    assert all(line.startswith("```") for line in fences)


@pytest.mark.parametrize("name", PAGES, ids=IDS)
def test_every_link_leads_somewhere(name: str) -> None:
    page = REPOSITORY / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r'\]\(([^)\s]+)(?: "([^"]*)")?\)', text)
    for link, title in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link}"
        if title:  # the name of a test
            assert f"def {title}(" in target.read_text(encoding="utf-8"), f"{name}: {link}: no test {title}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
            anchors = [re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{name}: {link}"


def test_the_index_leads_to_every_page() -> None:
    index = (REPOSITORY / "docs/index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_every_page_with_code_is_executed() -> None:
    executors = (
        "engine/test_guides.py",
        "huey/test_docs.py",
        "docs/test_cli_page.py",
        "docs/test_server_page.py",
        "docs/test_reviewing_page.py",
    )
    elsewhere = "".join((REPOSITORY / "tests" / name).read_text(encoding="utf-8") for name in executors)
    for page in sorted((REPOSITORY / "docs").glob("*.md")):
        if any(block.language in ("python", "console") for block in blocks(page)):
            assert f"docs/{page.name}" in PAGES or f'"{page.stem}"' in elsewhere or page.name in elsewhere, page.name


def test_extras_and_make_targets_that_are_not_run_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.M)
    for name in PAGES:
        for block in blocks(REPOSITORY / name):
            if block.what != "not run" or block.language != "console":
                continue
            for command, _ in commands(block):
                extras = re.findall(r"(?:pytest-aquila|aquila-llm)\[([\w,]+)\]", command)
                assert all(extra in project["optional-dependencies"] for row in extras for extra in row.split(","))
                if command.startswith("make "):
                    assert command.split()[1] in targets, f"{name}: {command}"


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["one", "two"], "one\ntwo\n", True),
        (["one", "..."], "one\ntwo\nthree\n", True),
        (["...", "three", "..."], "one\ntwo\nthree\n", True),
        (["1 passed in 0.10s"], "1 passed in 2.37s\n", True),
        (["=== 1 passed ==="], "====== 1 passed ======\n", True),
        (["a ... c"], "a b c\n", True),
        (["one"], "one\ntwo\n", False),
        (["...", "two"], "one\ntwo\nthree\n", False),
        (["1 passed"], "1 failed\n", False),
        (["a ... c"], "a b\nc\n", False),
        (["one"], "", False),
    ],
)
def test_output_is_compared_strictly(expected: list[str], printed: str, same: bool) -> None:
    assert matches(expected, printed) is same


@pytest.mark.parametrize(
    ("language", "text", "what"),
    [
        ("python", "raise ValueError", ""),
        ("python", "pass", "raises ValueError"),
        ("console", "$ exit 3", ""),
        ("console", "$ echo one\ntwo", ""),
    ],
)
def test_a_snippet_that_is_wrong_is_found(language: str, text: str, what: str, folder: Path) -> None:
    note = f"<!-- test: {what} -->\n" if what else ""
    (folder / "page.md").write_text(f"Some words.\n\n{note}```{language}\n{text}\n```\n")
    assert list(blocks(folder / "page.md")) == [Block(4 if what else 3, language, f"{text}\n", what)]
    with pytest.raises((AssertionError, ValueError)):
        Page(folder / "page.md", folder).execute()

"""The site that ``make docs`` has built, in a real browser: every page is quiet, and fits a telephone and a screen."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.snippets import REPOSITORY
from tests.huey.live.browser import Watched, chromium

pytestmark = pytest.mark.slow
SITE = REPOSITORY / "build" / "site"
TELEPHONE, SCREEN = {"width": 380, "height": 800}, {"width": 1400, "height": 900}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def is_built() -> bool:
    """Whether the site is there, and no older than what it is made of."""
    built = SITE / "llms.txt"
    folders = [REPOSITORY / folder for folder in ("docs", "scripts/site", "src")]
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".md", ".py", ".css")]
    return built.exists() and built.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The address of the site."""
    if not is_built():
        pytest.skip("the site is not built, or older than its sources: run `make docs`")
    handler = functools.partial(_Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def assert_fit(tab: Watched, site: str, pages: list[str]) -> None:
    too_wide = []
    for page in pages:
        answer = tab.page.goto(f"{site}/{page}", wait_until="load")
        assert answer.ok, page
        # What scrolls by itself, such as a table or a piece of code, does not make the page wider.
        if tab.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            too_wide.append(page)
    assert too_wide == []
    tab.assert_quiet()


def test_every_page_is_quiet_and_fits(site: str, browser: Any) -> None:
    pages = sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html") if page.name != "404.html")
    assert len(pages) > 40
    assert_fit(Watched(browser, viewport=TELEPHONE), site, pages)
    # What is too wide for a screen is too wide for a telephone, but for what stands beside the text on a screen alone.
    assert_fit(Watched(browser, viewport=SCREEN), site, pages[::5])


def test_the_search_finds_a_name_and_leads_to_it(site: str, browser: Any) -> None:
    tab = Watched(browser, viewport=SCREEN)
    tab.page.goto(f"{site}/index.html")
    tab.page.locator("input[data-md-component=search-query]").fill("PlayedOut")
    tab.page.locator("a.md-search-result__link", has_text="PlayedOut").first.click()
    tab.page.wait_for_url("**/*.html*h=playedout*")
    assert "PlayedOut" in tab.page.locator("article").inner_text()
    tab.assert_quiet()


def test_every_text_that_llms_txt_names_is_there(site: str) -> None:
    listed = (SITE / "llms.txt").read_text(encoding="utf-8")
    texts = [part.partition(")")[0] for part in listed.split("](")[1:]]
    assert [text for text in texts if not (SITE / text).is_file()] == []
    pages = {page.relative_to(SITE).with_suffix(".md").as_posix() for page in SITE.rglob("*.html")}
    assert pages - set(texts) - {"404.md", "index.md"} == set()

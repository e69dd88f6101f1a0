"""Every snippet of the pages about Huey is executed, and what it prints is what the page shows."""

import re
from pathlib import Path

import pytest

from tests.docs.snippets import REPOSITORY, Page
from tests.docs.test_pages import folder  # noqa: F401 -- a fixture

PAGES = ["docs/huey.md", "docs/coming-from-oban-or-celery.md"]


class HueyPage(Page):
    """A page whose commands record from a provider with a few answers."""

    def _environment(self):
        changes = {"PYTHONPATH": str(Path(__file__).parent), "AQUILA_UPSTREAM": "docs_provider:transport"}
        return {**super()._environment(), **changes}


@pytest.mark.parametrize("name", PAGES)
def test_every_snippet_does_what_the_page_says(name, folder):  # noqa: F811
    page = HueyPage(REPOSITORY / name, folder)
    page.execute()
    assert page.ran > 3


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page(name):
    page = REPOSITORY / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in link]
    assert links
    for link in links:
        assert (page.parent / link).exists(), link

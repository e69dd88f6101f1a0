"""Every snippet of the pages about Huey is executed, and what it prints is what the page shows."""

import re

import pytest

from tests.docs.snippets import REPOSITORY, Page
from tests.docs.test_pages import folder  # noqa: F401 -- a fixture

PAGES = ["docs/huey.md", "docs/jobs.md", "docs/limits.md", "docs/coming-from-oban-or-celery.md"]


class HueyPage(Page):
    """A page whose commands find no provider and no key, as those of a newcomer."""

    def _environment(self):
        given = ("PYTHONPATH", "AQUILA_UPSTREAM", "OPENAI_API_KEY")
        return {name: value for name, value in super()._environment().items() if name not in given}


@pytest.mark.long(20)
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_snippet_does_what_the_page_says(name, folder):  # noqa: F811
    page = HueyPage(REPOSITORY / name, folder)
    page.execute()
    assert page.ran > 1


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page(name):
    page = REPOSITORY / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in link]
    assert links
    for link in links:
        assert (page.parent / link.partition("#")[0]).exists(), link

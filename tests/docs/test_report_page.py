"""The page lists the records and keys of ``run.json`` as the code declares them."""

from __future__ import annotations

from scripts.site.schema_page import write_schema_page
from tests.docs.snippets import REPOSITORY


def test_the_page_lists_what_the_schema_declares() -> None:
    page = (REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8")
    assert page.endswith(write_schema_page()), (
        "write it again: python -c 'from scripts.site.schema_page import *; print(write_schema_page())'"
    )

"""The table of ids on the page is the table of the code."""

from __future__ import annotations

import re

from aquila.cassettes.matching.provider_ids import PROTOCOLS
from tests.docs.snippets import REPOSITORY


def test_the_page_names_every_place_and_no_other() -> None:
    page = (REPOSITORY / "docs" / "cassettes-and-testing.md").read_text(encoding="utf-8")
    section = page.split("### A drift in the middle of a conversation")[1].split("\n## ")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| ")][2:]
    documented = {name.strip(): set(re.findall(r"`([\w-]+)`", where)) for name, where in rows}
    known = {
        protocol.name.replace(" and others", "\0").replace(" and ", ", ").replace("\0", " and others"): {
            *protocol.fields,
            *protocol.items,
            *(field for whole in protocol.items.values() for field in whole),
            *protocol.headers,
        }
        for protocol in PROTOCOLS
    }
    assert documented == known, "the table of docs/cassettes-and-testing.md"

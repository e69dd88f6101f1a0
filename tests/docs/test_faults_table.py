"""The table of faults on the page is the table of the code."""

from __future__ import annotations

import inspect
import re

from aquila.faults.table import FAULTS
from tests.docs.snippets import REPOSITORY


def test_the_page_names_faults_its_parameters_and_what_a_client_sees() -> None:
    page = (REPOSITORY / "docs" / "faults.md").read_text(encoding="utf-8")
    section = page.split("\n## The faults\n")[1].split("\n## ")[0]
    documented = [line for line in section.splitlines() if line.startswith("| `")]
    expected = []
    for kind in FAULTS.values():
        parameters = ", ".join(f"{name}=" for name in kind.parameters)
        summary = kind.summary.rstrip(".").replace("``", "`")
        expected.append(f"| `{kind.name}{f'({parameters})' if parameters else ''}` | {summary} |")
    assert documented == expected, "the rows of docs/faults.md, and those that the table of faults gives"


def test_the_page_describes_each_fault_over_a_web_socket() -> None:
    page = (REPOSITORY / "docs" / "faults.md").read_text(encoding="utf-8")
    section = page.split("\n## Conversations over WebSockets\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    documented = {name: said.strip() for names, said in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(documented) == {kind.name for kind in FAULTS.values() if kind.within is not None}, (
        "each fault has a row in the table of docs/faults.md about conversations"
    )
    for name, said in documented.items():
        summary = inspect.getdoc(FAULTS[name].change_conversation)
        if summary is not None:
            assert said == summary.rstrip(".").replace("``", "`")

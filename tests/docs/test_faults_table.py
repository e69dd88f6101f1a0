"""The table of faults on the page is the table of the code."""

from __future__ import annotations

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
    assert documented == expected

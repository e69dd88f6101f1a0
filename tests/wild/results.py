"""What a run of the matrix came to, client by client: compared with the table, and kept for the documentation."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tests.wild.table import Client

FOLDER = Path("build", "wild")


@dataclass(slots=True)
class Results:
    """The troubles of one client: for each of its ways, what went wrong in which situation."""

    client: Client
    troubles: dict[str, list[str]] = field(default_factory=dict)

    def note(self, situation: str, way: str, trouble: str | None) -> None:
        """Note what one way came to in a situation: ``trouble`` is None if it did what it should."""
        found = self.troubles.setdefault(way, [])
        if trouble is not None:
            found.append(f"{situation}: {trouble}")

    def differences_from_table(self) -> str:
        """Ways that do not work though the table does not say so, and ways that work though it says they do not."""
        lines = []
        for way, troubles in self.troubles.items():
            reason = self.client.fails.get(way)
            if reason is None:
                lines += [f"{way}: {trouble}" for trouble in troubles]
            elif not troubles:
                lines.append(f"{way}: it works now; take its reason out of tests/wild/table.py ({reason})")
        return "\n".join(lines)

    def write(self) -> None:
        """Keep them in a file of the client's, whose versions ``read_versions`` reads."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        row = {"versions": _versions(self.client), "troubles": self.troubles}
        _file_of(self.client).write_text(json.dumps(row, indent=2), "utf-8")


def read_versions(client: Client) -> dict[str, str] | None:
    """The versions that the last run of a client used, by package. None if it did not run here."""
    file = _file_of(client)
    if not file.exists():
        return None
    row: dict[str, dict[str, str]] = json.loads(file.read_text("utf-8"))
    return row["versions"]


def _file_of(client: Client) -> Path:
    return FOLDER / (re.sub(r"[^a-z0-9]+", "-", client.name.lower()) + ".json")


def _versions(client: Client) -> dict[str, str]:
    return {name: version(name) for name in client.distributions}

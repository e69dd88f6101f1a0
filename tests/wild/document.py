"""Write the table of clients into docs/any-client.md, from tests/wild/table.py and what `make test-wild` last saw.

    python -m tests.wild.document

A client that did not run here keeps the versions that the page names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.wild.results import read_versions
from tests.wild.table import CLIENTS, Client

PAGE = Path("docs", "any-client.md")
BEGIN = "<!-- written by `python -m tests.wild.document` -->\n"
END = "<!-- end of what is written -->\n"
_COLUMNS = {
    "sync": ("ask",),
    "async": ("ask_async",),
    "stream": ("stream",),
    "async stream": ("stream_async",),
    "tools": ("tools", "tools_async"),
}


def table_of_clients(versions: Mapping[str, str]) -> str:
    """The table as Markdown. ``versions`` says for the name of each client with which versions it was seen."""
    titles = ("client", "seen with", *_COLUMNS, "script", "remarks")
    rows = [titles, ("---",) * len(titles), *(_row(client, versions[client.name]) for client in CLIENTS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(client: Client, versions: str) -> tuple[str, ...]:
    reasons = list(dict.fromkeys(client.fails.values()))
    cells = (_cell(client, ways) for ways in _COLUMNS.values())
    scripted = "no" if client.unscripted else "yes"
    return (
        client.name,
        versions,
        *cells,
        scripted,
        "; ".join([client.remarks, *reasons] if client.remarks else reasons),
    )


def _cell(client: Client, ways: tuple[str, ...]) -> str:
    has = [way for way in ways if way in client.ways]
    if not has:
        return "–"
    return "no" if any(way in client.fails for way in has) else "yes"


def documented() -> str:
    """The table that the page has."""
    page = PAGE.read_text("utf-8")
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def versions_in(table: str) -> dict[str, str]:
    """What a table says each client was seen with."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]*) \|", table, re.MULTILINE)
    return {name: versions.strip() for name, versions in rows}


def main() -> None:
    """Write the table into the page."""
    versions = {client.name: "" for client in CLIENTS} | versions_in(documented())
    for client in CLIENTS:
        seen = read_versions(client)
        if seen:
            versions[client.name] = ", ".join(seen.values())
    unseen = [client.name for client in CLIENTS if not versions[client.name]]
    if unseen:
        raise SystemExit(f"`make test-wild` has not run for {', '.join(unseen)}: nothing was written.")
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table_of_clients(versions)}\n{END}{after}", "utf-8")
    print(f"{PAGE}: {len(CLIENTS)} clients")


if __name__ == "__main__":
    main()

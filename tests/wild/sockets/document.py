"""Write the table of clients into docs/websockets.md, from the table here and what `make test-wild` last saw.

    python -m tests.wild.sockets.document

Clients that did not run here keep the versions that the page names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.wild.document import versions_in
from tests.wild.results import FOLDER
from tests.wild.sockets.table import SOCKET_CLIENTS, SocketClient

PAGE = Path("docs", "websockets.md")
BEGIN = "<!-- written by `python -m tests.wild.sockets.document` -->\n"
END = "<!-- end of what is written -->\n"
_COLUMNS = {
    "text": ("text", "stream"),
    "tools": ("tools",),
    "audio": ("audio",),
    "errors of the provider": ("error",),
    "broken, closed": ("broken", "closed"),
    "refused": ("refused",),
    "connects again": ("again",),
}


def note_versions(clients: Sequence[SocketClient]) -> None:
    """Keep with which versions of these clients everything was as it should be, in a file for their environment."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    seen = {client.name: ", ".join(map(_named_version, client.distributions)) for client in clients}
    (FOLDER / f"sockets-{clients[0].group}.json").write_text(json.dumps(seen, indent=2), "utf-8")


def _named_version(distribution: str) -> str:
    return f"{distribution} {version(distribution)}"


def table_of_sockets(versions: Mapping[str, str]) -> str:
    """The table as Markdown. ``versions`` says for the name of each client with which versions it was seen."""
    rows = [("client", "seen with", *_COLUMNS), ("---",) * (len(_COLUMNS) + 2)]
    rows += [(client.name, versions[client.name], *_cells(client)) for client in SOCKET_CLIENTS]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(client: SocketClient) -> list[str]:
    kinds = {client.kind_of(way) for way in client.ways}
    return ["yes" if kinds & set(wanted) else "–" for wanted in _COLUMNS.values()]


def documented() -> str:
    """The table that the page has."""
    page = PAGE.read_text("utf-8")
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def main() -> None:
    """Write the table into the page."""
    versions = versions_in(documented())
    for seen in FOLDER.glob("sockets-*.json"):
        versions |= json.loads(seen.read_text("utf-8"))
    unseen = [client.name for client in SOCKET_CLIENTS if not versions.get(client.name)]
    if unseen:
        raise SystemExit(f"`make test-wild` has not run for {', '.join(unseen)}: nothing was written.")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table_of_sockets(versions)}\n{END}{after}", "utf-8")
    print(f"{PAGE}: {len(SOCKET_CLIENTS)} clients")


if __name__ == "__main__":
    main()

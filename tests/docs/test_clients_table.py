"""The table of clients in docs/any-client.md agrees with tests/wild/table.py, which `make test-wild` checks."""

from __future__ import annotations

from tests.wild.document import documented, table_of_clients, versions_in
from tests.wild.sockets import document as sockets
from tests.wild.table import CLIENTS


def test_the_page_has_a_row_for_each_client_and_says_what_works() -> None:
    versions = {client.name: "" for client in CLIENTS} | versions_in(documented())
    assert documented() == table_of_clients(versions), "run `python -m tests.wild.document`"


def test_the_page_names_the_versions_that_were_seen() -> None:
    versions = versions_in(documented())
    assert all(versions[client.name] for client in CLIENTS), (
        "run `make test-wild`, then `python -m tests.wild.document`"
    )


def test_the_table_of_sockets_is_that_of_the_tests() -> None:
    versions = versions_in(sockets.documented())
    assert sockets.documented() == sockets.table_of_sockets(versions), "run `python -m tests.wild.sockets.document`"

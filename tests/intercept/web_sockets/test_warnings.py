"""Warnings of the libraries name the line of the program, as they do without Aquila."""

from __future__ import annotations

import warnings
from pathlib import Path

from websockets.sync.client import connect

import aquila
from tests.support.web_sockets import web_socket_server


def talk_without_a_block(url: str) -> list[tuple[str, int, str]]:
    """Talk over a connection that no ``with`` closes, which newer versions warn of. Return what they warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeprecationWarning)
        connection = connect(url)
        connection.send("hello")
        connection.recv()
        connection.close()
    return [(warning.filename, warning.lineno, str(warning.message)) for warning in caught]


def test_a_warning_names_the_line_of_the_program(root: Path) -> None:
    with web_socket_server(lambda connection: connection.send(connection.recv(60)) or connection.recv(60)) as provider:
        url = f"{provider.url}/v1/realtime"
        plain = talk_without_a_block(url)
        with aquila.use_cassette("x", transport="record"):
            assert talk_without_a_block(url) == plain
    with aquila.use_cassette("x"):
        assert talk_without_a_block(url) == plain
    assert {file for file, _, _ in plain} <= {__file__}

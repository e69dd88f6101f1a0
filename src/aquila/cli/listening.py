"""The arguments for the address on which a server listens, and for the names by which clients reach it."""

from __future__ import annotations

import argparse

LOOPBACK = "127.0.0.1"
"""The address on which a server listens if it is given none."""


def add_address(parser: argparse.ArgumentParser, *, port: int, where_reachable: str, names: str) -> None:
    """Declare ``--host``, ``--port`` and ``--allow-host``.

    ``port``: the default. ``where_reachable``: the consequence, for the help, if other machines can reach the server.
    ``names``: who reaches it by such a name, for the help.
    """
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help=f"the address to listen on; where other machines can reach it, {where_reachable}",
    )
    parser.add_argument("--port", type=int, default=port, help=f"the port to listen on (default: {port}; 0: any)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a name by which {names}; can be given several times",
    )

"""Where a command listens that serves something: its address, and the names by which it is reached."""

from __future__ import annotations

import argparse


def add_address(parser: argparse.ArgumentParser, *, port: int, where_reachable: str, names: str) -> None:
    """Declare ``--host``, ``--port`` and ``--allow-host``.

    ``where_reachable`` says what holds where other machines can reach it, ``names`` who reaches it by which names.
    """
    parser.add_argument(
        "--host",
        default="127.0.0.1",
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

"""How a request fails that is to fail as on a machine without a network."""

from __future__ import annotations

import socket

from aquila.recording import runtime


class NoNetwork(socket.gaierror):
    """What such a request fails with, in the terms of the client that made it. ``reason`` says why it does."""

    def __init__(self, reason: str = "a side request: see Aquila's table") -> None:
        super().__init__(socket.EAI_AGAIN, f"Temporary failure in name resolution ({reason})")


def fail_unasked(what: str) -> NoNetwork:
    """Note for the summary of the run what no test asked for, and return the error to raise for it."""
    runtime.current_run().unasked[what] = None
    return NoNetwork("no test asked for it")

"""The error of a request that has to fail as on a machine without a network."""

from __future__ import annotations

import socket

from aquila.recording import runtime


class NoNetwork(socket.gaierror):
    """The error of a name that cannot be resolved, which every client knows how to handle. ``reason`` says why.

    A ``gaierror``, and not an error of Aquila's own, so that libraries go on as they do offline.
    """

    def __init__(self, reason: str = "a side request: see Aquila's table") -> None:
        super().__init__(socket.EAI_AGAIN, f"Temporary failure in name resolution ({reason})")


def fail_unasked(what: str) -> NoNetwork:
    """Note, for the summary of the run, a request that no test made, and return the error to raise for it."""
    runtime.current_run().unasked[what] = None
    return NoNetwork("no test asked for it")

"""The error of a request that has to fail as on a machine without a network."""

from __future__ import annotations

import socket

from aquila.recording import runtime
from aquila.recording.network.host_names import normalize_host

_METADATA_SERVICES = frozenset(
    {"169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "metadata.google.internal", "metadata.goog"}
)
"""The hosts of metadata services, which give a machine in a cloud its credentials: AWS, Azure, Google."""


class NoNetwork(socket.gaierror):
    """The error of a name that cannot be resolved. ``reason`` says why the request had to fail.

    It is a ``gaierror``, and not an error of Aquila's own, so that libraries go on as they do offline.
    """

    def __init__(self, reason: str = "a side request: see Aquila's table") -> None:
        super().__init__(socket.EAI_AGAIN, f"Temporary failure in name resolution ({reason})")
        self._reason = reason

    def __reduce__(self) -> tuple[type[NoNetwork], tuple[str]]:
        """Pickle by the argument of the class, which is none of the ``args`` of the error."""
        return type(self), (self._reason,)


def fail_unasked(what: str) -> NoNetwork:
    """Note, for the summary of the run, a request that no test made. Return the error to raise for it."""
    runtime.current_run().unasked[what] = None
    return NoNetwork("no test asked for it")


def is_metadata_service(host: str) -> bool:
    """Whether a host is a metadata service, where clients ask for credentials that they find nowhere else."""
    return normalize_host(host) in _METADATA_SERVICES

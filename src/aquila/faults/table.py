"""The table of all faults.

A new fault is a function, added to ``FAILURES``, ``STREAM_FAULTS`` or ``CONTENT_FAULTS``.
"""

from __future__ import annotations

from collections.abc import Mapping

from aquila.faults.contents import CONTENT_FAULTS
from aquila.faults.conversations import HANDSHAKE_FAULTS, MESSAGE_FAULTS, Change, refuse_on_web_sockets
from aquila.faults.failures import FAILURES
from aquila.faults.fault import FaultKind, Group
from aquila.faults.streams import STREAM_FAULTS


def _kind_of(change: Change, group: Group) -> FaultKind:
    name = change.__name__
    if name in HANDSHAKE_FAULTS:
        return FaultKind(change, group, "handshake", HANDSHAKE_FAULTS[name])
    if name in MESSAGE_FAULTS:
        return FaultKind(change, group, "messages", MESSAGE_FAULTS[name])
    return FaultKind(change, group, None, refuse_on_web_sockets)


FAULTS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        *(_kind_of(change, "failure") for change in FAILURES),
        *(_kind_of(change, "stream") for change in STREAM_FAULTS),
        *(_kind_of(change, "content") for change in CONTENT_FAULTS),
    )
}
"""The kinds of faults, by name."""

"""Every fault that is known. A new one is a function, and its name in one of the tuples here."""

from __future__ import annotations

from collections.abc import Mapping

from aquila.faults.contents import CONTENT_FAULTS
from aquila.faults.conversations import HANDSHAKE_FAULTS, MESSAGE_FAULTS, Change, reach_none
from aquila.faults.failures import FAILURES
from aquila.faults.fault import FaultKind, Group
from aquila.faults.streams import STREAM_FAULTS


def _kind_of(change: Change, group: Group) -> FaultKind:
    name = change.__name__
    if name in HANDSHAKE_FAULTS:
        return FaultKind.of(change, group, "handshake", HANDSHAKE_FAULTS[name])
    if name in MESSAGE_FAULTS:
        return FaultKind.of(change, group, "messages", MESSAGE_FAULTS[name])
    return FaultKind.of(change, group, None, reach_none)


FAULTS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        *(_kind_of(change, "failure") for change in FAILURES),
        *(_kind_of(change, "stream") for change in STREAM_FAULTS),
        *(_kind_of(change, "content") for change in CONTENT_FAULTS),
    )
}
"""The kinds of faults, by name."""

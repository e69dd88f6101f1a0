"""Every fault that is known. A new one is a function, and its name in one of the tuples here."""

from __future__ import annotations

from collections.abc import Mapping

from aquila.faults.contents import CONTENT_FAULTS
from aquila.faults.failures import FAILURES
from aquila.faults.fault import FaultKind
from aquila.faults.streams import STREAM_FAULTS

FAULTS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        *(FaultKind.of(change, "failure") for change in FAILURES),
        *(FaultKind.of(change, "stream") for change in STREAM_FAULTS),
        *(FaultKind.of(change, "content") for change in CONTENT_FAULTS),
    )
}
"""The kinds of faults, by name."""

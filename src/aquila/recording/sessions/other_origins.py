"""Which recordings answer a request whose own scheme, host and port have none.

A recording may have been made through a proxy or of a local server, and then answers for the provider. It is looked for
only where nothing was recorded of the origin itself, so what is kept here is built when it is first needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from aquila.cassettes.matching import request_key
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.storage.recording_slots import Slot
from aquila.recording.sessions.client_calls import ClientCall, OpenCalls
from aquila.recording.sessions.recording_keys import CountedRequests


class OtherOrigins:
    """The recordings of a cassette, whatever their origin.

    ``by_key`` maps each key to the numbers of its recordings, in order.
    """

    def __init__(self, by_key: Mapping[str, Sequence[int]]) -> None:
        self._by_key = by_key
        self._slots: Mapping[str, Sequence[Slot]] | None = None
        """By content. Most replays find a recording of their own origin, and never compute this."""

    def _slots_by_content(self) -> Mapping[str, Sequence[Slot]]:
        numbered = sorted(
            (number, (key, at)) for key, numbers in self._by_key.items() for at, number in enumerate(numbers)
        )
        found: dict[str, list[Slot]] = defaultdict(list)
        for _, slot in numbered:
            found[request_key.without_origin(slot[0])].append(slot)
        return dict(found)

    def find_slots(self, key: str) -> Sequence[Slot]:
        """Return the recordings whose key differs from ``key`` at most in its origin, in the order of the cassette."""
        if self._slots is None:
            self._slots = self._slots_by_content()
        return self._slots.get(request_key.without_origin(key), ())


def choose_key(
    slots: Sequence[Slot], sent: RecordedRequest, calls: OpenCalls, counts: CountedRequests
) -> tuple[str, ClientCall | None]:
    """Return the key under which to count a request that other origins answer, and the call that sends it again.

    ``slots`` are the recordings of these origins. If an open call sends the request again, the key is that of the call.
    Else the call is None, and the key is that of the first recording that was not played, or else of the last one.
    """
    for key in dict.fromkeys(key for key, _ in slots) if calls.by_key else ():
        call = calls.find_call(key, sent)
        if call is not None:
            return key, call
    left = counts.find_left(dict(enumerate(slots)))
    return slots[-1 if left is None else left][0], None


def move_to_origin(url: str, origin_url: str) -> str:
    """Return ``url`` with the scheme, host and port of ``origin_url``."""
    scheme, netloc = urlsplit(origin_url)[:2]
    return urlsplit(url)._replace(scheme=scheme, netloc=netloc).geturl()

"""Which recording answers a request that follows a recorded failure, and those that are made at the same time.

The recordings of a call that a program tried again by itself stand one behind the other. Whoever meets the failure gets
the next of them when it asks again, in whatever order tasks and threads ask in a replay. All others get the recordings
with which calls began, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from aquila.cassettes.model import Cassette
from aquila.recording.sessions.client_calls import ClientCall
from aquila.recording.sessions.recording_keys import CountedRequests


def has_given_up(call: ClientCall, numbers: Sequence[int], cassette: Cassette, mode: str) -> bool:
    """Whether the recorded call ended with the answer that ``call`` got last. Then it gets that answer again.

    Recordings of other tools do not say where a call ended. In a replay of those, the last recording is the end.
    """
    if not 0 <= call.position < len(numbers):
        return False
    if cassette.interactions[numbers[call.position]].response.attempts:
        return True
    return mode == "replay" and call.position + 1 == len(numbers)


def choose_position(
    numbers: Sequence[int], retried: AbstractSet[int], call: ClientCall | None, counts: CountedRequests
) -> int:
    """Return the position of the recording for a request, and count it; the one behind all if none is left.

    ``numbers`` are those of the recordings of the request, ``retried`` those of failures that the next one follows.
    ``call`` is the call that has failed in the task or thread that asks now.
    """
    followed = {at + 1 for at, number in enumerate(numbers) if number in retried}
    mine = [call.position + 1] if call is not None and call.position + 1 in followed else []
    begun = [at for at in range(len(numbers)) if at not in followed]
    for at in (*mine, *begun, *sorted(followed)):
        if at < len(numbers) and counts.count_request(f"#{numbers[at]}") == 0:  # no key is like this label
            return at
    return len(numbers)

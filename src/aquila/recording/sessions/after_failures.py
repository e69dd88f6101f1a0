"""Which recording answers a request that follows a recorded failure, and those that are made at the same time.

The recordings of a call that a program tried again by itself stand one behind the other. Whoever meets the failure gets
the next of them when it asks again, in whatever order tasks and threads ask in a replay. All others get the recordings
with which calls began, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from aquila.cassettes.model import Cassette
from aquila.recording.sessions.client_calls import ClientCall, OpenCalls
from aquila.recording.sessions.recording_keys import CountedRequests, RecordingKeys


def has_given_up(call: ClientCall, numbers: Sequence[int], cassette: Cassette, mode: str) -> bool:
    """Whether the recorded call ended with the answer that ``call`` got last. Then it gets that answer again.

    Recordings of other tools do not say where a call ended. In a replay of those, the last recording is the end.
    """
    if not 0 <= call.position < len(numbers):
        return False
    if cassette.interactions[numbers[call.position]].response.attempts:
        return True
    return mode == "replay" and call.position + 1 == len(numbers)


class Chains:
    """Chooses among the recordings of requests that a program tried again. The lock of the session guards this object.

    ``retried`` are the numbers of recorded failures that the next recording of their request follows.
    """

    def __init__(
        self, keys: RecordingKeys, counts: CountedRequests, calls: OpenCalls, retried: AbstractSet[int]
    ) -> None:
        self._keys = keys
        self._counts = counts
        self._calls = calls
        self._retried = retried
        self._by_key: dict[str, _Unanswered] = {}

    def choose_position(self, key: str, asked: int, call: ClientCall | None) -> int:
        """Return the position of the recording for a request that follows ``asked``, and count it.

        It is the one behind all if none is left. ``call`` is the call that sends its request again, if one is known.
        """
        return self._find_position(key, asked, call, self._counts.count_request)

    def find_next(self, key: str, asked: int) -> int:
        """Return the number of the recording that a request would get that follows ``asked``, of which one is left."""
        position, numbers = self._find_position(key, asked, None, self._counts.count_of), self._keys.numbers_of(key)
        return numbers[position if position < len(numbers) else asked]  # another process may just have played the last

    def find_answered(self, key: str, first: Sequence[int]) -> Sequence[int]:
        """Return the numbers of the recordings that have answered: not always the ``first`` ones."""
        if not first or not self._unanswered_of(key).followed:
            return first
        return [number for number in self._keys.numbers_of(key) if self._counts.count_of(_label(number))]

    def _find_position(self, key: str, asked: int, call: ClientCall | None, count: Callable[[str], int]) -> int:
        numbers, unanswered = self._keys.numbers_of(key), self._unanswered_of(key)
        if not unanswered.followed:
            return asked
        call = call or self._calls.find_failed_call(key)
        mine = call.position + 1 if call is not None else 0
        if mine in unanswered.followed and not count(_label(numbers[mine])):
            return mine
        while unanswered.in_order and count(_label(numbers[unanswered.in_order[0]])):
            unanswered.in_order.popleft()
        return unanswered.in_order[0] if unanswered.in_order else len(numbers)

    def _unanswered_of(self, key: str) -> _Unanswered:
        numbers, found = self._keys.numbers_of(key), self._by_key.get(key)
        if found is None or found.numbers is not numbers:  # they are others when keys have changed
            found = self._by_key[key] = _Unanswered(numbers, self._retried)
        return found


class _Unanswered:
    """The ``numbers`` of the recordings of one request, and their positions.

    Those that are ``followed`` answer what asks again. ``in_order`` are all, as others get them: first those with which
    calls began. Some at its beginning may have answered.
    """

    def __init__(self, numbers: Sequence[int], retried: AbstractSet[int]) -> None:
        self.numbers = numbers
        self.followed = {at for at in range(1, len(numbers)) if numbers[at - 1] in retried}
        begun = [at for at in range(len(numbers)) if at not in self.followed]
        self.in_order = deque([*begun, *sorted(self.followed)])


def _label(number: int) -> str:
    """Return the label under which it is counted whether a recording has answered. No key is like it."""
    return f"#{number}"

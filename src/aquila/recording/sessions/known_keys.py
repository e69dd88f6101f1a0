"""A memo of the keys of recorded requests: where many tests share a cassette, each needs the keys of all recordings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from aquila.cassettes.body_file import StoredRequest
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.object_memo import ObjectMemo
from aquila.cassettes.redaction.redactor import Redactor
from aquila.errors import CassetteCorrupt
from aquila.plugins import has_listeners
from aquila.recording import runtime

_MOST_SETS = 6
"""How many sets of keys are kept. Tests that set API keys, and so have other secrets, alternate with others."""
_MOST = 16 * 1024 * 1024
"""The size of one set in bytes."""
_SIZE = 1024
"""An estimate, in bytes, of what a key and a request without its body take."""

_Keys: TypeAlias = ObjectMemo[RecordedRequest, str]


class _KnownKeys:
    """The keys that were computed last, a set for each combination of rules and secrets. One for a run. Thread-safe."""

    def __init__(self) -> None:
        # What decides the keys, and the keys; the set that was used last comes first. The tuple is replaced and never
        # changed, so that threads can read it without a lock. Two threads at once may lose a set, which costs time.
        self._sets: tuple[tuple[tuple[object, ...], _Keys], ...] = ()

    def find_for(self, redactor: Redactor, rules: MatchRules) -> _Keys:
        """Return the keys of requests under ``rules``, computed without the secrets that ``redactor`` knows."""
        basis, sets = (rules, *redactor.basis_for_requests()), self._sets
        found = next((each for each in sets if each[0] == basis), None)
        if found is None:
            found = basis, ObjectMemo(_MOST)
        self._sets = (found, *[each for each in sets if each is not found][: _MOST_SETS - 1])
        return found[1]


def remembering_keys(
    compute: Callable[[RecordedRequest], str], redactor: Redactor, rules: MatchRules
) -> Callable[[RecordedRequest], str]:
    """Return a function that gives recorded requests their keys, for now: ``redactor`` may learn more.

    ``compute`` redacts a request and computes its key under ``rules``. If a plugin gives keys, nothing is remembered.
    """
    if has_listeners("aquila_key"):
        return compute
    known = redactor.count_later()
    keys = runtime.current_run().state_of(_KnownKeys).find_for(redactor, rules)

    def key_of(request: RecordedRequest) -> str:
        key = keys.find(request)
        if key is None:
            key = compute(request)
            if redactor.count_later() == known:  # else the redactor knows more secrets than this set of keys is for
                keys.add(request, key, request.size + _SIZE)
        return key

    return key_of


def despite_lost_bodies(key_of: Callable[[RecordedRequest], str]) -> Callable[[RecordedRequest], str]:
    """Return ``key_of`` for recording and merging, where a recorded request whose body is lost must not stop anything.

    Its key is that of no other request, but for the same one with the same missing file. So it is recorded anew, as the
    error of a replay says.
    """

    def key_of_any(request: RecordedRequest) -> str:
        try:
            return key_of(request)
        except CassetteCorrupt:
            if not isinstance(request, StoredRequest):
                raise
            return f"lost: {request.method} {request.url} {request.file.name}"

    return key_of_any

"""The keys of recorded requests: where many tests share a cassette, each needs those of all its recordings."""

from __future__ import annotations

from collections.abc import Callable

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.object_memo import ObjectMemo
from aquila.cassettes.redaction.redactor import Redactor
from aquila.plugins import has_listeners
from aquila.recording import runtime

_MOST = 32 * 1024 * 1024
_SIZE = 1024
"""What a key and a request without a body are taken for."""


class _KnownKeys:
    """The keys that were computed last. The run owns it. They are given up when another redactor or rules ask."""

    def __init__(self) -> None:
        self._basis: tuple[Redactor, int, MatchRules] | None = None
        self._keys: ObjectMemo[RecordedRequest, str] = ObjectMemo(_MOST)

    def find_for(self, redactor: Redactor, rules: MatchRules) -> ObjectMemo[RecordedRequest, str]:
        """Return the keys that requests have under ``rules`` without what ``redactor`` knows to be secret."""
        basis = redactor, redactor.count_later(), rules
        if self._basis != basis:
            self._basis, self._keys = basis, ObjectMemo(_MOST)
        return self._keys


def remembering(
    compute: Callable[[RecordedRequest], str], redactor: Redactor, rules: MatchRules
) -> Callable[[RecordedRequest], str]:
    """Return a function that gives recorded requests their keys, for now: ``redactor`` may learn more.

    ``compute`` redacts a request and gives it its key under ``rules``, as far as no plugin does.
    """
    if has_listeners("aquila_key"):
        return compute
    keys = runtime.current_run().state_of(_KnownKeys).find_for(redactor, rules)

    def key_of(request: RecordedRequest) -> str:
        key = keys.find(request)
        if key is None:
            key = compute(request)
            keys.add(request, key, request.size + _SIZE)
        return key

    return key_of

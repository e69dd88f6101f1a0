"""Filters: what a program's own functions change of interactions before they are compared and stored.

They belong to a scope and hold for every cassette in it. Requests and recorded requests are filtered before they are
compared. What is stored is filtered, and then redacted like everything else. What is sent to the provider is not
filtered, and neither is the answer that the caller gets while it is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.request_key import key_of
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.fork_locks import renewed_in_child

RequestFilter = Callable[[RecordedRequest], RecordedRequest | None]
ResponseFilter = Callable[[RecordedResponse], RecordedResponse | None]
InteractionFilter = Callable[[Interaction], Interaction | None]
Comparison = Callable[[RecordedRequest, RecordedRequest], bool]


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a scope.

    ``change_request`` returns what is compared and stored of a request; None for one that no cassette answers and none
    records. ``change_response`` returns what is stored of an answer; None for one that is not stored. ``is_same`` says
    whether a request and a recorded request are the same, in place of the rules of the settings; it must be true for
    equal requests. ``load_further`` returns recordings of other files: they answer after those of a cassette, and
    nothing is stored in them. ``changes_recorded`` says that recorded answers go through ``change_response``, too.

    ``change_stored`` changes an interaction last before it is written, and ``change_loaded`` changes it first after it
    was read, so that the second can undo the first. Where one returns None, the interaction is left out.
    """

    change_request: RequestFilter | None = None
    change_response: ResponseFilter | None = None
    is_same: Comparison | None = None
    load_further: Callable[[], Cassette] | None = None
    change_loaded: InteractionFilter | None = None
    change_stored: InteractionFilter | None = None
    changes_recorded: bool = True

    def filter_recordings(self, cassette: Cassette) -> Cassette:
        """Return the recordings of a cassette as they are compared and played, without those that are not recorded."""
        if self.change_request is None and self._change_recorded is None and self.change_loaded is None:
            return cassette
        filtered = map(self._filter_interaction, cassette.interactions)
        return Cassette.from_interactions(each for each in filtered if each is not None)

    @property
    def _change_recorded(self) -> ResponseFilter | None:
        return self.change_response if self.changes_recorded else None

    def keeps(self, interaction: Interaction) -> bool:
        """Whether a recording is compared and played at all."""
        return self._filter_interaction(interaction) is not None

    def _filter_interaction(self, stored: Interaction) -> Interaction | None:
        interaction = stored if self.change_loaded is None else self.change_loaded(stored)
        if interaction is None:
            return None
        request, response = self.filter_request(interaction.request), interaction.response
        if request is None:
            return None
        changed = response if self._change_recorded is None else self._change_recorded(response)
        if changed is None:
            return None
        if request is interaction.request and changed is response:
            return interaction
        return replace(interaction, request=request, response=changed)

    def filter_stored_request(self, request: RecordedRequest) -> RecordedRequest | None:
        """Return a request of a file as it is compared, or None if it is left out."""
        if self.change_loaded is not None:
            loaded = self.change_loaded(Interaction(request, RecordedResponse(200)))
            if loaded is None:
                return None
            request = loaded.request
        return self.filter_request(request)

    @property
    def need_whole_answers(self) -> bool:
        """Whether what is stored of an answer depends on all of it."""
        return self.change_response is not None or self.change_stored is not None

    def filter_recorded(self, request: RecordedRequest, response: RecordedResponse) -> Interaction | None:
        """Return what is stored of a filtered request and its answer, or None if nothing is stored."""
        changed = response if self.change_response is None else self.change_response(response)
        if changed is None:
            return None
        interaction = Interaction(request, changed)
        return interaction if self.change_stored is None else self.change_stored(interaction)

    def filter_request(self, request: RecordedRequest) -> RecordedRequest | None:
        """Return a request as it is compared and stored, or None if it is left out."""
        return request if self.change_request is None else self.change_request(request)


class ComparedRequests:
    """Gives keys to requests that are compared in pairs: equal requests have the key of the first of them."""

    def __init__(self, is_same: Comparison) -> None:
        self._is_same = is_same
        self._known: list[tuple[RecordedRequest, str]] = []  # grows until the session is dropped
        # Without the lock, two threads that make the same request at once would give it two keys.
        self._lock = renewed_in_child(threading.Lock())

    def identify(self, request: RecordedRequest) -> str:
        """Return the key of a request."""
        with self._lock:
            for known, key in self._known:
                if self._is_same(request, known):
                    return key
            key = self._make_key(request)
            self._known.append((request, key))
            return key

    def _make_key(self, request: RecordedRequest) -> str:
        """Return a new key. It is the same in every process that knows the same recordings."""
        content = f"compared:{key_of(request, _CONTENT)}"
        same = sum(key.partition("#")[0] == content for _, key in self._known)
        return f"{content}#{same}" if same else content


_CONTENT = MatchRules()

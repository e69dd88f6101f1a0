"""Which recordings of a cassette answer which requests: by their keys, and how often it was asked for each."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from aquila.cassettes.body_file import LARGE, BodyFile, StoredRequest, name_of_body
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Cassette, Headers, RecordedRequest
from aquila.cassettes.redaction.found_secrets import without_numbers
from aquila.cassettes.redaction.redactor import Redactor
from aquila.cassettes.storage.recording_slots import Slot
from aquila.lazy_imports import lazy_modules
from aquila.recording.environment import DUMMY_KEY

if TYPE_CHECKING:
    from typing import Protocol

    from aquila.recording.sessions import known_keys

    class RequestCounts(Protocol):
        """Counts the requests of several processes together, under labels that the caller makes up."""

        def count_request(self, label: str) -> int:
            """Count a request and return how many came before it."""

        def count_of(self, label: str) -> int:
            """Return how many requests were counted."""

else:  # most replays find a request by what equal requests have in common, and compute no key
    lazy_modules(globals(), "aquila.recording.sessions: known_keys")


Identity: TypeAlias = tuple[str, str, Headers, bytes | BodyFile]
"""What equal requests have in common. A tuple: no other object is built, hashed and compared as fast."""


class RecordingKeys:
    """The keys of the recordings of one session, whose lock guards this object.

    Most requests of a replay equal a recorded one byte for byte, and finding that out is much cheaper than computing
    their key. ``compute_key`` returns the key of a recorded request. It is handed in where it is needed, because it is
    a method of the session, which would not be freed before the garbage collector comes if this referred to it. With
    ``later``, recordings have provisional keys, one for all equal requests, until ``compute`` replaces them; that is
    allowed only if unequal requests have different keys. ``rules`` are those by which ``compute_key`` compares; None if
    a plugin or a filter decides, too. ``records`` says that the session records: then a request whose body is lost has
    a key nevertheless.
    """

    def __init__(
        self,
        cassette: Cassette,
        redactor: Redactor,
        compute_key: Callable[[RecordedRequest], str],
        *,
        later: bool,
        rules: MatchRules | None = None,
        records: bool = False,
    ) -> None:
        self._rules = rules
        self._records = records
        self._cassette = cassette
        self._redactor = redactor
        self.computed_with = None if later else redactor.count_later()
        """How many later secrets the redactor knew when the keys were computed. None while they are provisional."""
        self._known: dict[Identity, str] = {}  # keys by identity; `compute` replaces both tables
        self._numbers: dict[str, list[int]] = defaultdict(list)  # numbers of recordings by key
        # By keys without the numbers of placeholders. Built by the first request that needs it.
        self._without_numbers: dict[str, str] | None = None
        key_of = compute_key if later else self._remembering_keys(compute_key)
        for number, interaction in enumerate(cassette.interactions):
            identity = self.identify(interaction.request)
            if later:
                key = self._known.setdefault(identity, f"{number}")
            else:
                key = self._known[identity] = key_of(interaction.request)
            self._numbers[key].append(number)

    def _remembering_keys(self, compute_key: Callable[[RecordedRequest], str]) -> Callable[[RecordedRequest], str]:
        key_of = known_keys.remembering_keys(compute_key, self._redactor, self._rules) if self._rules else compute_key
        return known_keys.despite_lost_bodies(key_of) if self._records else key_of

    def identify(self, request: RecordedRequest) -> Identity:
        """Return what equal requests have in common. Foreign recordings have more header fields than are compared."""
        body: bytes | BodyFile
        if isinstance(request, StoredRequest):
            body = request.file
        elif len(body := request.body) > LARGE:
            body = BodyFile(name_of_body(body), len(body))  # a large one is compared by its hash
        return request.method, request.url, self._redactor.choose_headers(request.headers), body

    def find(self, identity: Identity) -> str | None:
        """Return the key of a request that equals a recorded one."""
        return self._known.get(identity)

    def numbers_of(self, key: str) -> Sequence[int]:
        """Return the numbers (from 0) of the recordings that have a key."""
        return self._numbers.get(key, ())

    def find_beside_secrets(
        self, sent: RecordedRequest, request: RecordedRequest, compute_key: Callable[[RecordedRequest], str]
    ) -> str | None:
        """Return the key of a recorded request that equals ``sent`` but for what counts as a secret in it.

        ``request`` is ``sent``, redacted. Its credentials are those of its header fields, too. Recorded requests of
        other recorders have no such fields, so what repeats a credential elsewhere was not redacted in them.
        """
        if any(not each.upstream for each in self._cassette.interactions):  # recordings of other tools name none
            bare = self._redactor.redact_beside_credentials(sent)
            if bare != request and (key := compute_key(bare)) in self._numbers:
                return key
        return self._find_without_numbers(request, compute_key) if holds_stand_in(sent) else None

    def _find_without_numbers(
        self, request: RecordedRequest, compute_key: Callable[[RecordedRequest], str]
    ) -> str | None:
        """Return the key of a recorded request that equals a redacted one but for the numbers of placeholders.

        A replayed answer has placeholders where the provider's answer had secrets. If the program sends these on, one
        cannot be told from another. Neither can API keys, on a machine where a dummy takes the place of all of them.
        """
        if self._without_numbers is None:
            self._without_numbers = {}
            for key, numbers in self._numbers.items():
                recorded = self._cassette.interactions[numbers[0]].request
                if not isinstance(recorded, StoredRequest):
                    self._without_numbers.setdefault(compute_key(_without_numbers(recorded)), key)
        if isinstance(request, StoredRequest):
            return None
        return self._without_numbers.get(compute_key(_without_numbers(request)))

    def numbers_by_key(self) -> Mapping[str, Sequence[int]]:
        """Return the numbers of all recordings, by key."""
        return self._numbers

    def compute(self, compute_key: Callable[[RecordedRequest], str]) -> Mapping[str, str]:
        """Give each recording its own key. Return the new keys by those that they had."""
        self.computed_with = self._redactor.count_later()
        interactions, provisional = self._cassette.interactions, self._numbers
        key_of = self._remembering_keys(compute_key)
        renamed = {key: key_of(interactions[numbers[0]].request) for key, numbers in provisional.items()}
        self._known = {identity: renamed[key] for identity, key in self._known.items()}
        numbers_by_key: dict[str, list[int]] = defaultdict(list)
        for number, key in sorted((number, key) for key, numbers in provisional.items() for number in numbers):
            numbers_by_key[renamed[key]].append(number)
        self._numbers = numbers_by_key  # replaced as a whole: others iterate over it without the lock of the session
        self._without_numbers = None
        return renamed


def _without_numbers(request: RecordedRequest) -> RecordedRequest:
    body = without_numbers(request.body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return RecordedRequest(request.method, without_numbers(request.url), request.headers, body)


def holds_stand_in(request: RecordedRequest) -> bool:
    """Whether a request holds what stands for a secret: a placeholder of an earlier answer, or the dummy key.

    A placeholder and the dummy key do not tell which secret they stand for.
    """
    if isinstance(request, StoredRequest):
        return False
    dummy = DUMMY_KEY.encode()
    return "redacted" in request.url or DUMMY_KEY in request.url or b"redacted" in request.body or dummy in request.body


class CountedRequests:
    """The number of requests of one session, by key. The lock of the session guards this object.

    ``prefix`` is put before keys, to make the labels under which they are counted together with other processes.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counts: dict[str, int] = defaultdict(int)
        self._shared: RequestCounts | None = None

    @property
    def are_shared(self) -> bool:
        """Whether they are counted together with other processes."""
        return self._shared is not None

    def count_request(self, key: str) -> int:
        """Count a request and return how many came before it."""
        if self._shared is not None:
            return self._shared.count_request(self._prefix + key)
        asked = self._counts[key]
        self._counts[key] = asked + 1
        return asked

    def count_of(self, key: str) -> int:
        """Return how many requests were counted."""
        if self._shared is not None:
            return self._shared.count_of(self._prefix + key)
        return self._counts.get(key, 0)

    def find_left(self, slots: Mapping[int, Slot]) -> int | None:
        """Return the first of these numbers whose slot no request has got yet; None if there is none."""
        count_of = functools.cache(self.count_of)  # shared counts are in a storage
        return next((number for number, (key, at) in slots.items() if at >= count_of(key)), None)

    def rename_keys(self, renamed: Mapping[str, str]) -> None:
        """Move the counts to other keys. Several keys may become one."""
        counts, self._counts = self._counts, defaultdict(int)
        for key, asked in counts.items():
            self._counts[renamed.get(key, key)] += asked

    def share(self, counts: RequestCounts) -> None:
        """Count together with other processes from now on, and add what was counted so far."""
        for key, asked in self._counts.items():
            for _ in range(asked):
                counts.count_request(self._prefix + key)
        self._counts.clear()
        self._shared = counts

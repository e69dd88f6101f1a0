"""The cassette that a program gets: vcrpy's interface, over a session of Aquila."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from vcr.errors import UnhandledHTTPRequestError
from vcr.record_mode import RecordMode

from aquila.cassettes.model import Interaction
from aquila.recording.scope import Scope
from aquila.recording.sessions.session import Session
from aquila.recording.used_cassette import UsedCassette, open_sessions, recorded_in
from aquila.vcr.forms import request_from_vcr, to_vcr_request, to_vcr_response
from aquila.vcr.option_translation import CassettePlan


class Cassette:
    """A cassette in use.

    Its requests and responses are those of the file, followed by new ones. They have the form in which they are stored:
    without secrets, and with only the header fields that Aquila keeps. With the transport ``live`` there are none.

    Examples:
        >>> from aquila import vcr
        >>> with vcr.use_cassette("birds.yaml") as cassette:
        ...     answer = aquila.ask("How do eagles fly so far?").text
        >>> with vcr.use_cassette("birds.yaml") as cassette:
        ...     assert aquila.ask("How do eagles fly so far?").text == answer
        >>> cassette.play_count, cassette.all_played, cassette.requests[0].method
        (1, True, 'POST')
    """

    def __init__(self, scope: Scope, plan: CassettePlan) -> None:
        self._scope = scope
        self._plan = plan
        self.used = UsedCassette(scope)
        """The same cassette as Aquila's own fixtures present it."""

    @property
    def path(self) -> str:
        """The file that the program named, or if it is not there the one for new recordings, which need not exist."""
        return str(self._plan.files.shown)

    @property
    # Private in vcrpy, but users read it.
    def _path(self) -> str:
        return self.path

    @property
    def record_mode(self) -> RecordMode:
        """The record mode that the program chose, or vcrpy's default."""
        return self._plan.record_mode

    @property
    def allow_playback_repeats(self) -> bool:
        """Whether a recording may answer more than once."""
        return self._plan.allow_playback_repeats

    @property
    def rewound(self) -> bool:
        """Whether the cassette existed before it was used."""
        return self._plan.files.exists

    @property
    def write_protected(self) -> bool:
        """Whether nothing is recorded."""
        return self._scope.settings.transport != "record"

    @property
    def dirty(self) -> bool:
        """Whether something was recorded."""
        return bool(self.used.record_count)

    @property
    def data(self) -> list[tuple[Any, dict[str, Any]]]:
        """The requests, each with its response."""
        return list(zip(self.requests, self.responses, strict=True))

    @property
    def requests(self) -> list[Any]:
        """The requests, as ``vcr.request.Request``."""
        return [to_vcr_request(each.request) for each in self._interactions()]

    @property
    def responses(self) -> list[dict[str, Any]]:
        """The responses, as mappings with ``status``, ``headers`` and ``body``."""
        return [to_vcr_response(each.response) for each in self._interactions()]

    @property
    def play_counts(self) -> Counter[int]:
        """How often each recording was played, by its index among the requests."""
        return Counter({number: count for number, count in enumerate(self._play_counts()) if count})

    @property
    def play_count(self) -> int:
        """How many requests were answered from recordings."""
        return sum(self._play_counts())

    @property
    def all_played(self) -> bool:
        """Whether every recording that the file held was played."""
        return all(self._play_counts())

    def responses_of(self, request: Any) -> list[dict[str, Any]]:
        """Return the responses that were recorded for a request. Raises vcrpy's own error if none was."""
        interactions = self._interactions()
        found = [to_vcr_response(interactions[number].response) for number in self._numbers_of(request)]
        if not found:
            raise UnhandledHTTPRequestError(
                f"The cassette ({self.path!r}) doesn't contain the request ({request!r}) asked for"
            )
        return found

    def can_play_response_for(self, request: Any) -> bool:
        """Whether a recording would answer this request of vcrpy's now."""
        return request in self and self.record_mode != RecordMode.ALL

    def __contains__(self, request: object) -> bool:
        counts = self._play_counts()
        numbers = [number for number in self._numbers_of(request) if number < len(counts)]
        return any(self.allow_playback_repeats or not counts[number] for number in numbers)

    def __len__(self) -> int:
        return len(self._interactions())

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        return iter(self.data)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __str__(self) -> str:
        return f"<Cassette containing {len(self)} recorded response(s)>"

    __repr__ = __str__

    def _sessions(self) -> Sequence[Session]:
        return open_sessions(self._scope, self._plan.name)

    def _interactions(self) -> list[Interaction]:
        sessions = self._sessions()
        stored = [each for session in sessions[:1] for each in session.cassette.interactions]
        return [*stored, *recorded_in(sessions, self._plan.files.own)]

    def _play_counts(self) -> Sequence[int]:
        return next((tuple(session.plays.counts) for session in self._sessions()), ())

    def _numbers_of(self, request: Any) -> Sequence[int]:
        asked = request_from_vcr(request)
        return next((tuple(session.find_recordings(asked)) for session in self._sessions()), ())

"""Find requests that have drifted although a recording answers them: it differs in a part that is not compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aquila.cassettes.matching.request_key import MatchRules, key_of
from aquila.cassettes.model import RecordedRequest
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.matching import miss_message
    from aquila.recording.session import Session
else:
    lazy_modules(globals(), miss_message="aquila.cassettes.matching.miss_message")


@dataclass(frozen=True, slots=True)
class DriftedRequest:
    """A request that would miss if its content were compared.

    ``cassette`` is the name of the cassette, ``text`` shows how the request differs from the nearest recording.
    """

    cassette: str
    method: str
    url: str
    text: str


class DriftWatch:
    """Finds what drifted in one scope. ``rules`` compare contents; ``command`` is what to type to record again."""

    def __init__(self, rules: MatchRules, *, command: str) -> None:
        self._rules = rules
        self._command = command
        self.drifted_requests: list[DriftedRequest] = []

    def observer_for(self, session: Session) -> Callable[[RecordedRequest], None]:
        """Return a function that compares each request of a session with its recordings."""
        recordings = session.cassette.interactions
        known = {key_of(session.redactor.redact_request(one.request), self._rules) for one in recordings}

        def compare_request(request: RecordedRequest) -> None:
            asked = session.redactor.redact_request(request)
            if not known or key_of(asked, self._rules) in known:
                return
            explained = miss_message.explain_miss(
                asked,
                recordings=recordings,
                rules=self._rules,
                cassette=session.name,
                command=self._command,
                redactor=session.redactor,
            )
            self.drifted_requests.append(DriftedRequest(session.name, asked.method, asked.url, explained.text))

        return compare_request

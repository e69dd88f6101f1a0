"""Find requests that have drifted although a recording answers them: it differs in a part that is not compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aquila.cassettes.matching.request_key import MatchRules, key_at_origin, without_origin
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
    """Finds what drifted in one scope.

    ``rules`` compare contents. ``command`` is what to type to record again. ``takes_other_origins`` says whether
    recordings of another host may answer a request.
    """

    def __init__(
        self, rules: MatchRules, *, command: str, takes_other_origins: Callable[[RecordedRequest], bool]
    ) -> None:
        self._rules = rules
        self._takes_other_origins = takes_other_origins
        self._command = command
        self.drifted_requests: list[DriftedRequest] = []

    def observer_for(self, session: Session) -> Callable[[RecordedRequest], None]:
        """Return a function that compares each request of a session with its recordings."""
        recordings = session.cassette.interactions
        known = {key_at_origin(session.redactor.redact_request(one.request), self._rules) for one in recordings}
        contents = {without_origin(key) for key in known}

        def compare_request(request: RecordedRequest) -> None:
            asked = session.redactor.redact_request(request)
            key = key_at_origin(asked, self._rules)
            same_content = without_origin(key) in contents
            if not known or key in known or (same_content and self._takes_other_origins(asked)):
                return
            explained = miss_message.explain_miss(
                asked,
                recordings=recordings,
                rules=self._rules,
                cassette=session.name,
                command=self._command,
                redactor=session.redactor,
                compares_origin=same_content,
            )
            self.drifted_requests.append(DriftedRequest(session.name, asked.method, asked.url, explained.text))

        return compare_request

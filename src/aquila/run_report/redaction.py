"""Takes secrets out of what a report tells of an exchange: those of the moment it was made, and those of now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.reporting.exchange_watch import WatchedExchange
from aquila.recording.secrets import outgoing


class ExchangeRedactor:
    """Redacts by several redactors, one after the other: each knows secrets that the others may not."""

    def __init__(self, redactors: Iterable[Redactor]) -> None:
        self._redactors = list({id(each): each for each in redactors}.values())

    @classmethod
    def of(cls, noted: WatchedExchange) -> ExchangeRedactor:
        """Return the redactor for what was noted of an exchange.

        A test may have set a key after its cassette was opened, and taken it back before the report asks.
        """
        session = () if noted.session is None else (noted.session.redactor,)
        return cls((*session, *noted.redactors, outgoing.run_redactor()))

    def redact_text(self, text: str) -> str:
        """Return a text without secrets."""
        for each in self._redactors:
            text = each.redact_text(text)
        return text

    def redact_request(self, request: RecordedRequest) -> RecordedRequest:
        """Return a request without secrets."""
        for each in self._redactors:
            request = each.redact_request(request)
        return request

    def redact_response(self, response: RecordedResponse) -> RecordedResponse:
        """Return a response without secrets."""
        for each in self._redactors:
            response = each.redact_response(response)
        return response

    def clean_request(self, noted: WatchedExchange) -> RecordedRequest | None:
        """Return a request as it may be shown: as its session would store it."""
        if noted.request is None:
            return None
        asked = noted.request if noted.session is None else noted.session.filter_request(noted.request)
        return None if asked is None else self.redact_request(asked)

    def clean_recording(self, recording: Interaction) -> Interaction:
        """Return a recording as it may be shown.

        What is large was redacted when it was recorded, and most of it is not shown.
        """
        request, response = recording.request, recording.response
        if not (isinstance(request, StoredRequest) and recording.upstream):
            request = self.redact_request(request)
        if not self.finds_clean(recording):
            response = self.redact_response(response)
        return replace(recording, request=request, response=response)

    def finds_clean(self, recording: Interaction) -> bool:
        """Whether a recording was redacted when it was made, and holds nothing of what is secret on this machine now.

        That takes a search for what is known. Recordings of other tools do not say what they were recorded from.
        """
        if not recording.upstream or isinstance(recording.response.chunks, StoredChunks):
            return bool(recording.upstream)
        body = recording.response.body
        return not any(each.holds_known_secret(body) for each in self._redactors)

"""Removes secrets from exchanges: those that were known when an exchange was made, and those that are known now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aquila.cassettes.body_file import StoredChunks, StoredRequest
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.redactor import Redactor
from aquila.recording.reporting.exchange_watch import WatchedExchange
from aquila.recording.secrets import outgoing


class ExchangeRedactor:
    """Redacts with several redactors, one after the other, because each may know secrets that the others do not."""

    def __init__(self, redactors: Iterable[Redactor]) -> None:
        self._redactors = list({id(each): each for each in redactors}.values())

    @classmethod
    def of(cls, noted: WatchedExchange) -> ExchangeRedactor:
        """Return the redactor for an exchange.

        A test may set a key after its cassette was opened, and remove it before the report is made.
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
        """Return a request in the form in which its session would store it, without secrets; None if it has none."""
        if noted.request is None:
            return None
        asked = noted.request if noted.session is None else noted.session.filter_request(noted.request)
        return None if asked is None else self.redact_request(asked)

    def clean_recording(self, recording: Interaction) -> Interaction:
        """Return a recording without secrets.

        Large bodies are not redacted again: they were redacted when they were recorded, and most of them is not shown.
        """
        request = recording.request
        if isinstance(request, StoredRequest) and recording.upstream:
            clean = self.redact_request(RecordedRequest(request.method, request.url, request.headers))
            request = request.with_parts(clean.url, clean.headers)
        else:
            request = self.redact_request(request)
        return replace(recording, request=request, response=self.clean_response(recording))

    def clean_response(self, recording: Interaction) -> RecordedResponse:
        """Return the response of a recording without secrets.

        A response that was redacted when it was recorded is searched only for secrets that are known now. Recordings of
        other tools name no upstream, so they may not have been redacted.
        """
        response = recording.response
        if not recording.upstream:
            return self.redact_response(response)
        values = "\n".join([value for _, value in response.headers])
        if self._holds_known_secret(values.encode("utf-8", "replace")):
            headers = tuple([(name, self.redact_text(value)) for name, value in response.headers])
            response = replace(response, headers=headers)
        if not isinstance(response.chunks, StoredChunks) and self._holds_known_secret(response.body):
            response = self.redact_response(response)
        return response

    def _holds_known_secret(self, data: bytes) -> bool:
        return any(each.holds_known_secret(data) for each in self._redactors)

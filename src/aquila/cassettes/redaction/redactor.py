"""Keeps secrets out of cassettes: header fields by tables of names, everything else by a search for secrets.

Each secret is replaced by one fixed text, before requests are compared and before anything is written. So a cassette
that one developer recorded answers the requests of another, whatever their keys.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from aquila.cassettes.body_file import LARGE, StoredRequest
from aquila.cassettes.model import (
    SWITCHED,
    Headers,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
    first_value,
)
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.fingerprints import FingerprintRule
from aquila.cassettes.redaction.request_headers import (
    REQUEST_HEADERS,
    check_header_names,
    is_allowed_header,
    may_hold_credentials,
)
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.quick_records import NamedTuple

if TYPE_CHECKING:
    from aquila.cassettes.redaction import (
        found_secrets,
        message_redaction,
        request_credentials,
        secret_patterns,
        window_redaction,
    )
    from aquila.cassettes.redaction import response_headers as answer_headers
    from aquila.cassettes.redaction import scrubber as scrubbers
    from aquila.cassettes.redaction.environment_secrets import LaterSecrets
    from aquila.cassettes.redaction.found_secrets import SecretNumbers
    from aquila.cassettes.redaction.request_credentials import NamedSecrets
    from aquila.cassettes.redaction.scrubber import Scrubber
    from aquila.cassettes.redaction.window_redaction import LargeBodyRedactor
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.redaction: found_secrets, message_redaction, request_credentials, secret_patterns",
        "aquila.cassettes.redaction: window_redaction, response_headers as answer_headers, scrubber as scrubbers",
    )

Rule: TypeAlias = str | re.Pattern[str] | Callable[[str], str] | FingerprintRule
"""A rule that is added to the built-in ones.

From a user, it is a regular expression, whose matches or first groups are replaced, or a function on texts. A child
process adds the rule that finds keys of its parent by their fingerprints.
"""


_MOST_NAMED = 256  # values that are remembered because of the names of their fields
_MOST_SCRUBBERS = 64  # scrubbers that are kept, one for each set of credentials


class SecretFinding(NamedTuple):
    """Something that looks like a secret: its line (from 1) and its kind, never its value.

    Examples:
        >>> from aquila.cassettes import Redactor, SecretFinding
        >>> def describe(found: SecretFinding) -> str:
        ...     return f"line {found.line}: {found.kind}"
        >>> data = b"name: Eve\\nkey: my-own-secret-value"
        >>> [describe(found) for found in Redactor({"my-own-secret-value": "a key of ours"}).find_secrets(data)]
        ['line 2: a key of ours']
    """

    line: int
    kind: str


class Redactor:
    """Replaces secrets in requests and responses by ``[redacted]``.

    It knows the values of ``secrets`` (each with the kind by which findings name it), what common keys look like, and
    the credentials of every request that it has seen. ``extra`` adds rules; the built-in ones always stay. Fields
    named in ``request_headers`` and ``response_headers`` are kept besides the usual ones; fields that carry
    credentials are refused with a :class:`~aquila.errors.ConfigError`. ``later`` finds the secrets that come up while
    the redactor is in use, such as variables that a test sets. The redactor still knows them after they are deleted.

    Redacting twice is the same as redacting once. What holds no secret is returned as the same object. Thread-safe: a
    lock guards the state below. What a redactor has learned is never forgotten, except the oldest values that were
    found by names; it lives as long as the scopes that use it.
    """

    def __init__(
        self,
        secrets: Mapping[str, str] | None = None,
        extra: Iterable[Rule] = (),
        *,
        request_headers: Iterable[str] = (),
        response_headers: Iterable[str] = (),
        later: LaterSecrets | None = None,
    ) -> None:
        self._secrets = dict(secrets or {})
        self._later = later
        # Up to which count of variables all secrets are known.
        self._later_position = 0 if later is None else later.position
        self.later_count = 0  # secrets from `later`; part of the key of the cache of headers below
        self._rules = tuple(extra)
        self._request_headers = check_header_names(request_headers, "request headers to keep")
        self._response_headers = check_header_names(response_headers, "response headers to keep")
        # Scrubbers by the credentials that each knows besides `_secrets`. Made by the first search; the oldest one goes
        # beyond the limit, and all go when `count_later` learns a secret.
        self._scrubbers: dict[frozenset[str], Scrubber] = {}
        # Re-entrant: `_scrubber_knowing` and `count_later` are called with the lock held.
        self._lock = renewed_in_child(threading.RLock())
        # The credentials in the header fields of all requests so far. Replaced, never changed in place.
        self._seen_credentials: frozenset[str] = frozenset()
        self._seen_count = 0  # how often one of them was new
        # Secrets of requests so far that were found by the names of their fields, the oldest first; an ordered set.
        self._seen_named: dict[str, None] = {}
        # Header fields whose credentials are not in `_seen_credentials` yet. `_find_seen_credentials` empties it: a
        # replay that redacts no answer never pays for examining them.
        self._unexamined: dict[Headers, None] = {}
        if self._rules:
            self._scrubber_knowing(frozenset())  # built now, so that a bad rule raises where it was configured
        # Caches, because a client sends the same header fields with all its requests. They hold bound methods, so the
        # redactor refers to itself: the garbage collector frees it, and not the last reference.
        self._examine_headers_cached = functools.lru_cache(maxsize=256)(self._examine_headers)
        self.choose_headers = functools.lru_cache(maxsize=256)(self._choose_headers)
        """Return those header fields of a request that :meth:`redact_request` keeps, unredacted.

        For comparing only: the fields must not be stored. The credentials among all the fields are noted, and removed
        from every later response.
        """

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Redactor:
        """Build a redactor that knows the secrets of an environment, such as ``os.environ``.

        The value of a variable is a secret if its name says so (``*_KEY``, ``*_TOKEN``, ``*_SECRET``, ``*PASSWORD*``).
        The password in a URL is one in any variable. Values that are short or ordinary words are none.
        """
        return cls(environment_secrets(environ))

    def __repr__(self) -> str:
        return f"<Redactor: {len(self._secrets)} known values, {len(self._rules)} added rules>"

    def count_later(self) -> int:
        """Learn the secrets that have come up by now. Return how many the redactor has learned in this way so far."""
        if self._later is None:
            return 0
        variables = self._later.variables
        # Tested without the lock and without a call: each request asks several times, and a variable is rarely set.
        if variables.count == self._later_position and variables.environment is os.environ:
            return self.later_count
        with self._lock:
            position = variables.count
            found = self._later.find_since(self._later_position)
            new = {value: kind for value, kind in found.items() if value not in self._secrets} if found else found
            if new:
                self._secrets = {**self._secrets, **new}  # a new dict: other threads may be reading the old one
                self._scrubbers.clear()
                self.later_count += len(new)
            # Set last: until then other threads wait for the lock, and after Ctrl-C the next call searches again.
            self._later_position = position
            return self.later_count

    def count_learned(self, *, examine: bool = False) -> int:
        """Return how many secrets and header credentials were learned; with ``examine``, those of all requests."""
        if examine:
            self._find_seen_credentials()
        return self.count_later() + self._seen_count

    def header_credentials(self) -> frozenset[str]:
        """Return the credentials in the header fields of every request so far."""
        self._find_seen_credentials()
        return self._seen_credentials

    def basis_for_requests(self) -> tuple[object, ...]:
        """Return a value that is equal for redactors that redact every request in the same way, as of now."""
        with self._lock:
            self.count_later()
            return frozenset(self._secrets), self._rules, self._request_headers

    def learn_credentials(self, request: RecordedRequest) -> frozenset[str]:
        """Return the credentials of a request. From now on they are removed from every response."""
        _, own, media = self._examine_headers_cached(request.headers, self.count_later())
        return own | self._find_named_secrets(request, media).values

    def redact_filtered(self, request: RecordedRequest, credentials: frozenset[str]) -> RecordedRequest:
        """Return a filtered request without those ``credentials`` of the unfiltered one that the filter has removed.

        If it holds none of these, it is returned as the same object, with all its other secrets.
        """
        removed = credentials - self.learn_credentials(request)
        if not removed:
            return request
        clean = self.redact_request(request, credentials=removed)
        return request if clean == self.redact_request(request) else clean

    def redact_request(
        self,
        request: RecordedRequest,
        numbers: SecretNumbers | None = None,
        *,
        credentials: frozenset[str] = frozenset(),
    ) -> RecordedRequest:
        """Return the request without secrets: allowed header fields only; URL and body scrubbed.

        Its own credentials, and other ``credentials``, are removed from its URL and body too. Its own are also removed
        from every later response. ``numbers`` must be empty; it collects the secrets, so that they get the same numbers
        in the response.
        """
        headers, own, media = self._examine_headers_cached(request.headers, self.count_later())
        scrubber = self._known_scrubber(own)
        named = self._find_named_secrets(request, media)
        further = named.values | credentials
        if not further <= own:
            own |= further
            headers, scrubber = self._clean_headers(request.headers, own), self._known_scrubber(own)
        numbers = found_secrets.SecretNumbers() if numbers is None else numbers
        url = scrubber.scrub_url(request.url, numbers)
        if isinstance(request, StoredRequest):
            clean = _scrub_stored_request(request, scrubber, numbers)
            same = headers == request.headers and url == request.url and clean is request
            return clean if same else clean.with_parts(url, headers)
        if len(request.body) > LARGE and not named.in_form:
            body = scrubber.scrub_large_body(request.body, numbers, named.places)
        else:
            body, _ = scrubber.scrub_bytes(request.body, parameters=named.in_form, numbers=numbers, named=named.places)
        if headers == request.headers and url == request.url and body is request.body:
            return request
        return RecordedRequest(request.method, url, headers, body)

    def redact_beside_credentials(self, request: RecordedRequest) -> RecordedRequest:
        """Return the request without secrets, as if it had no header fields with credentials."""
        fields = tuple([field for field in request.headers if not may_hold_credentials(field[0])])
        return self.redact_request(request.with_parts(request.url, fields))

    def _choose_headers(self, headers: Headers) -> Headers:
        """Return the header fields that are kept, unredacted, and note the fields with credentials for later."""
        credentials = tuple([field for field in headers if may_hold_credentials(field[0])])
        if credentials:
            with self._lock:
                self._unexamined[credentials] = None
        return tuple([field for field in headers if self._is_kept(field[0])])

    def _is_kept(self, name: str) -> bool:
        return is_allowed_header(REQUEST_HEADERS, self._request_headers, name.lower())

    def _find_seen_credentials(self) -> frozenset[str]:
        """Return the credentials of every request that was seen."""
        with self._lock:
            # The call adds to `_seen_credentials`. If its result is cached, an earlier call has added the same. The
            # fields are removed after the call, so that Ctrl-C or a fork in the midst of it loses no credential.
            while self._unexamined:
                headers = next(iter(self._unexamined))
                self._examine_headers_cached(headers, self.later_count)
                self._unexamined.pop(headers, None)
            return self._seen_credentials.union(self._seen_named) if self._seen_named else self._seen_credentials

    def _find_named_secrets(self, request: RecordedRequest, media: str) -> NamedSecrets:
        """Return the secrets of a request that the names of fields and parameters mark, and remember the last ones.

        Only ``_MOST_NAMED`` are remembered, because every answer is searched for all of them. A program that reads
        pages or uploads files may send a new token with each request.
        """
        found = request_credentials.find_named_secrets(request, media)
        values = found.values.difference(self._secrets)
        with self._lock:
            for value in values - self._seen_credentials:
                self._seen_named.pop(value, None)  # so that it moves to the end, as the newest
                self._seen_named[value] = None
            while len(self._seen_named) > _MOST_NAMED:
                del self._seen_named[next(iter(self._seen_named))]
        return request_credentials.NamedSecrets(values, found.places, found.in_form)

    def _examine_headers(self, headers: Headers, later_count: int) -> tuple[Headers, frozenset[str], str]:
        """Return the header fields that are kept, without secrets, the credentials among all, and the content type.

        ``later_count`` is not read: it is in the key of the cache, because the result depends on the known secrets.
        """
        own = frozenset(value for value in request_credentials.credentials_in(headers) if value not in self._secrets)
        if own and not own <= self._seen_credentials:
            with self._lock:
                self._seen_credentials |= own
                self._seen_count += 1
        media = first_value(headers, "content-type")
        return self._clean_headers(headers, own), own, media

    def _clean_headers(self, headers: Headers, own: frozenset[str]) -> Headers:
        scrubber = self._scrubber_knowing(own)
        return tuple([(name, scrubber.scrub_text(value)) for name, value in headers if self._is_kept(name)])

    def redact_response(self, response: RecordedResponse, numbers: SecretNumbers | None = None) -> RecordedResponse:
        """Return the response without secrets. The number of chunks and their times stay.

        ``numbers`` has the secrets of its request; further secrets get the next numbers. A secret may be split over
        chunks, and over the texts of a stream's events. A chunk that is all secret may become empty.
        """
        self.count_later()
        return self._redact_answer(response, numbers)

    def redact_recorded(
        self,
        request: RecordedRequest,
        response: RecordedResponse,
        numbers: SecretNumbers,
        *,
        body_elsewhere: bool,
    ) -> tuple[RecordedRequest, RecordedResponse]:
        """Return a request, which was redacted when it was sent, and its answer without secrets.

        The request is redacted again if any secrets have come up later, because they may have done so since it was
        sent. ``numbers`` is as in ``redact_response``. ``body_elsewhere`` says that the response has a body although it
        has no chunks here.
        """
        if self.count_later():
            request = self.redact_request(request, numbers)
        return request, self._redact_answer(response, numbers, body_elsewhere=body_elsewhere)

    def _redact_answer(
        self,
        response: RecordedResponse,
        numbers: SecretNumbers | None,
        *,
        body_elsewhere: bool = False,
        known: frozenset[str] | None = None,
    ) -> RecordedResponse:
        scrubber = self._known_scrubber(self._find_seen_credentials() if known is None else known)
        numbers = found_secrets.SecretNumbers() if numbers is None else numbers
        has_body = body_elsewhere or bool(response.chunks)
        kept = answer_headers.choose_response_headers(
            response.headers, self._response_headers, has_whole_body=has_body and response.end != "broken"
        )
        headers = scrubber.scrub_fields(kept, numbers)
        cut_off = response.end != "complete"
        if response.status == SWITCHED:
            single = message_redaction.redact_single_frames(response.chunks, scrubber, numbers)
            scrub = functools.partial(scrubber.scrub_chunks, numbers=numbers, cut_off=cut_off)
            chunks = message_redaction.scrub_readable(single, scrub)
        else:
            chunks = scrubber.scrub_chunks(response.chunks, numbers, cut_off=cut_off)
        error = scrubber.scrub_text(response.error, numbers) if response.error else ""
        if headers == response.headers and chunks is response.chunks and error == response.error:
            return response
        return replace(response, headers=headers, chunks=chunks, error=error)

    def redact_single_frames(self, chunks: Sequence[RecordedChunk], numbers: SecretNumbers) -> Sequence[RecordedChunk]:
        """Return the chunks of a conversation without the secrets in frames that are redacted one by one.

        ``numbers`` numbers the placeholders. See ``message_redaction`` for which frames these are.
        """
        return message_redaction.redact_single_frames(chunks, self._scrubber_of_answers(), numbers)

    def redact_message(self, data: bytes) -> bytes:
        """Return a message of a conversation without secrets, for comparing: its placeholders have no numbers."""
        try:
            text = self.redact_text(data.decode())
        except UnicodeDecodeError:
            text = message_redaction.scrub_message(data, self._scrubber_of_answers()).decode("utf-8", "surrogateescape")
        return found_secrets.without_numbers(text).encode("utf-8", "surrogateescape")

    def redact_large_answer(self, *, is_stream: bool, numbers: SecretNumbers | None = None) -> LargeBodyRedactor:
        """Return an object that redacts the body of an answer while it arrives.

        ``is_stream`` says that the body is an event stream. ``numbers`` has the secrets of its request.
        """
        return window_redaction.LargeBodyRedactor(self._scrubber_of_answers, is_stream=is_stream, numbers=numbers)

    def redact_interaction(self, interaction: Interaction, known: frozenset[str] | None = None) -> Interaction:
        """Return the interaction without secrets. ``known`` are the credentials to remove from its answer; or all."""
        numbers = found_secrets.SecretNumbers()
        request = self.redact_request(interaction.request, numbers)
        response = self._redact_answer(interaction.response, numbers, known=known)
        if request is interaction.request and response is interaction.response:
            return interaction
        return replace(interaction, request=request, response=response)

    def holds_known_secret(self, data: bytes) -> bool:
        """Say whether a known secret stands literally in some bytes. Quick: escaped and encoded forms are not found."""
        self.count_later()
        return any(secret.encode("utf-8", "replace") in data for secret in self._secrets)

    def redact_text(self, text: str) -> str:
        """Return a text without secrets, those of requests seen so far included."""
        return self._scrubber_of_answers().scrub_text(text)

    def redact_shortened_text(self, text: str) -> str:
        """Return the report of a test without secrets, also where ``...`` stands for the middle of one."""
        parts = self._scrubber_of_answers().scrub_report(text).split("...")
        for number in range(1, len(parts)):
            around = parts[number - 1 : number + 1]
            parts[number - 1 : number + 1] = self._scrubber_of_answers().scrub_around_gap(*around)
        return "...".join(parts)

    def find_secrets(self, data: bytes) -> list[SecretFinding]:
        """Return what looks like a secret in a file, in order; each line once for each kind.

        Only the text of the file is searched. If a stream in the file delivers a secret in pieces,
        :meth:`redact_interaction` finds it, and returns another object.
        """
        found: dict[SecretFinding, None] = {}
        line, position = 1, 0
        spans = (
            *self._scrubber_of_answers().find_secrets(data),
            *secret_patterns.find_header_lines(data),
        )
        for span in sorted(span for span in spans if not secret_patterns.is_placeholder(data[span.start : span.end])):
            line += data.count(b"\n", position, span.start)
            position = span.start
            found[SecretFinding(line, span.kind)] = None
        return list(found)

    def _scrubber_of_answers(self) -> Scrubber:
        """Return a scrubber that knows the credentials of every request so far, too."""
        return self._scrubber_knowing(self._find_seen_credentials())

    def _scrubber_knowing(self, values: frozenset[str]) -> Scrubber:
        """Look for later secrets, and return a scrubber that knows these values besides the secrets of the redactor."""
        self.count_later()
        return self._known_scrubber(values)

    def _known_scrubber(self, values: frozenset[str]) -> Scrubber:
        with self._lock:
            known = self._scrubbers.get(values)
            if known is None:
                secrets = self._secrets | dict.fromkeys(values, "credentials of a request")
                known = self._scrubbers[values] = scrubbers.Scrubber(secrets, self._rules)
                if len(self._scrubbers) > _MOST_SCRUBBERS:
                    del self._scrubbers[next(iter(self._scrubbers))]
            return known


def _scrub_stored_request(request: StoredRequest, scrubber: Scrubber, numbers: SecretNumbers) -> RecordedRequest:
    if not any(part.changed for part in window_redaction.redact_pieces(request.file.pieces(), scrubber)):
        return request
    parts = window_redaction.redact_pieces(request.file.pieces(), scrubber, numbers=numbers)
    body = b"".join([part.data for part in parts])
    return RecordedRequest(request.method, request.url, request.headers, body)

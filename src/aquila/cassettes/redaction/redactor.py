"""Keeps secrets out of cassettes: header fields by tables of names, everything else by a search for secrets.

Each secret is replaced by one fixed text, before requests are compared and before anything is written. So a cassette
that one developer recorded answers the requests of another, whatever their keys.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aquila.cassettes.body_file import LARGE, StoredRequest
from aquila.cassettes.frames.frame import SWITCHED
from aquila.cassettes.model import Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.environment_secrets import environment_secrets
from aquila.cassettes.redaction.fingerprints import FingerprintRule
from aquila.cassettes.redaction.header_allowlist import (
    REQUEST_HEADERS,
    check_header_names,
    is_allowed_header,
    may_hold_credentials,
)
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.redaction import (
        found_secrets,
        frame_redaction,
        request_credentials,
        secret_patterns,
        window_redaction,
    )
    from aquila.cassettes.redaction import response_headers as answer_headers
    from aquila.cassettes.redaction import scrubber as scrubbers
    from aquila.cassettes.redaction.found_secrets import SecretNumbers
    from aquila.cassettes.redaction.request_credentials import NamedSecrets
    from aquila.cassettes.redaction.scrubber import Scrubber
    from aquila.cassettes.redaction.window_redaction import LargeBodyRedactor
else:
    lazy_modules(
        globals(),
        found_secrets="aquila.cassettes.redaction.found_secrets",
        frame_redaction="aquila.cassettes.redaction.frame_redaction",
        request_credentials="aquila.cassettes.redaction.request_credentials",
        answer_headers="aquila.cassettes.redaction.response_headers",
        window_redaction="aquila.cassettes.redaction.window_redaction",
        scrubbers="aquila.cassettes.redaction.scrubber",
        secret_patterns="aquila.cassettes.redaction.secret_patterns",
    )

Rule: TypeAlias = str | re.Pattern[str] | Callable[[str], str] | FingerprintRule
"""An added redactor: a regular expression whose matches, or first groups, are replaced; or a function on texts."""


_MOST_NAMED = 256
_MOST_SCRUBBERS = 64


class SecretFinding(NamedTuple):
    """Something that looks like a secret: its line (from 1) and its kind, never its value."""

    line: int
    kind: str


class Redactor:
    """Replaces secrets in requests and responses by ``[redacted]``.

    It knows the values of ``secrets`` (each with the kind by which findings name it), what common keys look like, and
    the credentials of every request that it has seen. ``extra`` adds rules; the built-in ones always stay. Fields
    named in ``request_headers`` and ``response_headers`` are kept besides the usual ones; fields that carry
    credentials are refused with a :class:`~aquila.errors.ConfigError`. ``find_later`` returns the secrets that have
    come up since it was called last, each with its kind: they are known from then on, whatever becomes of them.

    Redacting twice is the same as redacting once. What holds no secret is returned as the same object. Thread-safe.
    """

    def __init__(
        self,
        secrets: Mapping[str, str] | None = None,
        extra: Iterable[Rule] = (),
        *,
        request_headers: Iterable[str] = (),
        response_headers: Iterable[str] = (),
        find_later: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._secrets = dict(secrets or {})
        self._find_later = find_later
        self._later_count = 0
        self._rules = tuple(extra)
        self._request_headers = check_header_names(request_headers, "request headers to keep")
        self._response_headers = check_header_names(response_headers, "response headers to keep")
        # By the credentials that each knows besides. Made when something is searched.
        self._scrubbers: dict[frozenset[str], Scrubber] = {}
        self._lock = threading.RLock()
        self._seen_credentials: frozenset[str] = frozenset()
        # What names say to be secret in the requests so far, oldest first.
        self._seen_named: dict[str, None] = {}
        # Header fields of requests that hold credentials which are not among those yet.
        self._unexamined: dict[Headers, None] = {}
        if self._rules:
            self._scrubber_knowing(frozenset())  # now: a rule may be wrong
        # A cache, because a client sends the same header fields with all its requests.
        self._examine_headers_cached = functools.lru_cache(maxsize=256)(self._examine_headers)
        self.choose_headers = functools.lru_cache(maxsize=256)(self._choose_headers)
        """Return, of the header fields of a request, those that :meth:`redact_request` keeps, as they are.

        Its credentials are removed from every later response. Only for comparing: they must not be stored.
        """

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        extra: Iterable[Rule] = (),
        *,
        request_headers: Iterable[str] = (),
        response_headers: Iterable[str] = (),
    ) -> Redactor:
        """Build a redactor that knows the secrets of an environment, such as ``os.environ``.

        A variable holds a secret when its name says so (``*_KEY``, ``*_TOKEN``, ``*_SECRET``, ``*PASSWORD*``), and so
        does the password in a URL. Values that are short or ordinary words are left alone.
        """
        secrets = environment_secrets(environ)
        return cls(secrets, extra, request_headers=request_headers, response_headers=response_headers)

    def __repr__(self) -> str:
        return f"<Redactor: {len(self._secrets)} known values, {len(self._rules)} added rules>"

    def count_later(self) -> int:
        """Return how many secrets it has learned since it was made, after it has looked for more."""
        if self._find_later is None:
            return 0
        with self._lock:
            found = self._find_later()
            new = {value: kind for value, kind in found.items() if value not in self._secrets} if found else found
            if new:
                self._secrets = {**self._secrets, **new}
                self._scrubbers.clear()
                self._later_count += len(new)
            return self._later_count

    def basis_for_requests(self) -> tuple[object, ...]:
        """Return what decides by now how requests are redacted. Redactors with equal ones redact each the same."""
        with self._lock:
            self.count_later()
            return frozenset(self._secrets), self._rules, self._request_headers

    def redact_request(self, request: RecordedRequest, numbers: SecretNumbers | None = None) -> RecordedRequest:
        """Return the request without secrets: allowed header fields only; URL and body scrubbed.

        Its own credentials are removed from its URL and body too, and from every later response. ``numbers``, which is
        empty, takes the secrets in, so that they have the same numbers in the response.
        """
        headers, own = self._examine_headers_cached(request.headers, self.count_later())
        named = self._find_named_secrets(request)
        if not named.values <= own:
            own |= named.values
            headers = self._clean_headers(request.headers, own)
        scrubber = self._scrubber_knowing(own)
        numbers = found_secrets.SecretNumbers() if numbers is None else numbers
        url = scrubber.scrub_url(request.url, numbers)
        if isinstance(request, StoredRequest):
            clean = _scrub_stored_request(request, scrubber, numbers)
            same = headers == request.headers and url == request.url and clean is request
            return clean if same else clean.with_parts(url, headers)
        form = request.first_header("content-type").lower().startswith("application/x-www-form-urlencoded")
        if len(request.body) > LARGE and not form:
            body = scrubber.scrub_large_body(request.body, numbers, named.places)
        else:
            body, _ = scrubber.scrub_bytes(request.body, parameters=form, numbers=numbers, named=named.places)
        if headers == request.headers and url == request.url and body is request.body:
            return request
        return RecordedRequest(request.method, url, headers, body)

    def _choose_headers(self, headers: Headers) -> Headers:
        """Return the header fields that are kept, as they are. Remember those with credentials."""
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
            while self._unexamined:
                self._examine_headers_cached(self._unexamined.popitem()[0], self._later_count)
            return self._seen_credentials.union(self._seen_named) if self._seen_named else self._seen_credentials

    def _find_named_secrets(self, request: RecordedRequest) -> NamedSecrets:
        """Return what the names in a request say to be secret, and remember the last values.

        There may be many, of pages and uploads, and every answer is searched for all that are remembered.
        """
        found = request_credentials.find_named_secrets(request)
        values = found.values.difference(self._secrets)
        with self._lock:
            for value in values - self._seen_credentials:
                self._seen_named.pop(value, None)
                self._seen_named[value] = None
            while len(self._seen_named) > _MOST_NAMED:
                del self._seen_named[next(iter(self._seen_named))]
        return found._replace(values=values)

    def _examine_headers(self, headers: Headers, later_count: int) -> tuple[Headers, frozenset[str]]:
        """Return the header fields that are kept, without secrets, and the credentials among all of them.

        That depends on the secrets that it has learned: ``later_count``.
        """
        own = frozenset(value for value in request_credentials.credentials_in(headers) if value not in self._secrets)
        if own and not own <= self._seen_credentials:
            with self._lock:
                self._seen_credentials |= own
        return self._clean_headers(headers, own), own

    def _clean_headers(self, headers: Headers, own: frozenset[str]) -> Headers:
        scrubber = self._scrubber_knowing(own)
        return tuple([(name, scrubber.scrub_text(value)) for name, value in headers if self._is_kept(name)])

    def redact_response(
        self, response: RecordedResponse, numbers: SecretNumbers | None = None, *, body_elsewhere: bool = False
    ) -> RecordedResponse:
        """Return the response without secrets. The number of chunks and their times stay.

        ``numbers`` has those of its request, and the first number of the others follows these. ``body_elsewhere`` says
        that it has a body, though it has no chunks here.
        A secret may be split over chunks, and over the texts of a stream's events. A chunk that was all secret may
        become empty.
        """
        scrubber = self._scrubber_knowing(self._find_seen_credentials())
        numbers = found_secrets.SecretNumbers() if numbers is None else numbers
        has_body = body_elsewhere or bool(response.chunks)
        kept = answer_headers.choose_response_headers(
            response.headers, self._response_headers, has_whole_body=has_body and response.end != "broken"
        )
        headers = tuple([(name, scrubber.scrub_text(value, numbers, parameters=True)) for name, value in kept])

        def scrub(chunks: Sequence[RecordedChunk]) -> Sequence[RecordedChunk]:
            return scrubber.scrub_chunks(chunks, numbers, cut_off=response.end != "complete")

        if response.status == SWITCHED:
            single = frame_redaction.redact_single_frames(response.chunks, scrubber, numbers)
            chunks = frame_redaction.scrub_readable(single, scrub)
        else:
            chunks = scrub(response.chunks)
        error = scrubber.scrub_text(response.error, numbers)
        if headers == response.headers and chunks is response.chunks and error == response.error:
            return response
        return replace(response, headers=headers, chunks=chunks, error=error)

    def redact_single_frames(self, chunks: Sequence[RecordedChunk], numbers: SecretNumbers) -> Sequence[RecordedChunk]:
        """Return chunks of a conversation without the secrets in frames that are redacted each by itself."""
        return frame_redaction.redact_single_frames(
            chunks, self._scrubber_knowing(self._find_seen_credentials()), numbers
        )

    def redact_message(self, data: bytes) -> bytes:
        """Return a message without secrets, as it is compared with others: all placeholders are the same."""
        try:
            text = self.redact_text(data.decode())
        except UnicodeDecodeError:
            scrubber = self._scrubber_knowing(self._find_seen_credentials())
            text = frame_redaction.scrub_message(data, scrubber).decode("utf-8", "surrogateescape")
        return found_secrets.without_numbers(text).encode("utf-8", "surrogateescape")

    def redact_large_answer(self, *, is_stream: bool, numbers: SecretNumbers | None = None) -> LargeBodyRedactor:
        """Return what redacts the body of an answer while it arrives. ``is_stream`` says that it is an event stream.

        ``numbers`` has the secrets of its request.
        """
        return window_redaction.LargeBodyRedactor(
            lambda: self._scrubber_knowing(self._find_seen_credentials()), is_stream=is_stream, numbers=numbers
        )

    def redact_interaction(self, interaction: Interaction) -> Interaction:
        """Return the interaction without secrets."""
        numbers = found_secrets.SecretNumbers()
        request = self.redact_request(interaction.request, numbers)
        response = self.redact_response(interaction.response, numbers)
        if request is interaction.request and response is interaction.response:
            return interaction
        return replace(interaction, request=request, response=response)

    def holds_known_secret(self, data: bytes) -> bool:
        """Whether a secret that it was made for is in some bytes, as it is. A quick look: no search for all forms."""
        self.count_later()
        return any(secret.encode("utf-8", "replace") in data for secret in self._secrets)

    def redact_text(self, text: str) -> str:
        """Return a text without secrets, those of requests seen so far included."""
        return self._scrubber_knowing(self._find_seen_credentials()).scrub_text(text)

    def redact_shortened_text(self, text: str) -> str:
        """Return a text without secrets, in which ``...`` may stand for the middle of one, as in a shortened repr."""
        parts = self.redact_text(text).split("...")
        for number in range(1, len(parts)):
            parts[number - 1 : number + 1] = self._scrubber_knowing(self._find_seen_credentials()).scrub_around_gap(
                *parts[number - 1 : number + 1]
            )
        return "...".join(parts)

    def find_secrets(self, data: bytes) -> list[SecretFinding]:
        """Report what looks like a secret in a file, in order; each line once for each kind.

        This looks at the text of the file. A secret that a stream in it delivers in pieces is found by
        :meth:`redact_interaction`, which then returns another object.
        """
        found: dict[SecretFinding, None] = {}
        line, position = 1, 0
        for span in sorted(
            (
                *self._scrubber_knowing(self._find_seen_credentials()).find_secrets(data),
                *secret_patterns.find_header_lines(data),
            )
        ):
            line += data.count(b"\n", position, span.start)
            position = span.start
            found[SecretFinding(line, span.kind)] = None
        return list(found)

    def _scrubber_knowing(self, values: frozenset[str]) -> Scrubber:
        """Return a scrubber that knows these values too."""
        self.count_later()
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

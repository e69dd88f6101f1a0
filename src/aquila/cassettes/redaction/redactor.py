"""Keeps secrets out of cassettes: headers by an allow list, everything else by a search for secrets.

Each secret is replaced by one fixed text, before requests are compared and before anything is written. So a cassette
that one developer recorded answers the requests of another, whatever their keys.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from aquila.cassettes.body_file import LARGE, PREFIX, StoredChunks, StoredRequest, looks_like_event_stream
from aquila.cassettes.model import Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.redaction.decoded_views import DecodedView, decoded_views, widen_to_whole_escapes
from aquila.cassettes.redaction.found_secrets import (
    PLACEHOLDER,
    FoundSecret,
    is_in_placeholder,
    merge_found,
    replace_found,
)
from aquila.cassettes.redaction.header_allowlist import (
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RESPONSE_PATTERNS,
    check_header_names,
    is_allowed_header,
)
from aquila.cassettes.redaction.known_secrets import KnownSecrets, credentials_in, environment_secrets
from aquila.cassettes.redaction.large_bodies import LargeBodyRedactor, find_in_window, redact_pieces
from aquila.cassettes.redaction.secret_patterns import find_header_lines, find_secret_patterns, flatten_tokens
from aquila.cassettes.redaction.split_text import find_split_secrets
from aquila.errors import ConfigError

Rule: TypeAlias = str | re.Pattern[str] | Callable[[str], str]
"""An added redactor: a regular expression whose matches, or first groups, are replaced; or a function on texts."""

_DEPTH = 3  # layers of encoding that are looked through, such as JSON in a JSON string in a URL
_PASSES = 8  # times that a text is searched; replacing one secret may bring another together
_MANY_WORDS = 4000
_USERINFO = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#]*@")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks like a secret: its line (from 1) and its kind, never its value."""

    line: int
    kind: str


class _Scrubber:
    """Finds and replaces secrets in bytes and texts, through the encodings that may hide them."""

    def __init__(self, secrets: Mapping[str, str], rules: Sequence[Rule]) -> None:
        self._known = KnownSecrets(secrets.items())
        self._patterns = [_compile_rule(rule) for rule in rules if isinstance(rule, str | re.Pattern)]
        self._functions = [rule for rule in rules if not isinstance(rule, str | re.Pattern)]
        # A cache, because all requests bring the same header values and URLs. It lives as long as the scrubber.
        self._short_text = functools.lru_cache(maxsize=1024)(self._scrub_any_text)
        self.scrub_url = functools.lru_cache(maxsize=1024)(self._scrub_any_url)

    def find_secrets(self, data: bytes, *, parameters: bool = False) -> list[FoundSecret]:
        """Find every secret. Return merged places in order."""
        return self._find_through(data, None, parameters=parameters, depth=_DEPTH)

    def _find_through(
        self, data: bytes, view: DecodedView | None, *, parameters: bool, depth: int
    ) -> list[FoundSecret]:
        """Find secrets in the decoded bytes of a view, or in those of a body, and in ``depth`` views of them."""
        flat = flatten_tokens(data)
        found = [*self._known.find_in(data, flat), *find_secret_patterns(data, flat, parameters=parameters)]
        for pattern in self._patterns:
            matches = (match.span(1 if pattern.groups else 0) for match in pattern.finditer(data))
            found += [FoundSecret(*span, "added pattern") for span in matches if not is_in_placeholder(data, *span)]
        if found:
            found = [
                FoundSecret(*widen_to_whole_escapes(data, *one[:2], view), *one[2:])
                for one in found
                if 0 <= one.start < one.end
            ]
        if depth:
            for inner in decoded_views(data, ascii_only=self._known.ascii_only, outer=view):
                for one in self._find_through(inner.data, inner, parameters=parameters, depth=depth - 1):
                    found.append(FoundSecret(*inner.locate_in_raw(*one[:2]), *one[2:]))
        return merge_found(found) if found else found

    def scrub_bytes(
        self,
        data: bytes,
        *,
        parameters: bool = False,
        cuts: Sequence[int] = (),
        split: bool = False,
        cut_off: bool = False,
        large: bool = False,
    ) -> tuple[bytes, Sequence[int]]:
        """Scrub bytes and move the cuts along.

        With ``split``, texts that come in pieces are searched too. With ``cut_off``, a secret may lack its end.
        ``large`` says that the bytes are a window of a large body.
        """

        def find(text: bytes) -> list[FoundSecret]:
            spans = find_in_window(text, self) if large else self.find_secrets(text, parameters=parameters)
            return merge_found((*spans, *self._known.find_cut_off_end(text))) if cut_off else spans

        for _ in range(_PASSES):
            spans = find(data)
            if split:
                spans = merge_found(itertools.chain(spans, *find_split_secrets(data, find)))
            if not spans:
                break
            before = data
            data, cuts = replace_found(data, spans, cuts)
            if data == before:
                break
        for function in self._functions:
            changes = functools.partial(_find_changes, function)
            if spans := changes(data):
                data, cuts = replace_found(data, spans, cuts)
            if split and (spans := merge_found(itertools.chain(*find_split_secrets(data, changes)))):
                data, cuts = replace_found(data, spans, cuts)
        return data, cuts

    @property
    def changes_texts(self) -> bool:
        """Whether there are rules that are functions, which every text must go through."""
        return bool(self._functions)

    def find_outside_texts(self, data: bytes, shortest: int) -> list[FoundSecret]:
        """Find the known values that are no text of at least ``shortest`` characters."""
        return merge_found(self._known.find_outside_texts(data, shortest))

    def find_split_secrets(self, data: bytes) -> list[list[FoundSecret]]:
        """Find the secrets that are split over the events of a window of a stream: for each the places of its parts."""
        return find_split_secrets(data, lambda text: find_in_window(text, self))

    def scrub_large_body(self, body: bytes) -> bytes:
        """Scrub a large body. One without secrets is returned as the same object."""
        clean = b"".join([part.data for part in redact_pieces([body], self)])
        return body if clean == body else clean

    def scrub_chunks(self, chunks: Sequence[RecordedChunk], *, cut_off: bool) -> Sequence[RecordedChunk]:
        """Scrub the body that the chunks make together. With ``cut_off`` it broke off."""
        if isinstance(chunks, StoredChunks):
            return self._scrub_stored_chunks(chunks, cut_off=cut_off)
        body = b"".join(chunk.data for chunk in chunks)
        ends = list(itertools.accumulate(len(chunk.data) for chunk in chunks))
        clean, moved = self.scrub_bytes(body, cuts=ends, split=True, cut_off=cut_off)
        if clean is body:
            return chunks
        return _cut_again(clean, moved, [chunk.at for chunk in chunks])

    def _scrub_stored_chunks(self, chunks: StoredChunks, *, cut_off: bool) -> Sequence[RecordedChunk]:
        """Scrub a body that lies in a file. If it holds no secret, as any that was recorded, nothing is kept of it."""
        is_stream = looks_like_event_stream(chunks.file.first_bytes(64))
        pieces = (chunk.data for chunk in chunks)
        parts = redact_pieces(pieces, self, is_stream=is_stream, cut_off=cut_off)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.data)
        if chunks.file.name == PREFIX + digest.hexdigest():
            return chunks
        clean: list[bytes] = []
        ends: list[int] = []
        size = 0
        pieces = (chunk.data for chunk in chunks)
        for part in redact_pieces(pieces, self, is_stream=is_stream, cut_off=cut_off):
            clean.append(part.data)
            ends += [size + end for end in part.ends]
            size += len(part.data)
        return _cut_again(b"".join(clean), ends, chunks.times())

    def scrub_text(self, text: str) -> str:
        """Scrub a text."""
        return self._short_text(text) if len(text) < 256 else self._scrub_any_text(text)

    def scrub_around_gap(self, before: str, after: str) -> tuple[str, str]:
        """Scrub what is left of known values around a place where a text was shortened."""
        left, right = (text.encode("utf-8", "surrogatepass") for text in (before, after))
        left, _ = replace_found(left, merge_found(self._known.find_cut_off_end(left)), ())
        right, _ = replace_found(right, merge_found(self._known.find_cut_off_start(right)), ())
        return left.decode("utf-8", "surrogatepass"), right.decode("utf-8", "surrogatepass")

    def _scrub_any_text(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        clean, _ = self.scrub_bytes(data)
        return text if clean is data else clean.decode("utf-8", "surrogatepass")

    def _scrub_any_url(self, url: str) -> str:
        data = _USERINFO.sub(r"\1", url).encode("utf-8", "surrogatepass")
        clean, _ = self.scrub_bytes(data, parameters=True)
        # Brackets outside the query make a URL that cannot be split.
        text = clean.replace(PLACEHOLDER, b"%5Bredacted%5D").decode("utf-8", "surrogatepass")
        return url if text == url else text


class Redactor:
    """Replaces secrets in requests and responses by ``[redacted]``.

    It knows the values of ``secrets`` (each with the kind by which findings name it), what common keys look like, and
    the credentials of every request that it has seen. ``extra`` adds rules; the built-in ones always stay. Fields
    named in ``request_headers`` and ``response_headers`` are kept besides the usual ones; fields that carry
    credentials are refused with a :class:`~aquila.errors.ConfigError`.

    Redacting twice is the same as redacting once. What holds no secret is returned as the same object. Thread-safe.
    """

    def __init__(
        self,
        secrets: Mapping[str, str] | None = None,
        extra: Iterable[Rule] = (),
        *,
        request_headers: Iterable[str] = (),
        response_headers: Iterable[str] = (),
    ) -> None:
        self._secrets = dict(secrets or {})
        self._rules = tuple(extra)
        self._request_headers = check_header_names(request_headers, "request headers to keep")
        self._response_headers = check_header_names(response_headers, "response headers to keep")
        self._scrubber = _Scrubber(self._secrets, self._rules)
        self._lock = threading.Lock()
        self._seen_credentials: frozenset[str] = frozenset()
        self._scrubber_by_credentials: dict[frozenset[str], _Scrubber] = {}
        # A cache, because a client sends the same header fields with all its requests.
        self._examine_headers_cached = functools.lru_cache(maxsize=256)(self._examine_headers)

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

    def redact_request(self, request: RecordedRequest) -> RecordedRequest:
        """Return the request without secrets: allowed header fields only; URL and body scrubbed.

        Its own credentials are removed from its URL and body too, and from every later response.
        """
        headers, own = self._examine_headers_cached(request.headers)
        scrubber = self._scrubber_knowing(own)
        url = scrubber.scrub_url(request.url)
        if isinstance(request, StoredRequest):
            clean = _scrub_stored_request(request, scrubber)
            same = headers == request.headers and url == request.url and clean is request
            return clean if same else clean.with_parts(url, headers)
        form = request.first_header("content-type").lower().startswith("application/x-www-form-urlencoded")
        if len(request.body) > LARGE and not form:
            body = scrubber.scrub_large_body(request.body)
        else:
            body, _ = scrubber.scrub_bytes(request.body, parameters=form)
        if headers == request.headers and url == request.url and body is request.body:
            return request
        return RecordedRequest(request.method, url, headers, body)

    def with_kept_headers(self, request: RecordedRequest) -> RecordedRequest:
        """Return the request with the header fields that :meth:`redact_request` keeps. URL and body stay as they are.

        Its credentials are removed from every later response. Only for comparing: it must not be stored.
        """
        headers, _ = self._examine_headers_cached(request.headers)
        return request if headers == request.headers else request.with_parts(request.url, headers)

    def _examine_headers(self, headers: Headers) -> tuple[Headers, frozenset[str]]:
        """Return the header fields that are kept, without secrets, and the credentials among all of them."""
        own = frozenset(value for value in credentials_in(headers) if value not in self._secrets)
        if own and not own <= self._seen_credentials:
            with self._lock:
                self._seen_credentials |= own
        return _keep_allowed_headers(headers, REQUEST_HEADERS, self._request_headers, self._scrubber_knowing(own)), own

    def redact_response(self, response: RecordedResponse) -> RecordedResponse:
        """Return the response without secrets. The number of chunks and their times stay.

        A secret may be split over chunks, and over the texts of a stream's events. A chunk that was all secret may
        become empty.
        """
        scrubber = self._scrubber_knowing(self._seen_credentials)
        patterns = (*RESPONSE_PATTERNS, *self._response_headers)
        headers = _keep_allowed_headers(response.headers, RESPONSE_HEADERS, patterns, scrubber)
        chunks = scrubber.scrub_chunks(response.chunks, cut_off=response.end != "complete")
        error = scrubber.scrub_text(response.error)
        if headers == response.headers and chunks is response.chunks and error == response.error:
            return response
        return replace(response, headers=headers, chunks=chunks, error=error)

    def redact_large_answer(self, *, is_stream: bool) -> LargeBodyRedactor:
        """Return what redacts the body of an answer while it arrives. ``is_stream`` says that it is an event stream."""
        return LargeBodyRedactor(self._scrubber_knowing(self._seen_credentials), is_stream=is_stream)

    def redact_interaction(self, interaction: Interaction) -> Interaction:
        """Return the interaction without secrets."""
        request = self.redact_request(interaction.request)
        response = self.redact_response(interaction.response)
        if request is interaction.request and response is interaction.response:
            return interaction
        return replace(interaction, request=request, response=response)

    def redact_text(self, text: str) -> str:
        """Return a text without secrets, those of requests seen so far included."""
        return self._scrubber_knowing(self._seen_credentials).scrub_text(text)

    def redact_shortened_text(self, text: str) -> str:
        """Return a text without secrets, in which ``...`` may stand for the middle of one, as in a shortened repr."""
        parts = self.redact_text(text).split("...")
        for number in range(1, len(parts)):
            parts[number - 1 : number + 1] = self._scrubber_knowing(self._seen_credentials).scrub_around_gap(
                *parts[number - 1 : number + 1]
            )
        return "...".join(parts)

    def find_secrets(self, data: bytes) -> list[Finding]:
        """Report what looks like a secret in a file, in order; each line once for each kind.

        This looks at the text of the file. A secret that a stream in it delivers in pieces is found by
        :meth:`redact_interaction`, which then returns another object.
        """
        found: dict[Finding, None] = {}
        line, position = 1, 0
        for span in sorted(
            (*self._scrubber_knowing(self._seen_credentials).find_secrets(data), *find_header_lines(data))
        ):
            line += data.count(b"\n", position, span.start)
            position = span.start
            found[Finding(line, span.kind)] = None
        return list(found)

    def _scrubber_knowing(self, values: frozenset[str]) -> _Scrubber:
        """Return a scrubber that knows these values too."""
        if not values:
            return self._scrubber
        with self._lock:
            if values not in self._scrubber_by_credentials:
                secrets = self._secrets | dict.fromkeys(values, "credentials of a request")
                self._scrubber_by_credentials[values] = _Scrubber(secrets, self._rules)
            return self._scrubber_by_credentials[values]


def _scrub_stored_request(request: StoredRequest, scrubber: _Scrubber) -> RecordedRequest:
    digest = hashlib.sha256()
    for part in redact_pieces(request.file.pieces(), scrubber):
        digest.update(part.data)
    if request.file.name == PREFIX + digest.hexdigest():
        return request
    body = b"".join([part.data for part in redact_pieces(request.file.pieces(), scrubber)])
    return RecordedRequest(request.method, request.url, request.headers, body)


def _cut_again(body: bytes, ends: Sequence[int], times: Sequence[int]) -> tuple[RecordedChunk, ...]:
    bounds = itertools.pairwise((0, *ends))
    return tuple(RecordedChunk(body[start:end], at) for at, (start, end) in zip(times, bounds, strict=True))


def _keep_allowed_headers(
    headers: Headers, allowed: frozenset[str], added: Sequence[str], scrubber: _Scrubber
) -> Headers:
    return tuple(
        (name, scrubber.scrub_text(value)) for name, value in headers if is_allowed_header(allowed, added, name.lower())
    )


def _compile_rule(rule: str | re.Pattern[str]) -> re.Pattern[bytes]:
    try:
        if isinstance(rule, str):
            return re.compile(rule.encode())
        return re.compile(rule.pattern.encode(), rule.flags & ~re.UNICODE)
    except re.error as error:
        raise ConfigError(f"redact: {rule!r} is not a regular expression: {error}.") from None


def _count_common(old: Sequence[str], new: Sequence[str]) -> int:
    """Count the words at the beginning that are the same in both."""
    return next((at for at, (one, other) in enumerate(zip(old, new)) if one != other), min(len(old), len(new)))  # noqa: B905 - of two lengths


def _find_changes(function: Callable[[str], str], data: bytes) -> list[FoundSecret]:
    """Return what a function changes. The places are exact, because chunks are cut between them."""
    before = data.decode("utf-8", "surrogateescape")
    after = function(before)
    if after == before:
        return []
    old, new = (re.findall(r"\w+|\W", text) for text in (before, after))
    # What is the same at both ends is left out, and of a long text frequent words: comparing them all takes hours.
    ahead = _count_common(old, new)
    behind = _count_common(old[ahead:][::-1], new[ahead:][::-1])
    start = len("".join(old[:ahead]).encode("utf-8", "surrogateescape"))
    old, new = old[ahead : len(old) - behind], new[ahead : len(new) - behind]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=len(old) + len(new) > _MANY_WORDS)
    offsets = [start]
    for word in old:
        offsets.append(offsets[-1] + len(word.encode("utf-8", "surrogateescape")))
    return [
        FoundSecret(offsets[a], offsets[b], "added rule", "".join(new[c:d]).encode("utf-8", "surrogateescape"))
        for tag, a, b, c, d in matcher.get_opcodes()
        if tag != "equal"
    ]

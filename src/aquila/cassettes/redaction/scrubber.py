"""Finds and replaces secrets in bytes and texts.

Loaded by the first search. A replay whose requests equal the recorded ones never searches.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Headers, RecordedChunk
from aquila.cassettes.redaction.fingerprints import FingerprintRule
from aquila.cassettes.redaction.found_secrets import (
    FoundSecret,
    SecretNumbers,
    escape_placeholders,
    is_in_placeholder,
    merge_found,
    replace_found,
)
from aquila.cassettes.redaction.known_secrets import FEW, KnownSecrets, Needle
from aquila.cassettes.redaction.secret_patterns import FLATTENING, RUN, find_secret_patterns
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern

if TYPE_CHECKING:
    from aquila.cassettes import amazon_frames
    from aquila.cassettes.redaction import decoded_views as views
    from aquila.cassettes.redaction import text_changes
    from aquila.cassettes.redaction import window_redaction as windows
    from aquila.cassettes.redaction.decoded_views import DecodedView
    from aquila.cassettes.redaction.redactor import Rule
    from aquila.cassettes.redaction.split_secrets import aws_frames, split_text, stream_events
else:
    # What only answers that stream, and texts with escapes, need.
    lazy_modules(
        globals(),
        "aquila.cassettes: amazon_frames",
        "aquila.cassettes.redaction: decoded_views as views, text_changes, window_redaction as windows",
        "aquila.cassettes.redaction.split_secrets: aws_frames, split_text, stream_events",
    )

# An escape that a gap may have cut in two: how much of it is left at most, and of which bytes it consists.
_LONGEST_REST = len(r"\U0001f600") - 1
_IN_ESCAPES = bytes(code for code in range(128) if chr(code).isalnum()) + b";\"'\\/"
# Escapes of characters that need none, so that any secret may be written with them.
_NEEDLESS = lazy_pattern(rb"\\(?:u00[2-7]|/)")
_NEEDLESS_IN_UNICODE = lazy_pattern(rb"\\(?:u[0-9a-fA-F]|/)")
_TAIL = 16 * 1024  # bytes at the end of a body that broke off, in which the beginning of a secret is searched
_HEAD = 4 * 1024  # bytes behind a gap, in which the end of a secret is searched
_PASSES = 8  # times that a text is searched at most; replacing one secret may join the parts of another
_USERINFO = lazy_pattern(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#]*@")


class Scrubber:
    """Finds and replaces secrets in bytes and texts, through the encodings that may hide them.

    ``secrets`` are known values with their kinds, ``rules`` those that a user adds. Threads may share it: but for
    caches it is not changed after it is built. Raises ``ConfigError`` for a rule that is no regular expression.
    """

    def __init__(self, secrets: Mapping[str, str], rules: Sequence[Rule]) -> None:
        self._known = KnownSecrets(secrets.items())
        self._patterns = [_compile_rule(rule) for rule in rules if isinstance(rule, str | re.Pattern)]
        self._fingerprints = [rule for rule in rules if isinstance(rule, FingerprintRule)]
        self._needless = _NEEDLESS_IN_UNICODE if self._patterns else _NEEDLESS
        self._functions = [rule for rule in rules if not isinstance(rule, str | re.Pattern | FingerprintRule)]
        self._last_clean = b""  # the hash of the last large body that had no secrets
        # Caches, because all requests bring the same header values and URLs. They live as long as the scrubber.
        self._short_text = functools.lru_cache(maxsize=1024)(self._scrub_any_text)
        self._number_url = functools.lru_cache(maxsize=1024)(self._scrub_any_url)

    def find_secrets(self, data: bytes, *, parameters: bool = False) -> list[FoundSecret]:
        """Find every secret, through the escapes that may hide it. Return merged places in order."""
        if b"\\" in data or b"%" in data or b"&" in data:
            find = functools.partial(self._find_written, parameters=parameters)
            return _find_in(views.readings_of(data, self._may_hide), find)
        found = self._find_written(data, parameters=parameters)  # there is nothing to decode
        return merge_found(found) if found else found

    def _may_hide(self, data: bytes) -> bool:
        """Say whether backslashes in ``data`` may hide a secret."""
        return self._needless.search(data) is not None or self._known.may_be_escaped_in(data)

    def _find_written(self, data: bytes, *, parameters: bool) -> list[FoundSecret]:
        """Find the secrets that stand in ``data`` without escapes."""
        flat = data.translate(FLATTENING)
        has_run = RUN in flat
        found = [*find_secret_patterns(data, flat, has_run=has_run, parameters=parameters)]
        needles: Sequence[Needle] = self._known.needles if has_run else self._known.needles_without_run
        if len(needles) > FEW:
            needles = self._known.choose_needles(data)
        for needle in needles:
            if needle.text in data:  # hardly any is, and this test is much faster than `find_in`
                found += needle.find_in(data)
        if self._patterns or self._fingerprints:
            found += self._find_added(data)
        return found

    def _find_added(self, data: bytes) -> Iterator[FoundSecret]:
        """Find what added patterns and fingerprints say is secret."""
        # Patterns of users are matched against text, so that `\w` matches an umlaut, which has two bytes.
        text = data.decode("utf-8", "surrogateescape") if self._patterns else ""
        for pattern in self._patterns:
            spans = (match.span(1 if pattern.groups else 0) for match in pattern.finditer(text))
            for span in spans if data.isascii() else _places_in_bytes(text, spans):
                if span[0] < span[1] and not is_in_placeholder(data, *span):
                    yield FoundSecret(*span, "added pattern")
        for rule in self._fingerprints:
            yield from rule.find_in(data)

    def scrub_bytes(
        self,
        data: bytes,
        *,
        parameters: bool = False,
        cuts: Sequence[int] = (),
        split: bool = False,
        cut_off: bool = False,
        large: bool = False,
        numbers: SecretNumbers | None = None,
        named: Sequence[FoundSecret] = (),
    ) -> tuple[bytes, Sequence[int]]:
        """Replace the secrets in ``data``. Return the clean bytes, and the offsets ``cuts`` as they are in them.

        ``numbers`` numbers the placeholders; without it they are all the same. With ``parameters`` the data is a URL or
        a form. With ``split``, texts that come in pieces are searched too. With ``cut_off`` the data broke off, so that
        a secret at its end may be incomplete. ``large`` says that the data is a window of a large body. ``named`` are
        the places that the names of fields mark as secret. Returns the same object if nothing was replaced.
        """

        def find(text: bytes) -> list[FoundSecret]:
            spans = windows.find_in_window(text, self) if large else self.find_secrets(text, parameters=parameters)
            return merge_found((*spans, *self._find_cut_off_end(text))) if cut_off else spans

        for _ in range(_PASSES):
            spans = merge_found((*find(data), *named)) if named else find(data)
            named = ()  # their places are in the data of the first pass only
            if split and (parts := split_text.find_split_secrets(data, find, cut_off=cut_off)):
                spans = merge_found(itertools.chain(spans, *parts))
            if not spans:
                break
            before = data
            if numbers is not None:
                spans = numbers.number_found(data, spans)
            data, cuts = replace_found(data, spans, cuts)
            if data == before:
                break
        for function in self._functions:
            changes = functools.partial(text_changes.find_changes, function)
            if spans := changes(data):
                data, cuts = replace_found(data, spans, cuts)
            if split and (spans := merge_found(itertools.chain(*split_text.find_split_secrets(data, changes)))):
                data, cuts = replace_found(data, spans, cuts)
        return data, cuts

    def scrub_body(
        self,
        data: bytes,
        *,
        cuts: Sequence[int] = (),
        cut_off: bool = False,
        large: bool = False,
        numbers: SecretNumbers | None = None,
    ) -> tuple[bytes, Sequence[int]]:
        """Scrub a body whose texts may come in pieces, as events or as frames of AWS.

        Parameters and result are as in ``scrub_bytes``.
        """

        def scrub(text: bytes, places: Sequence[int], in_pieces: bool) -> tuple[bytes, Sequence[int]]:
            return self.scrub_bytes(text, cuts=places, split=in_pieces, cut_off=cut_off, large=large, numbers=numbers)

        if data[:1] >= b" " or not amazon_frames.begins_with_frame(data):  # it begins with its length
            return scrub(data, cuts, True)
        changes = aws_frames.find_changes_in_frames(data, scrub)
        return replace_found(data, changes, cuts) if changes else (data, cuts)

    def _find_cut_off_end(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the beginning of a known value at the end of ``data``, in which any escape may hide it."""
        start = max(0, len(data) - _TAIL)
        for view in views.readings_of(data[start:], cut_off=True):
            # What looks like half an escape may also belong to the value.
            for text in {view.data, views.without_half_escape(view.data)}:
                for one in self._known.find_cut_off_end(text):
                    begin, _ = view.locate_in_body(one.start, one.end)
                    yield one._replace(start=start + begin, end=len(data), value=text[one.start :])

    def _find_cut_off_start(self, data: bytes) -> Iterator[FoundSecret]:
        """Find the end of a known value at the beginning of ``data``, also where an escape is cut in two."""
        data = data[:_HEAD]
        rest = data[:_LONGEST_REST]
        rest = rest[: len(rest) - len(rest.lstrip(_IN_ESCAPES))]
        for start in range(min(len(rest) + 1, len(data))):
            for view in views.readings_of(data[start:]):
                for one in self._known.find_cut_off_start(view.data):
                    yield one._replace(end=start + view.locate_in_body(one.start, one.end)[1])

    @property
    def changes_texts(self) -> bool:
        """Whether there are rules that are functions, which every text must go through."""
        return bool(self._functions)

    def find_outside_texts(self, data: bytes, shortest: int, printable: bytes) -> list[FoundSecret]:
        """Find the secrets in binary data that a search in its texts does not find.

        These texts are ``shortest`` bytes or more that are all ``printable``. The secrets are the matches of added
        rules, and known values that are shorter or no such text.
        """

        def find(text: bytes) -> Iterator[FoundSecret]:
            yield from self._known.find_outside_texts(text, shortest, printable)
            yield from self._find_added(text)

        return _find_in(views.readings_of(data, self._known.may_be_escaped_in, notations=views.BACKSLASHES), find)

    def find_split_secrets(self, data: bytes) -> list[list[FoundSecret]]:
        """Find the secrets that are split over events in a window of a stream: for each, the places of its parts."""

        def find(text: bytes) -> list[FoundSecret]:
            return windows.find_in_window(text, self)

        if amazon_frames.begins_with_frame(data):
            return aws_frames.find_in_frames(data, find, lambda text: split_text.find_split_secrets(text, find))
        return split_text.find_split_secrets(data, find)

    def scrub_large_body(self, body: bytes, numbers: SecretNumbers, named: Sequence[FoundSecret] = ()) -> bytes:
        """Return a large body without secrets, the same object if it has none. ``named`` is as in ``scrub_bytes``."""
        if named:
            body, _ = replace_found(body, numbers.number_found(body, merge_found(named)))
        digest = hashlib.sha256(body).digest()  # ten times as fast as the search; a miss asks several times
        if digest == self._last_clean:
            return body
        clean = b"".join([part.data for part in windows.redact_pieces([body], self, numbers=numbers)])
        if clean != body:
            return clean
        self._last_clean = digest
        return body

    def scrub_chunks(
        self, chunks: Sequence[RecordedChunk], numbers: SecretNumbers, *, cut_off: bool
    ) -> Sequence[RecordedChunk]:
        """Return chunks without secrets, also without secrets that are split over them.

        ``cut_off`` says that the body broke off. The number of chunks and their times stay. Returns the same object if
        there is no secret.
        """
        if isinstance(chunks, StoredChunks):
            return self._scrub_stored_chunks(chunks, numbers, cut_off=cut_off)
        body = b"".join(chunk.data for chunk in chunks)
        ends = list(itertools.accumulate(len(chunk.data) for chunk in chunks))
        clean, moved = self.scrub_body(body, cuts=ends, cut_off=cut_off, numbers=numbers)
        if clean is body:
            return chunks
        return _cut_again(clean, moved, [chunk.at for chunk in chunks])

    def _scrub_stored_chunks(
        self, chunks: StoredChunks, numbers: SecretNumbers, *, cut_off: bool
    ) -> Sequence[RecordedChunk]:
        """Scrub a body in a file, in two passes: the first, without keeping anything, finds out whether it has secrets.

        A body that Aquila recorded has none, so the second pass is for files from elsewhere.
        """
        is_stream = stream_events.may_come_in_pieces(chunks.file.first_bytes(stream_events.BEGINNING))
        pieces = (chunk.data for chunk in chunks)
        if not any(part.changed for part in windows.redact_pieces(pieces, self, is_stream=is_stream, cut_off=cut_off)):
            return chunks
        clean: list[bytes] = []
        ends: list[int] = []
        size = 0
        pieces = (chunk.data for chunk in chunks)
        for part in windows.redact_pieces(pieces, self, is_stream=is_stream, cut_off=cut_off, numbers=numbers):
            clean.append(part.data)
            ends += [size + end for end in part.ends]
            size += len(part.data)
        return _cut_again(b"".join(clean), ends, chunks.times())

    def scrub_text(self, text: str, numbers: SecretNumbers | None = None, *, parameters: bool = False) -> str:
        """Return a text without secrets. ``numbers`` numbers the placeholders; without it they are all the same.

        With ``parameters`` the text may be a URL: the names of parameters then mark even short values as secret.
        """
        if parameters and "=" in text:
            return self._scrub_any_text(text, numbers, parameters=True)
        clean = self._short_text(text) if len(text) < 256 else self._scrub_any_text(text)
        return clean if numbers is None or clean == text else self._scrub_any_text(text, numbers)

    def scrub_report(self, text: str) -> str:
        """Return the report of a test without secrets, also where ``pprint`` or a colour has broken one."""
        data = text.encode("utf-8", "surrogatepass")
        finds: list[Callable[[bytes], list[FoundSecret]]] = [self.find_secrets]
        finds += [functools.partial(text_changes.find_changes, function) for function in self._functions]
        for find in finds:  # before the search for whole ones, which takes the first line of a private key away
            data, _ = replace_found(data, _find_in(views.readings_of_report(data), find))
        return self.scrub_text(data.decode("utf-8", "surrogatepass"))

    def scrub_fields(self, fields: Headers, numbers: SecretNumbers) -> Headers:
        """Scrub the values of header fields of an answer."""
        return tuple([(name, self.scrub_text(value, numbers, parameters=True)) for name, value in fields])

    def scrub_url(self, url: str, numbers: SecretNumbers) -> str:
        """Return the URL of a request without secrets. They get the first numbers, so ``numbers`` must be empty."""
        # The cached result has numbers from 1 on, which is why the URL is scrubbed before headers and body.
        clean, values = self._number_url(url)
        for value in values:
            numbers.placeholder_for(value)
        return clean

    def scrub_around_gap(self, before: str, after: str) -> tuple[str, str]:
        """Remove what is left of known values at the end of ``before`` and at the start of ``after``.

        The two are the parts of a text around the place where it was shortened.
        """
        left, right = (text.encode("utf-8", "surrogatepass") for text in (before, after))
        left, _ = replace_found(left, merge_found(self._find_cut_off_end(left)))
        right, _ = replace_found(right, merge_found(self._find_cut_off_start(right)))
        return left.decode("utf-8", "surrogatepass"), right.decode("utf-8", "surrogatepass")

    def _scrub_any_text(self, text: str, numbers: SecretNumbers | None = None, *, parameters: bool = False) -> str:
        data = text.encode("utf-8", "surrogatepass")
        clean, _ = self.scrub_bytes(data, parameters=parameters, numbers=numbers)
        return text if clean is data else clean.decode("utf-8", "surrogatepass")

    def _scrub_any_url(self, url: str) -> tuple[str, tuple[bytes, ...]]:
        numbers = SecretNumbers()
        data = _USERINFO.sub(r"\1", url).encode("utf-8", "surrogatepass")
        clean, _ = self.scrub_bytes(data, parameters=True, numbers=numbers)
        # `urlsplit` refuses URLs with brackets in the host, so placeholders are percent-encoded.
        text = escape_placeholders(clean).decode("utf-8", "surrogatepass")
        return url if text == url else text, numbers.values


def _find_in(readings: Iterable[DecodedView], find: Callable[[bytes], Iterable[FoundSecret]]) -> list[FoundSecret]:
    """Call ``find`` for all readings of some data. Return the merged places in that data."""
    found: list[FoundSecret] = []
    for view in readings:
        here = (
            one._replace(start=start, end=end)
            for one in find(view.data)
            for start, end in [views.widen_to_whole_escapes(view, one.start, one.end)]
        )
        for one in merge_found(here):
            start, end = view.locate_in_body(one.start, one.end)
            # The value without escapes, so that the secret has one number however it is written.
            found.append(one._replace(start=start, end=end, value=one.value or view.data[one.start : one.end]))
    return merge_found(found)


def _cut_again(body: bytes, ends: Sequence[int], times: Sequence[int]) -> tuple[RecordedChunk, ...]:
    bounds = itertools.pairwise((0, *ends))
    return tuple(RecordedChunk(body[start:end], at) for at, (start, end) in zip(times, bounds, strict=True))


def _places_in_bytes(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield start and end, in the bytes of a text, of stretches of the text. A group without a match is left out."""
    at = place = 0
    for start, end in spans:
        if start < 0:
            continue
        if start < at:  # the group of a lookahead may begin before the group of the previous match
            at = place = 0
        place += len(text[at:start].encode("utf-8", "surrogateescape"))
        at = start
        yield place, place + len(text[start:end].encode("utf-8", "surrogateescape"))


def _compile_rule(rule: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(rule)
    except re.error as error:
        raise ConfigError(f"redact: {rule!r} is not a regular expression: {error}.") from None

"""Finds and replaces secrets in bytes and texts.

Loaded when something must be searched: a replay of requests that equal the recorded ones never does.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import StoredChunks, looks_like_event_stream
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.redaction.decoded_views import DecodedView, decoded_views, widen_to_whole_escapes
from aquila.cassettes.redaction.found_secrets import (
    PLACEHOLDER,
    FoundSecret,
    is_in_placeholder,
    merge_found,
    replace_found,
)
from aquila.cassettes.redaction.known_secrets import KnownSecrets
from aquila.cassettes.redaction.secret_patterns import find_secret_patterns, flatten_tokens
from aquila.cassettes.redaction.split_text import find_split_secrets
from aquila.cassettes.redaction.window_redaction import find_in_window, redact_pieces
from aquila.errors import ConfigError

if TYPE_CHECKING:
    from aquila.cassettes.redaction.redactor import Rule

_DEPTH = 3  # layers of encoding that are looked through, such as JSON in a JSON string in a URL
_PASSES = 8  # times that a text is searched; replacing one secret may bring another together
_MANY_WORDS = 4000
_USERINFO = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#]*@")


class Scrubber:
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
        if not any(part.changed for part in redact_pieces(pieces, self, is_stream=is_stream, cut_off=cut_off)):
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


def _cut_again(body: bytes, ends: Sequence[int], times: Sequence[int]) -> tuple[RecordedChunk, ...]:
    bounds = itertools.pairwise((0, *ends))
    return tuple(RecordedChunk(body[start:end], at) for at, (start, end) in zip(times, bounds, strict=True))


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

"""The setting ``normalize``: what is new in every run gets the same placeholder on both sides before keys are made.

A value in a text becomes ``⟨uuid⟩``, another one of its kind in the same request ``⟨uuid 2⟩``. So two ids differ from
one that is used twice, and another id in the same place is the same request. Numbers follow the order of what is
compared, not that in which a client wrote the keys of an object.
"""

from __future__ import annotations

import bisect
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from aquila.cassettes.matching import fresh_values
from aquila.cassettes.matching.fresh_values import CLOSE, OPEN
from aquila.cassettes.matching.pattern_check import compile_pattern
from aquila.cassettes.matching.uploaded_file import UploadedFile
from aquila.errors import ConfigError

_DATA = re.compile(r"[0-9A-Za-z+/=_-]{1000,}")
"""A stretch of text that is data, such as a file in Base64. Nothing is searched for in it, which could take long."""

_SLASH, _PERCENT = "\ufdd0", "\ufdd1"
"""What stands for an escaped slash or percent sign in a path while it is searched: no text holds these."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]


class FreshPart(NamedTuple):
    """Characters ``start`` to ``end`` of a text are a value of a kind, or of a pattern, with this ``label``."""

    start: int
    end: int
    label: str
    has_identity: bool = True


class Normalizer:
    """Finds in texts what entries of the setting name: a kind of ``fresh_values``, or a pattern between slashes.

    Raises ``ConfigError`` for an entry that is neither, and for a pattern that cannot be used.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        rows = [_read_entry(entry) for entry in entries]
        # By the table and not by the setting, whose order means nothing.
        order = {name: number for number, name in enumerate(fresh_values.KIND_BY_NAME)}
        self._rows = sorted(rows, key=lambda row: (order.get(row[0], len(order)), row[0]))
        labels = "|".join(re.escape(row[0]) for row in self._rows)
        self._shortest = min((row[3] for row in self._rows), default=0)
        self._placeholder = re.compile(f"{OPEN}(?:{labels})(?: [0-9]+)?{CLOSE}")

    def find_parts(self, text: str) -> list[FreshPart]:
        """Return the parts of a text that are new in every run, in order. None overlaps another, or a placeholder."""
        if len(text) < self._shortest:
            return []
        found: list[tuple[int, int, int, FreshPart]] = []
        taken = [match.span() for match in self._placeholder.finditer(text)] if OPEN in text else []
        for start, end in _stretches_of(text):
            for number, (label, pattern, has_identity, shortest) in enumerate(self._rows):
                if end - start < shortest:
                    continue
                for match in pattern.finditer(text, start, end):
                    span = next((span for span in match.regs[1:] if span[0] >= 0), match.span())
                    if span[0] < span[1] and not _overlaps(taken, span):
                        found.append((*span, number, FreshPart(*span, label, has_identity)))
        found.sort(key=lambda row: (row[0], -row[1], row[2]))
        parts: list[FreshPart] = []
        done = 0
        for start, end, _, part in found:
            if start >= done:
                done = end
                parts.append(part)
        return parts

    def mask_text(self, text: str) -> str:
        """Return a text with a placeholder in place of each part, without numbers."""
        return self.replace_parts(text, _placeholder_without_number)

    def replace_parts(self, text: str, placeholder: Callable[[FreshPart, str], str]) -> str:
        """Replace each part of a text. ``placeholder`` is asked what stands for a part, given with its value.

        Until none is left: two matches may have overlapped, and what remains of the one that gave way may hold a third.
        """
        while parts := self.find_parts(text):
            pieces: list[str] = []
            done = 0
            for part in parts:
                pieces += (text[done : part.start], placeholder(part, text[part.start : part.end]))
                done = part.end
            text = "".join([*pieces, text[done:]])
        return text


def _read_entry(entry: str) -> tuple[str, re.Pattern[str], bool, int]:
    """Return the label, the pattern, whether two equal values are one thing, and the fewest characters of one."""
    kind = fresh_values.KIND_BY_NAME.get(entry)
    if kind is not None:
        return entry, fresh_values.pattern_of(entry), kind.has_identity, kind.shortest
    if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
        return entry, compile_pattern(entry[1:-1], entry), True, 1
    names = ", ".join(fresh_values.KIND_BY_NAME)
    if entry.startswith("/") or not re.fullmatch(r"\w+", entry):
        raise ConfigError(
            f"aquila_normalize: {entry!r} is no name, and no pattern between two slashes. Write a pattern on a line of "
            rf"its own, such as /run-\d+/, or one of {names}"
        )
    near = difflib.get_close_matches(entry.lower(), fresh_values.KIND_BY_NAME, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"aquila_normalize: there is no kind of value {entry!r}.{hint} Known: {names}; or a pattern between slashes: "
        f"/{entry}/"
    )


def _stretches_of(text: str) -> Iterable[tuple[int, int]]:
    """The parts of a text that are searched."""
    if len(text) < 1000:
        return ((0, len(text)),)
    cuts = [0, *(at for match in _DATA.finditer(text) for at in match.span()), len(text)]
    return zip(cuts[::2], cuts[1::2], strict=True)


def _overlaps(taken: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    at = bisect.bisect_right(taken, span)
    return any(start < span[1] and span[0] < end for start, end in taken[max(0, at - 1) : at + 1])


def _placeholder_without_number(part: FreshPart, value: str) -> str:
    return f"{OPEN}{part.label}{CLOSE}"


class RequestNormalizer:
    """Rewrites the parts of one request, one after the other, and numbers the values that it meets."""

    def __init__(self, normalizer: Normalizer) -> None:
        self._normalizer = normalizer
        self._numbers: dict[str, dict[str, int]] = {}

    def rewrite_text(self, text: str) -> str:
        """Return a text with numbered placeholders."""
        return self._normalizer.replace_parts(text, self._placeholder_for)

    def rewrite_path(self, path: str) -> str:
        """Return the path of a URL with placeholders, and without escapes if it has any, but for slashes."""
        kept = path.replace("%2F", _SLASH).replace("%25", _PERCENT)
        plain = unquote(kept, errors="surrogateescape")
        rewritten = self.rewrite_text(plain)
        if rewritten == plain:
            return path
        return rewritten.replace(_SLASH, "%2F").replace(_PERCENT, "%25")

    def _placeholder_for(self, part: FreshPart, value: str) -> str:
        if not part.has_identity:
            return _placeholder_without_number(part, value)
        numbers = self._numbers.setdefault(part.label, {})
        number = numbers.setdefault(value, len(numbers) + 1)
        return f"{OPEN}{part.label}{f' {number}' if number > 1 else ''}{CLOSE}"

    def rewrite_pairs(self, pairs: Pairs | None) -> Pairs | None:
        """Return the parameters of a query, or header fields, rewritten and sorted."""
        if not pairs:
            return pairs
        mask = self._normalizer.mask_text
        rows = sorted(pairs, key=lambda row: (mask(row[0]), mask(row[1]), self._known_numbers(row[1]), row))
        return tuple(sorted((self.rewrite_text(name), self.rewrite_text(value)) for name, value in rows))

    def _known_numbers(self, text: str) -> list[int]:
        """The numbers of the values of a text, by which texts are sorted that are alike but for these."""
        parts = self._normalizer.find_parts(text)
        known = [self._numbers.get(part.label, {}).get(text[part.start : part.end]) for part in parts]
        return [number or 2**63 for number in known]

    def rewrite_json(self, value: Any) -> Any:
        """Return a JSON value with its texts rewritten, and with those numbers that are new in every run as a whole."""
        if isinstance(value, str):
            return self.rewrite_text(value)
        if isinstance(value, list):
            return [self.rewrite_json(each) for each in value]
        if isinstance(value, dict):
            return self._rewrite_object(value, self.rewrite_json)
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return self._rewrite_number(value)
        return value

    def _rewrite_number(self, value: int | float | Decimal) -> Any:
        try:
            text = str(value)
        except ValueError:  # an integer with more digits than Python writes
            return value
        parts = self._normalizer.find_parts(text)
        if len(parts) == 1 and parts[0][:2] == (0, len(text)):
            return self._placeholder_for(parts[0], text)
        return value

    def rewrite_fields(self, fields: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Return the fields of a form, or of a multipart body, rewritten."""
        return self._rewrite_object(fields, lambda values: [self._rewrite_part(value) for value in values])

    def _rewrite_part(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.rewrite_text(value)
        texts = {name for name in ("filename", "content", "content_type") if isinstance(value.get(name), str)}
        rewritten = {name: self.rewrite_text(each) if name in texts else each for name, each in value.items()}
        return value.with_fields(rewritten) if isinstance(value, UploadedFile) else rewritten

    def _rewrite_object(self, value: Mapping[str, Any], rewrite_child: Callable[[Any], Any]) -> dict[str, Any]:
        """Rewrite keys and values, in the order of the rewritten keys: that of the keys as sent means nothing."""
        masked = sorted((self._normalizer.mask_text(key), key) for key in value)
        if len({mask for mask, _ in masked}) < len(masked):
            masked.sort(key=partial(self._order_of_twin, value))
        rewritten: dict[str, Any] = {}
        for number, (_, key) in enumerate(masked):
            name = self.rewrite_text(key)
            # Two dates have the same placeholder, and are two keys all the same.
            rewritten[name if name not in rewritten else f"{name} ({number})"] = rewrite_child(value[key])
        return rewritten

    def _order_of_twin(self, value: Mapping[str, Any], row: tuple[str, str]) -> tuple[str, str, list[int], str]:
        """The order of keys that are alike but for their fresh values: by what they hold, without numbers."""
        mask, key = row
        alone = RequestNormalizer(self._normalizer)
        held = json.dumps(alone.rewrite_json(value[key]), sort_keys=True, default=str)
        return mask, held, self._known_numbers(key), key

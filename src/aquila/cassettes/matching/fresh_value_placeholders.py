"""The setting ``normalize``: replaces values that are new in every run by placeholders, before keys are computed.

The first UUID of a request becomes ``⟨uuid⟩``, the next one ``⟨uuid 2⟩``, wherever they stand. So requests with
different ids in the same places are equal. A request with two ids differs from a request that has one id twice. The
numbers follow the sorted keys of an object, and not the order in which a client wrote the keys.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from aquila.cassettes.matching import fresh_values
from aquila.cassettes.matching.fresh_values import CLOSE, OPEN
from aquila.cassettes.matching.uploaded_file import UploadedFile
from aquila.errors import ConfigError
from aquila.spelling import suggest_name

_DATA = re.compile(r"[0-9A-Za-z+/=_-]{1000,}")
"""A stretch of text that is data, such as a file in base64. It is not searched: that could take long, and data may
hold what looks like an id."""

_SLASH, _PERCENT = "\ufdd0", "\ufdd1"
"""Stand for an escaped slash or percent sign while a path is searched. Unicode reserves both as noncharacters."""

Pairs: TypeAlias = tuple[tuple[str, str], ...]


class FreshPart(NamedTuple):
    """A fresh value in a text: the characters from ``start`` up to ``end``.

    ``label`` is the name of its kind, or the user's pattern. ``has_identity`` is as in ``FreshKind``.
    """

    start: int
    end: int
    label: str
    has_identity: bool = True


class Normalizer:
    """Finds fresh values in texts. It does not change once it is built, so sessions with the same rules share it.

    ``entries`` are those of the setting: names of kinds (see ``fresh_values``), or patterns between slashes. Raises
    ``ConfigError`` for an entry that is neither, and for a pattern that cannot be used.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        rows = [_read_entry(entry) for entry in entries]
        # Sorted as in the table of kinds. The order of the setting must not change keys.
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
        # Of values that overlap, the one that begins first counts, then the longest, then the first in the table.
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
        """Replace each fresh part of a text with what ``placeholder`` returns for the part and its value."""
        # Repeated until none is left: once one of two overlapping values is replaced, the rest of the other may itself
        # be a fresh value.
        while parts := self.find_parts(text):
            pieces: list[str] = []
            done = 0
            for part in parts:
                pieces += (text[done : part.start], placeholder(part, text[part.start : part.end]))
                done = part.end
            text = "".join([*pieces, text[done:]])
        return text


def _read_entry(entry: str) -> tuple[str, re.Pattern[str], bool, int]:
    """Return the label, the pattern, whether equal values mean the same thing, and the fewest characters of a value."""
    kind = fresh_values.KIND_BY_NAME.get(entry)
    if kind is not None:
        return entry, fresh_values.pattern_of(entry), kind.has_identity, kind.shortest
    if len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
        return entry, _compile_pattern(entry), True, 1
    names = ", ".join(fresh_values.KIND_BY_NAME)
    if entry.startswith("/") or not re.fullmatch(r"\w+", entry):
        raise ConfigError(
            f"aquila_normalize: {entry!r} is no name, and no pattern between two slashes. Write a pattern on a line of "
            rf"its own, such as /run-\d+/, or one of {names}"
        )
    raise ConfigError(
        f"aquila_normalize: there is no kind of value {entry!r} (a pattern stands between slashes: /{entry}/)"
        f"{suggest_name(entry, fresh_values.KIND_BY_NAME)}"
    )


def _compile_pattern(entry: str) -> re.Pattern[str]:
    """Compile an entry that is a pattern between slashes. Raises ``ConfigError``, which says what to type."""
    text = entry[1:-1]
    try:
        compiled = re.compile(text)
    except (re.error, Warning, OverflowError, RecursionError) as error:  # a FutureWarning raises where they are errors
        at = getattr(error, "pos", None)
        where = f" from {text[at:]} on" if at is not None and at < len(text) else ""
        reason = getattr(error, "msg", None) or str(error)
        raise ConfigError(
            f"aquila_normalize: cannot read the pattern {entry}{where}: {reason}. Write a regular expression of "
            r"Python between slashes, such as /run-\d+/, and a backslash before special characters: \( \[ \."
        ) from None
    if compiled.search("") is not None:
        raise ConfigError(
            f"aquila_normalize: the pattern {entry} matches the empty text, so it would match everywhere. "
            "Let it match at least one character, for example with + in place of *"
        )
    return compiled


def _stretches_of(text: str) -> Iterable[tuple[int, int]]:
    """Return the start and the end of each stretch of a text that is searched: everything but long data."""
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
    """Rewrites the parts of one request, one after the other, and numbers the fresh values in them."""

    def __init__(self, normalizer: Normalizer) -> None:
        self._normalizer = normalizer
        # The numbers of values, by label. Each part may add to them, so this object serves one request only.
        self._numbers: dict[str, dict[str, int]] = {}

    def rewrite_text(self, text: str) -> str:
        """Return a text with numbered placeholders."""
        return self._normalizer.replace_parts(text, self._placeholder_for)

    def rewrite_path(self, path: str) -> str:
        """Return the path of a URL with placeholders. A path with placeholders has only the escapes %2F and %25."""
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
        """Return the numbers of the fresh values of a text, to sort texts that differ in nothing but these values."""
        parts = self._normalizer.find_parts(text)
        known = [self._numbers.get(part.label, {}).get(text[part.start : part.end]) for part in parts]
        return [number or 2**63 for number in known]  # a value without a number sorts behind those that have one

    def rewrite_json(self, value: Any) -> Any:
        """Return a JSON value with its texts rewritten. A number that is a fresh value as a whole is replaced, too."""
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
        except ValueError:  # more digits than `sys.set_int_max_str_digits` lets Python write
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
        """Rewrite keys and values in the order of the rewritten keys, so that the order in the request is no matter."""
        masked = sorted((self._normalizer.mask_text(key), key) for key in value)
        if len({mask for mask, _ in masked}) < len(masked):
            masked.sort(key=partial(self._order_of_twin, value))
        rewritten: dict[str, Any] = {}
        for number, (_, key) in enumerate(masked):
            name = self.rewrite_text(key)
            # Two dates as keys have the same placeholder; the number keeps both.
            rewritten[name if name not in rewritten else f"{name} ({number})"] = rewrite_child(value[key])
        return rewritten

    def _order_of_twin(self, value: Mapping[str, Any], row: tuple[str, str]) -> tuple[str, str, list[int], str]:
        """Return a sort key for object keys that differ only in fresh values: by their values, rewritten alone."""
        mask, key = row
        alone = RequestNormalizer(self._normalizer)
        held = json.dumps(alone.rewrite_json(value[key]), sort_keys=True, default=str)
        return mask, held, self._known_numbers(key), key

"""The rules by which two requests are compared: which parts count, and what is left out of bodies and queries."""

from __future__ import annotations

import re
from dataclasses import field, replace
from typing import TYPE_CHECKING

from aquila.cassettes.redaction.request_headers import REQUEST_HEADERS, check_header_names
from aquila.errors import ConfigError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from dataclasses import dataclass

    from aquila import spelling
    from aquila.cassettes.matching import fresh_value_placeholders, json_path
else:
    from aquila.quick_records import dataclass

    lazy_modules(globals(), "aquila: spelling", "aquila.cassettes.matching: fresh_value_placeholders, json_path")

PARTS = ("method", "scheme", "host", "origin", "path", "query", "headers", "body", "metadata", "prompt_cache_key")
"""Every part of a request that ``match_on`` can name, besides ``header:<name>``.

``origin`` is scheme, host and port together. It is compared only for requests that are not for a model. A request for
a model may have been recorded through a proxy, and the recordings from the proxy then answer it.
"""

LABELS = ("metadata", "prompt_cache_key")
"""Fields of a body that do not change the answer: labels for the provider's accounting and for its caches."""

EMPTY_FIELDS = "<empty>"
"""The entry of ``ignore`` that names every field of a JSON body that is null or ``{}``. It is no JSON path."""

DEFAULT_MATCH_ON = ("method", "origin", "path", "query", "body")


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Which parts of a request are compared.

    - ``match_on``: names of parts (see :data:`PARTS`, and ``header:<name>``). If every entry begins with ``+`` or
      ``-``, the entries change the default, as in ``("+host", "-query")``. The attribute holds the resolved names in a
      fixed order.
    - ``ignore``: JSON paths that are left out of bodies. For forms and multipart bodies they are names of fields.
      ``<empty>`` stands for every field of JSON that is null or ``{}``.
    - ``ignore_query``: names of query parameters that are left out. ``*`` stands for any characters.
    - ``normalize``: what is replaced by placeholders in every text: kinds of values, or patterns between slashes.

    Raises :class:`~aquila.errors.ConfigError` for an unknown part or kind, a path or a pattern that cannot be read, and
    a header field that is never stored.
    """

    match_on: tuple[str, ...] = DEFAULT_MATCH_ON
    ignore: tuple[str, ...] = ()
    ignore_query: tuple[str, ...] = ()
    normalize: tuple[str, ...] = ()
    header_names: frozenset[str] = field(init=False, repr=False, compare=False)
    """Header fields that are compared, in lower case."""
    paths: tuple[json_path.JsonPath, ...] = field(init=False, repr=False, compare=False)
    ignores_empty: bool = field(init=False, repr=False, compare=False)
    """Whether a field that is null or ``{}`` is compared as if it were absent."""
    unwanted_query: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    """Matches the names of the query parameters that ``ignore_query`` leaves out. None if it leaves out none."""
    compares_origin: bool = field(init=False, repr=False, compare=False)
    """Whether a request that is for no model is answered only by recordings of its own origin."""
    labels: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The ``LABELS`` that are left out."""
    normalizer: fresh_value_placeholders.Normalizer | None = field(init=False, repr=False, compare=False)
    """Finds the values that ``normalize`` names. None if it names nothing."""

    def __init__(
        self,
        match_on: tuple[str, ...] = DEFAULT_MATCH_ON,
        ignore: tuple[str, ...] = (),
        ignore_query: tuple[str, ...] = (),
        normalize: tuple[str, ...] = (),
    ) -> None:
        names = _resolve_match_on(match_on)
        fields = {name.partition(":")[2] for name in names if name.startswith("header:")}
        if "headers" in names:
            fields |= REQUEST_HEADERS
        ignore = tuple(dict.fromkeys(ignore))
        normalizer = fresh_value_placeholders.Normalizer(normalize) if normalize else None
        put = object.__setattr__  # the class is frozen
        put(self, "match_on", names)
        put(self, "ignore", ignore)
        put(self, "header_names", frozenset(fields))
        put(self, "ignore_query", tuple(dict.fromkeys(ignore_query)))
        put(self, "unwanted_query", _compile_names(ignore_query))
        put(self, "normalize", tuple(dict.fromkeys(normalize)))
        put(self, "normalizer", normalizer)
        put(self, "paths", tuple(json_path.parse_json_path(path) for path in ignore if path != EMPTY_FIELDS))
        put(self, "ignores_empty", EMPTY_FIELDS in ignore)
        put(self, "compares_origin", "origin" in names)
        put(self, "labels", tuple(label for label in LABELS if label not in names))

    def with_origin(self) -> MatchRules:
        """Return rules that also compare scheme, host and port, even of requests for a model."""
        return replace(self, match_on=(*self.match_on, "scheme", "host"))

    def without_placeholders(self) -> MatchRules:
        """Return rules without ``normalize``, for messages that show what was sent."""
        return replace(self, normalize=()) if self.normalize else self


def _compile_names(names: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names), re.DOTALL) if names else None


def _resolve_match_on(match_on: tuple[str, ...]) -> tuple[str, ...]:
    entries = [entry.strip() for entry in match_on]
    relative = [entry[:1] in ("+", "-") for entry in entries]
    if any(relative) and not all(relative):
        raise ConfigError(
            f"match_on = {', '.join(match_on)}: either name every part, or begin every entry with + or - to change the "
            f"default ({', '.join(DEFAULT_MATCH_ON)})."
        )
    names = set(DEFAULT_MATCH_ON) if any(relative) else set()
    for entry in entries:
        name = _checked_part(entry.lstrip("+-").strip(), entry)
        if entry.startswith("-"):
            names.discard(name)
        else:
            names.add(name)
    # `origin` alone compares nothing either, because it does not count for requests for a model (see `PARTS`).
    if names <= {"origin"}:
        raise ConfigError("match_on: nothing is left to compare, so every request would get the same answer.")
    for label in LABELS:
        if label in names and "body" not in names:
            raise ConfigError(f"match_on: '{label}' is part of the body; add 'body'.")
    return tuple(sorted(names, key=lambda name: (PARTS.index(name) if name in PARTS else len(PARTS), name)))


def _checked_part(name: str, entry: str) -> str:
    if name in PARTS:
        return name
    if name.lower().startswith("header:"):
        (field_name,) = check_header_names([name[7:]], "match_on")
        if field_name.endswith("*"):
            raise ConfigError(f"match_on: {entry!r}: name one header field, without *.")
        return f"header:{field_name}"
    known = (*PARTS, "header:<name>")
    raise ConfigError(f"match_on: there is no part {entry!r}{spelling.suggest_name(name, known)}")

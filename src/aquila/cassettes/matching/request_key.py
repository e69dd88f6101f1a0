"""What makes two requests the same: the canonical form of a request, and the key computed from it.

JSON is compared by value, forms and multipart bodies by their fields, anything else by its bytes. ``metadata`` and
``prompt_cache_key`` at the top of a body are left out: clients put fresh ids there, which must not make a replay miss.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NoReturn, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from aquila.cassettes.body_file import LARGE, PREFIX, BodyFile, StoredRequest
from aquila.cassettes.matching import json_path, multipart
from aquila.cassettes.model import Headers, RecordedRequest
from aquila.cassettes.redaction.header_allowlist import REQUEST_HEADERS, check_header_names
from aquila.errors import ConfigError

PARTS = ("method", "scheme", "host", "origin", "path", "query", "headers", "body", "metadata", "prompt_cache_key")
"""Every part of a request that ``match_on`` can name, besides ``header:<name>``.

``origin`` is scheme, host and port together. It tells apart only requests that are for no model: one for a model may be
recorded through a proxy, and is then answered by the recordings of that.
"""

LABELS = ("metadata", "prompt_cache_key")
"""Parts of a body that are no part of what is asked: they tell the provider's books and caches to whom it belongs."""

DEFAULT_MATCH_ON = ("method", "origin", "path", "query", "body")

_MOST_DIGITS = 4000
"""A number with an exponent may have so many digits before or after its point."""

Kind: TypeAlias = Literal["none", "json", "form", "multipart", "text", "bytes"]
"""How a body was understood; ``none`` when it is not compared."""


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Says what of a request is compared.

    ``match_on`` names parts (see :data:`PARTS`, and ``header:<name>``). When every entry begins with ``+`` or ``-``,
    it adds to and takes from the default, as in ``("+host", "-query")``. Afterwards it holds the resolved names in a
    fixed order. ``ignore`` holds JSON paths that are left out of bodies; for forms and multipart bodies, names of
    fields. ``ignore_query`` holds names of query parameters that are left out; ``*`` stands for any characters.

    Raises :class:`~aquila.errors.ConfigError` for an unknown part, a path that cannot be read, and a header field that
    is never stored.
    """

    match_on: tuple[str, ...] = DEFAULT_MATCH_ON
    ignore: tuple[str, ...] = ()
    ignore_query: tuple[str, ...] = ()
    header_names: frozenset[str] = field(init=False, repr=False, compare=False)
    """Header fields that are compared, in lower case."""
    paths: tuple[json_path.JsonPath, ...] = field(init=False, repr=False, compare=False)
    unwanted_query: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    """What the names of the query parameters of ``ignore_query`` match."""
    labels: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Those of ``LABELS`` that are left out."""

    def __post_init__(self) -> None:
        names = _resolve_match_on(self.match_on)
        fields = {name.partition(":")[2] for name in names if name.startswith("header:")}
        if "headers" in names:
            fields |= REQUEST_HEADERS
        ignore = tuple(dict.fromkeys(self.ignore))
        object.__setattr__(self, "match_on", names)
        object.__setattr__(self, "ignore", ignore)
        object.__setattr__(self, "header_names", frozenset(fields))
        object.__setattr__(self, "ignore_query", tuple(dict.fromkeys(self.ignore_query)))
        object.__setattr__(self, "unwanted_query", _compile_names(self.ignore_query))
        object.__setattr__(self, "paths", tuple(json_path.parse_json_path(path) for path in ignore))
        object.__setattr__(self, "labels", tuple(label for label in LABELS if label not in names))

    @property
    def compares_origin(self) -> bool:
        """Whether a request that is for no model is answered only by recordings of its own origin."""
        return "origin" in self.match_on

    def with_origin(self) -> MatchRules:
        """Return rules that compare scheme, host and port too, whatever a request is for."""
        return replace(self, match_on=(*self.match_on, "scheme", "host"))


@dataclass(frozen=True, slots=True)
class CanonicalRequest:
    """A request reduced to what is compared. Parts that the rules leave out are None.

    ``body`` is a JSON value: the JSON itself, or ``{field: [values]}`` for forms and multipart, a string for text, size
    and hash for other bytes. ``digest`` is the key.
    """

    method: str | None
    scheme: str | None
    host: str | None
    path: str | None
    query: tuple[tuple[str, str], ...] | None
    headers: Headers | None
    kind: Kind
    body: Any
    digest: str


def key_of(request: RecordedRequest, rules: MatchRules) -> str:
    """Return the key of a request: equal for requests that the rules hold to be the same. 32 hexadecimal digits."""
    return _hash_parts(*_reduce_request(request, rules))


def key_at_origin(request: RecordedRequest, rules: MatchRules) -> str:
    """Return the key under which recordings are counted: ``key_of`` and the origin of the request, ``key@origin``."""
    return f"{key_of(request, rules)}@{origin_of(request.url)}"


def without_origin(key: str) -> str:
    """Return the part of a key that says nothing of the origin."""
    return key.partition("@")[0]


@lru_cache(maxsize=512)
def address_of(url: str) -> str:
    """Return a URL without its query, in a form that is the same for all ways of writing it, also with no escapes."""
    path = _split_url(url).path
    while "%" in path and (decoded := unquote(path)) != path:
        path = decoded
    return f"{origin_of(url)}{path}"


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, as ``https://host``. The default port of a scheme is left out."""
    parts = _split_url(url)
    return f"{parts.scheme}://{parts.host}"


def canonical_request(request: RecordedRequest, rules: MatchRules) -> CanonicalRequest:
    """Reduce a request to what the rules compare. Its ``digest`` is what :func:`key_of` returns."""
    reduced = _reduce_request(request, rules)
    return CanonicalRequest(*reduced, digest=_hash_parts(*reduced))


_Reduced: TypeAlias = tuple[
    str | None,
    str | None,
    str | None,
    str | None,
    tuple[tuple[str, str], ...] | None,
    Headers | None,
    Kind,
    Any,
]


def _reduce_request(request: RecordedRequest, rules: MatchRules) -> _Reduced:
    on = rules.match_on
    url = _split_url(request.url)
    kind: Kind = "none"
    body: Any = None
    if "body" in on:
        kind, body = _canonical_body(request, rules)
    return (
        request.method.upper() if "method" in on else None,
        url.scheme if "scheme" in on else None,
        url.host if "host" in on else None,
        url.path if "path" in on else None,
        _wanted_query(url.query, rules) if "query" in on else None,
        _compared_headers(request.headers, rules.header_names) if rules.header_names else None,
        kind,
        body,
    )


def _encode_number(value: Any) -> list[Any]:
    """Encode what no float holds. No JSON has a NaN, so this is the encoding of nothing else."""
    if isinstance(value, Decimal):
        return [_NAN, str(value)]
    raise TypeError(f"{type(value).__name__} is not part of a canonical request")


_NAN = float("nan")
# ASCII escapes, so that text with lone surrogates can be hashed too.
_encode: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), check_circular=False, default=_encode_number
).encode


def _hash_parts(*reduced: Any) -> str:
    return hashlib.sha256(_encode(reduced).encode()).hexdigest()[:32]


# --- URLs and headers


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]


_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")


@lru_cache(maxsize=512)
def _split_url(url: str) -> _Url:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets that do not close
        return _Url("", "", url, ())
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme, ":")
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(default_port)
    # Bytes that are not UTF-8 stay different from one another.
    query = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    return _Url(parts.scheme, host, _ESCAPE.sub(_same_escape, parts.path) or "/", tuple(sorted(query)))


def _same_escape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else match[0].upper()


def _compile_names(names: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names), re.DOTALL) if names else None


def _wanted_query(query: tuple[tuple[str, str], ...], rules: MatchRules) -> tuple[tuple[str, str], ...]:
    unwanted = rules.unwanted_query
    return query if unwanted is None else tuple(row for row in query if not unwanted.fullmatch(row[0]))


def _compared_headers(headers: Headers, names: frozenset[str]) -> Headers:
    return tuple(sorted((name, _without_boundary(name, value)) for name, value in headers if name in names))


def _without_boundary(name: str, value: str) -> str:
    return value.partition(";")[0].strip() if name == "content-type" and "boundary=" in value.lower() else value


# --- bodies


def _canonical_body(request: RecordedRequest, rules: MatchRules) -> tuple[Kind, Any]:
    content_type = request.first_header("content-type")
    media = content_type.partition(";")[0].strip().lower()
    if isinstance(request, StoredRequest) and not _is_structured(media, request.file):
        return "bytes", {"bytes": request.file.size, "sha256": request.file.name.removeprefix(PREFIX)}
    data = request.body
    try:
        if media == "application/json" or media.endswith("+json") or (not media and data.lstrip()[:1] in (b"{", b"[")):
            value = _parse_json(data.decode())
            _leave_out(value, rules)
            return "json", value
        if media == "application/x-www-form-urlencoded":
            return "form", _group_fields(_form_fields(data), rules)
        if media.startswith("multipart/"):
            parts = multipart.parse_multipart(data, content_type)
            if parts is not None:
                return "multipart", _group_fields(((part.name, _canonical_part(part)) for part in parts), rules)
    except (ValueError, RecursionError):
        pass  # The body is not what its content type says, so its bytes are compared.
    return _text_or_bytes(data)


def _is_structured(media: str, file: BodyFile) -> bool:
    """Say whether a body in a file is compared by its parts, for which it must be read."""
    if media.startswith("multipart/") or media in ("application/json", "application/x-www-form-urlencoded"):
        return True
    return media.endswith("+json") or (not media and file.first_bytes(64).lstrip()[:1] in (b"{", b"["))


def _text_or_bytes(data: bytes) -> tuple[Kind, Any]:
    if len(data) > LARGE:
        return "bytes", _size_and_hash(data)
    try:
        return "text", data.decode()
    except UnicodeDecodeError:
        return "bytes", _size_and_hash(data)


def _size_and_hash(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _leave_out(value: Any, rules: MatchRules) -> None:
    if isinstance(value, dict):
        for label in rules.labels:
            value.pop(label, None)
    for path in rules.paths:
        path.remove_from(value)


_BARE_FIELD = re.compile(r"[A-Za-z0-9*._~+%\[\]-]*")


def _form_fields(data: bytes) -> Iterable[tuple[str, str]]:
    """Parse a form. ``a`` is ``a=``, as in a query. Raises ``ValueError`` for what can be no form."""
    text = data.decode("ascii")
    if not all("=" in field or _BARE_FIELD.fullmatch(field) for field in text.split("&")):
        raise ValueError("not a form")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _group_fields(pairs: Iterable[tuple[str, Any]], rules: MatchRules) -> dict[str, list[Any]]:
    """Group values by field. The order of fields does not matter; the order of the values of one field does.

    A rule for a field is also one for its members, which clients send as ``metadata[id]``.
    """
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    unwanted = {path.steps[0] for path in rules.paths if len(path.steps) == 1}
    unwanted.update(rules.labels)
    return {name: values for name, values in fields.items() if unwanted.isdisjoint((name, name.partition("[")[0]))}


def _canonical_part(part: multipart.Part) -> Any:
    """Return a plain field as its text, and a file as its name, type, size and hash."""
    value: dict[str, Any] = {}
    if part.filename is None:
        kind, content = _text_or_bytes(part.data)
        if kind == "text" and not (part.content_type or part.transfer_encoding):
            return content
        value["content"] = content
    else:
        value = {"filename": part.filename, **_size_and_hash(part.data)}
    if part.content_type:
        value["content_type"] = part.content_type
    if part.transfer_encoding:
        value["transfer_encoding"] = part.transfer_encoding
    return value


# --- JSON by value


def _parse_number(text: str) -> int | float | Decimal:
    """Parse a number with a point or an exponent. Without a fraction it is an integer, so that 1.0 equals 1.

    Where a float would be written otherwise, because it does not hold all digits, it stays a ``Decimal``.
    """
    value = float(text)
    written = repr(value)
    if text == written and not value.is_integer():  # as most are
        return value
    number = _strip_zeros(text)
    if abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("the number has too many digits")
    if number == number.to_integral_value():
        return int(number)
    return value if Decimal(written) == number else number


def _strip_zeros(text: str) -> Decimal:
    """Return a number without zeros at its end, so that equal numbers are written alike. No digit is rounded away."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except ArithmeticError:
        raise ValueError("the exponent is too large") from None
    if not any(digits):
        return Decimal(0)
    end = len(digits)
    while not digits[end - 1]:
        end -= 1
    return Decimal((sign, digits[:end], exponent + len(digits) - end))  # type: ignore[operator]


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice, which readers understand differently")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_parse_json: Callable[[str], Any] = json.JSONDecoder(
    parse_float=_parse_number, parse_constant=_refuse_constant, object_pairs_hook=_build_object
).decode


# --- match_on


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
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise ConfigError(f"match_on: there is no part {entry!r}.{hint} Known: {', '.join(known)}.")

"""The canonical form of a request, and its key. Two requests with the same key are the same request.

JSON is compared by value, forms and multipart bodies by their fields, anything else by its bytes. ``metadata`` and
``prompt_cache_key`` at the top of a body are left out: clients put fresh ids there, which must not make a replay miss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from aquila.cassettes.body_file import LARGE, PREFIX, BodyFile, StoredRequest
from aquila.cassettes.matching.canonical_json import hash_canonical, leave_out, parse_canonical
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import Headers, RecordedRequest, first_value
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern
from aquila.quick_records import NamedTuple

if TYPE_CHECKING:
    from aquila.cassettes import multipart
    from aquila.cassettes.matching import fresh_value_placeholders, uploaded_file
else:
    lazy_modules(
        globals(),
        "aquila.cassettes: multipart",
        "aquila.cassettes.matching: fresh_value_placeholders, uploaded_file",
    )

BodyKind: TypeAlias = Literal["none", "json", "form", "multipart", "text", "bytes"]
"""How a body was understood; ``none`` when it is not compared."""


class CanonicalRequest(NamedTuple):
    """A request reduced to what is compared. Parts that the rules leave out are None.

    ``body`` is a JSON value: the JSON itself, ``{field: [values]}`` for forms and multipart bodies, a string for text,
    or the size and the hash of other bytes. ``digest`` is the key.
    """

    method: str | None
    scheme: str | None
    host: str | None
    path: str | None
    query: tuple[tuple[str, str], ...] | None
    headers: Headers | None
    kind: BodyKind
    body: Any
    digest: str


def key_of(request: RecordedRequest, rules: MatchRules) -> str:
    """Return the key of a request: 32 hexadecimal digits, equal for requests that are the same by the rules."""
    return hash_canonical(_reduce_request(request, rules))


def key_at_origin(request: RecordedRequest, rules: MatchRules) -> str:
    """Return the key under which recordings are counted: ``key_of`` and the origin of the request, ``key@origin``."""
    origin = origin_of(request.url)
    return f"{key_of(request, rules)}@{origin}"


def without_origin(key: str) -> str:
    """Return a key of ``key_at_origin`` without its ``@origin``."""
    return key.partition("@")[0]


# The caches of this module hold results of pure functions, which depend on their argument alone; they are never
# cleared. A program asks a few URLs again and again.
@lru_cache(maxsize=512)
def address_of(url: str) -> str:
    """Return origin and path of a URL, without query, with percent escapes decoded."""
    path = _split_url(url).path
    # Repeated until nothing changes, because a path may have been escaped more than once.
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
    return CanonicalRequest(*reduced, digest=hash_canonical(reduced))


_Reduced: TypeAlias = tuple[
    str | None,
    str | None,
    str | None,
    str | None,
    tuple[tuple[str, str], ...] | None,
    Headers | None,
    BodyKind,
    Any,
]


def _reduce_request(request: RecordedRequest, rules: MatchRules) -> _Reduced:
    on = rules.match_on
    url = _split_url(request.url)
    path = url.path if "path" in on else None
    query = _wanted_query(url.query, rules) if "query" in on else None
    headers = _compared_headers(request.headers, rules.header_names) if rules.header_names else None
    kind: BodyKind = "none"
    body: Any = None
    if "body" in on:
        kind, body = _canonical_body(request, rules)
    if rules.normalizer is not None:
        rewriting = fresh_value_placeholders.RequestNormalizer(rules.normalizer)
        # The query comes last. Its parameters are sorted. Two that differ only in a fresh id are sorted by the numbers
        # that the path, the headers and the body have given to these ids.
        path = rewriting.rewrite_path(path) if path is not None else None
        headers = rewriting.rewrite_pairs(headers)
        kind, body = _normalize_body(kind, body, request, rewriting)
        query = rewriting.rewrite_pairs(query)
    return (
        request.method.upper() if "method" in on else None,
        url.scheme if "scheme" in on else None,
        url.host if "host" in on else None,
        path,
        query,
        headers,
        kind,
        body,
    )


# --- URLs and headers


class _Url(NamedTuple):
    scheme: str
    host: str
    path: str
    query: tuple[tuple[str, str], ...]


_ESCAPE = lazy_pattern(r"%([0-9a-fA-F]{2})")


# By the text of the URL alone, so no entry goes out of date. The recordings of a cassette have few URLs.
@lru_cache(maxsize=512)
def _split_url(url: str) -> _Url:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that does not close
        return _Url("", "", url, ())
    default_port = {"http": ":80", "https": ":443"}.get(parts.scheme, ":")
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(default_port)
    # Bytes that are not UTF-8 stay different from one another.
    query = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    return _Url(parts.scheme, host, _ESCAPE.sub(_same_escape, parts.path) or "/", tuple(sorted(query)))


def _same_escape(match: re.Match[str]) -> str:
    # RFC 3986, 6.2.2: an escaped unreserved character equals the plain one, and the case of the digits means nothing.
    char = chr(int(match[1], 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else match[0].upper()


def _wanted_query(query: tuple[tuple[str, str], ...], rules: MatchRules) -> tuple[tuple[str, str], ...]:
    unwanted = rules.unwanted_query
    return query if unwanted is None else tuple(row for row in query if not unwanted.fullmatch(row[0]))


def _compared_headers(headers: Headers, names: frozenset[str]) -> Headers:
    return tuple(sorted((name, _without_boundary(name, value)) for name, value in headers if name in names))


def _without_boundary(name: str, value: str) -> str:
    # Clients draw a random boundary for each request.
    return value.partition(";")[0].strip() if name == "content-type" and "boundary=" in value.lower() else value


# --- bodies


def _canonical_body(request: RecordedRequest, rules: MatchRules) -> tuple[BodyKind, Any]:
    content_type, media = content_type_of(request.headers)
    if isinstance(request, StoredRequest) and not _is_structured(media, request.file):
        return "bytes", {"bytes": request.file.size, "sha256": request.file.name.removeprefix(PREFIX)}
    data = request.body
    try:
        if is_json(media, data):
            value = parse_canonical(data.decode())
            leave_out(value, rules)
            return "json", value
        if media == "application/x-www-form-urlencoded":
            return "form", _group_fields(_form_fields(data), rules)
        if media.startswith("multipart/"):
            parts = multipart.parse_multipart(data, content_type)
            if parts is not None:
                return "multipart", _group_fields(((part.name, _canonical_part(part)) for part in parts), rules)
    except (ValueError, RecursionError):
        pass  # The body is not what its content type says, so it is compared as text or bytes.
    return _text_or_bytes(data)


@lru_cache(maxsize=256)  # a client sends the same header fields with all its requests
def content_type_of(headers: Headers) -> tuple[str, str]:
    """Return the content type, and the media type in it, in lower case and without parameters.

    The media type is empty if the field holds a single word, such as ``REDACTED``, which some test suites put there.
    """
    content_type = first_value(headers, "content-type")
    media = content_type.partition(";")[0].strip().lower()
    return content_type, media if "/" in media else ""


def is_json(media: str, begin: bytes) -> bool:
    """Whether a body is to be read as JSON, by its media type, or if that is empty by its first character."""
    return media == "application/json" or media.endswith("+json") or (not media and begin.lstrip()[:1] in (b"{", b"["))


def _normalize_body(
    kind: BodyKind, body: Any, request: RecordedRequest, rewriting: fresh_value_placeholders.RequestNormalizer
) -> tuple[BodyKind, Any]:
    """Rewrite the texts of a body. A body that is compared by its bytes stays as it is."""
    if kind == "json":
        try:
            return kind, rewriting.rewrite_json(body)
        except RecursionError:  # treated like JSON that is nested too deeply to be parsed
            kind, body = _text_or_bytes(request.body)
    if kind == "text":
        return kind, rewriting.rewrite_text(body)
    if kind in ("form", "multipart"):
        return kind, rewriting.rewrite_fields(body)
    return kind, body


def _is_structured(media: str, file: BodyFile) -> bool:
    """Whether a body in a file must be read, because it is compared by its parts and not by its hash."""
    if media.startswith("multipart/") or media == "application/x-www-form-urlencoded":
        return True
    return is_json(media, b"" if media else file.first_bytes(64))


def _text_or_bytes(data: bytes) -> tuple[BodyKind, Any]:
    if len(data) > LARGE:
        return "bytes", uploaded_file.describe_content(data)
    try:
        return "text", data.decode()
    except UnicodeDecodeError:
        return "bytes", uploaded_file.describe_content(data)


_BARE_FIELD = lazy_pattern(r"[A-Za-z0-9*._~+%\[\]-]*")


def _form_fields(data: bytes) -> Iterable[tuple[str, str]]:
    """Parse a form; a field ``a`` without ``=`` has an empty value. Raises ``ValueError`` if the bytes are no form."""
    text = data.decode("ascii")
    if not all("=" in field or _BARE_FIELD.fullmatch(field) for field in text.split("&")):
        raise ValueError("not a form")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _group_fields(pairs: Iterable[tuple[str, Any]], rules: MatchRules) -> dict[str, list[Any]]:
    """Group values by field. The order of fields does not matter; the order of the values of one field does.

    A rule that leaves out a field also leaves out its members, which clients send as ``metadata[id]``.
    """
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    unwanted = {path.steps[0] for path in rules.paths if len(path.steps) == 1}
    unwanted.update(rules.labels)
    return {name: values for name, values in fields.items() if unwanted.isdisjoint((name, name.partition("[")[0]))}


def _canonical_part(part: multipart.Part) -> Any:
    """Return a plain field as its text, and a file as its name, type, size and hash."""
    if part.filename is not None:
        return uploaded_file.UploadedFile.from_part(part)
    kind, content = _text_or_bytes(part.data)
    if kind == "text" and not (part.content_type or part.transfer_encoding):
        return content
    value = {"content": content}
    if part.content_type:
        value["content_type"] = part.content_type
    if part.transfer_encoding:
        value["transfer_encoding"] = part.transfer_encoding
    return value

"""Says which header fields a cassette may hold: a short list, and what settings add. Credentials can never be added.

A list of allowed fields fails safely: a provider's new field that repeats the key is not stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from aquila.errors import ConfigError

REQUEST_HEADERS = frozenset({"accept", "content-type", "anthropic-beta", "anthropic-version", "openai-beta"})
"""Request fields that are stored, and that ``match_on = headers`` compares."""

RESPONSE_HEADERS = frozenset(
    {
        *(
            "allow",
            "apim-request-id",
            "content-disposition",
            "content-encoding",
            "content-range",
            "content-type",
            "etag",
        ),
        *("last-modified", "link", "location", "mcp-protocol-version", "mcp-session-id", "openai-processing-ms"),
        *("openai-version", "operation-location", "range", "request-id", "retry-after", "retry-after-ms"),
        *("tus-resumable", "upload-length", "upload-offset", "www-authenticate", "x-request-id", "x-should-retry"),
    }
)
"""Response fields that are stored. Lengths, cookies, dates and rate limits are not among them.

A content coding is undone before an answer is stored, and its field dropped. Where that is impossible it is kept.
"""

RESPONSE_PATTERNS = ("x-amz-*", "x-amzn-*", "x-goog-*", "x-ms-*")
"""Families of response fields that are stored: token counts, upload URLs, ids, without which clients cannot go on."""

_SECRET_NAME = re.compile(
    "(?:^|[-_])(?:apikey|assertion|auth|authentication|authorization|bearer|cookie2?|credentials?|csrf|jwt|key|passwd"
    "|password|secret|session|sig|signature|token|xsrf)(?:[-_]|$)"
)
_NOT_SECRET = re.compile("idempotency-key|mcp-session-id|.*-token-count")


@lru_cache(maxsize=1024)
def is_secret_header(name: str) -> bool:
    """Say whether a header field carries credentials by its name (``authorization``, ``x-api-key``, ``set-cookie``)."""
    name = name.lower()
    return not _NOT_SECRET.fullmatch(name) and _SECRET_NAME.search(name) is not None


def is_credential_header(name: str) -> bool:
    """Say whether the value of a request's header field, with its name in lower case, is searched for everywhere."""
    return name == "authorization" or is_secret_header(name)


def check_header_names(names: Iterable[str], setting: str) -> tuple[str, ...]:
    """Check names of header fields. Return them in lower case, sorted and without repeats.

    A name may end in ``*`` (``x-ratelimit-*``). ``setting`` names where they were written, for the message. Raises
    :class:`~aquila.errors.ConfigError` for a field that carries credentials, and for what cannot be a name.
    """
    lowered = {name.strip().lower() for name in names}
    for name in lowered:
        stem = name.removesuffix("*").rstrip("-")
        if not stem or not stem.isascii() or not stem.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{setting}: {name!r} is not the name of a header field; write for example 'x-trace-id'.")
        if is_secret_header(stem):
            raise ConfigError(
                f"{setting}: the header field {name!r} carries credentials and is never stored, so it cannot be "
                "matched or added. Remove it."
            )
    return tuple(sorted(lowered))


def is_allowed_header(allowed: frozenset[str], patterns: Sequence[str], name: str) -> bool:
    """Say whether a field may be stored: it is in ``allowed``, or one of ``patterns`` names it; credentials never."""
    if name in allowed or not patterns:
        return name in allowed
    return not is_secret_header(name) and any(
        name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns
    )

"""Says which header fields of a request a cassette may hold, and which fields carry credentials and are never stored.

Only the fields of a short list are kept, which settings can extend: a client may send its key in a field that nobody
has heard of. ``response_headers`` is about the fields of answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from aquila.errors import ConfigError

SUBPROTOCOLS = "sec-websocket-protocol"
"""The field in which a WebSocket names its subprotocols, and where browsers put a key, too."""

REQUEST_HEADERS = frozenset(
    {
        *("accept", "content-type", "anthropic-beta", "anthropic-version", "mcp-session-id", "openai-beta"),
        SUBPROTOCOLS,  # redacted
    }
)
"""Request fields that are stored, and that ``match_on = headers`` compares."""

# Words of names, and not a pattern: every replay asks, and compiling one takes as long as replaying a request.
_CREDENTIALS = (
    "apikey assertion auth authentication authorization bearer cookie cookie2 credential credentials creds csrf jwt"
    " key passcode passphrase passwd password pwd secret session sig signature token xsrf"
    # Of several words, without a hyphen.
    " accesskey accesstoken authkey authtoken jsessionid phpsessid privatekey secretkey sessid sessionid sessiontoken"
)
_SECRET_WORDS = frozenset(_CREDENTIALS.split())
_NOT_SECRET = frozenset(("idempotency-key", "mcp-session-id"))
_COUNT = "-token-count"


# Asked for each field of each request and answer. The cache holds names only, so no credential stays in it.
@lru_cache(maxsize=1024)
def is_secret_header(name: str) -> bool:
    """Say whether a header field carries credentials by its name (``authorization``, ``x-api-key``, ``set-cookie``)."""
    name = name.lower()
    if name in _NOT_SECRET or name.endswith(_COUNT):
        return False
    first, *others = name.replace("_", "-").split("-")
    return first in _SECRET_WORDS or not _SECRET_WORDS.isdisjoint(others) or others[-1:] == ["pass"]


def may_hold_credentials(name: str) -> bool:
    """Say whether a header field of a request may hold credentials, alone or beside other things.

    ``name`` is in lower case.
    """
    return name == SUBPROTOCOLS or is_secret_header(name)


def check_header_names(names: Iterable[str], setting: str) -> tuple[str, ...]:
    """Check names of header fields. Return them in lower case, sorted and without repeats.

    A name may end in ``*`` (``x-ratelimit-*``). ``setting`` names where they were written, for the message. Raises
    :class:`~aquila.errors.ConfigError` for a field that carries credentials, and for what cannot be a name.
    """
    lowered = {name.strip().lower() for name in names}
    for name in lowered:
        stem = name.removesuffix("*").rstrip("-")
        if not _is_name(stem):
            raise ConfigError(f"{setting}: {name!r} is not the name of a header field; write for example 'x-trace-id'.")
        if is_secret_header(stem):
            raise ConfigError(
                f"{setting}: the header field {name!r} carries credentials and is never stored, so it cannot be "
                "matched or added. Remove it."
            )
    return tuple(sorted(lowered))


def can_be_named(name: str) -> bool:
    """Say whether ``check_header_names`` accepts the name of a field, so that a setting can name it."""
    return _is_name(name) and not is_secret_header(name.lower())


def _is_name(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()


def is_allowed_header(allowed: frozenset[str], patterns: Sequence[str], name: str) -> bool:
    """Say whether a header field may be stored.

    It may if ``name``, in lower case, is in ``allowed``; or if it matches one of ``patterns``, names that may end in
    ``*``, and carries no credentials.
    """
    if name in allowed or not patterns:
        return name in allowed
    return not is_secret_header(name) and any(
        name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns
    )

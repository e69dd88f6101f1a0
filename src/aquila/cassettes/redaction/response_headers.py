"""Says which header fields of an answer a cassette keeps: all except four classes, for every provider.

A program may read any field of an answer, and a replay must give it what was recorded. So the fields that are left out
are listed, by class: credentials, who asked, what belongs to the connection, and what is meant for browsers. Settings
can bring back all of them except credentials. Of requests, only the fields in a list are kept (see
``request_headers``): no program gets the fields of a recorded request back, and each of them may hold a key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from aquila.cassettes.model import Headers
from aquila.cassettes.redaction.request_headers import is_allowed_header, is_secret_header

_WHO_ASKED = re.compile(
    r"(?:^|.*[-_])(?:org|organi[sz]ation|project|account|tenant|workspace|team|user|username|email|customer|subscription"
    r"|oauth|forwarded|ip|client-?ip|socket-?ip|ip-?country|country|geo)(?:[-_].*|$)"
)
"""Fields that reveal for whom an answer is: organisation, project, account, address, location."""

_OF_THE_CONNECTION = re.compile(
    "connection|keep-alive|proxy-.*|te|trailers?|transfer-encoding|upgrade|content-length|alt-svc|http2-settings"
    "|server|via|x-powered-by|x-cache|x-cache-hits|x-served-by|x-timer|x-varnish|x-azure-ref|x-msedge-ref"
    "|sec-websocket-(?:accept|extensions|version)"
    "|(?:cf|x-amz-cf|x-fastly|x-vercel|x-envoy|x-kong)-.*"
)
"""Fields of one connection, and of the servers on the way. The location of a server reveals that of the user.

``content-encoding`` is not in the list: whoever undoes the coding drops the field, and where that was not possible the
body needs it.
"""

_FOR_BROWSERS = re.compile(
    "strict-transport-security|content-security-policy(?:-report-only)?|(?:feature|permissions|referrer)-policy"
    "|x-content-type-options|x-frame-options|x-xss-protection|x-download-options|x-dns-prefetch-control|x-robots-tag"
    "|x-permitted-cross-domain-policies|cross-origin-.*|access-control-.*|timing-allow-origin|origin-agent-cluster"
    "|nel|report-to|reporting-endpoints|expect-ct|accept-ch|critical-ch|p3p"
)
"""Fields that tell browsers what pages may do."""

_DIFFERS_EACH_TIME = re.compile(
    "age|date|expires|server-timing|trace(?:parent|response|state)|x-runtime|.*rate-?limit.*"
    "|.*(?:request|trace|correlation|inference|span)-?id|.*-(?:id-2|latency|duration|elapsed|time|ms)"
)
"""Fields that differ although the answer is the same: dates, ids of requests, durations, what is left of a limit."""


# Both caches hold names only, never values: no secret stays in them. Providers send a few dozen names, again and again.
@lru_cache(maxsize=1024)
def is_kept_header(name: str) -> bool:
    """Say whether a field of an answer, with its name in lower case, is kept unless settings add it."""
    return not (
        is_secret_header(name)
        or _WHO_ASKED.fullmatch(name)
        or _OF_THE_CONNECTION.fullmatch(name)
        or _FOR_BROWSERS.fullmatch(name)
    )


# By the name alone, so no entry goes out of date. The answers of a provider have the same names again and again.
@lru_cache(maxsize=1024)
def differs_each_time(name: str) -> bool:
    """Say whether a field, with its name in lower case, has another value each time the same is recorded again."""
    return _DIFFERS_EACH_TIME.fullmatch(name) is not None


def choose_response_headers(headers: Headers, added: Sequence[str], *, has_whole_body: bool) -> Headers:
    """Return the header fields that a cassette keeps. Those that differ each time come last.

    ``added`` are names, or names with ``*``, that settings add. ``content-length`` is kept unless the answer
    ``has_whole_body``. An answer to HEAD has no body, and the length is what the program asked for. If a body broke
    off, the length tells clients that something is missing.
    """
    more = added if has_whole_body else (*added, "content-length")
    kept = [
        field
        for field in headers
        if is_kept_header(field[0].lower()) or is_allowed_header(frozenset(), more, field[0].lower())
    ]
    return tuple(sorted(kept, key=lambda field: differs_each_time(field[0].lower())))

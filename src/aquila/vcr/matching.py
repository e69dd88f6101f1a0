"""Translates vcrpy's matchers to the parts of a request that Aquila compares, or to a comparison of two requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vcr import matchers as known

from aquila.cassettes.model import RecordedRequest
from aquila.recording.sessions.filters import Comparison
from aquila.vcr.forms import compared_form

OF_PARTS = ("ignore", "ignore_query", "normalize")
"""Aquila's settings that change how parts are compared, and not what a comparison of two requests says."""

# Aquila's part "host" includes the port, so vcrpy's matcher of the port adds nothing.
_PARTS: dict[Any, tuple[str, ...]] = {
    known.method: ("method",),
    known.scheme: ("scheme",),
    known.host: ("host",),
    known.port: (),
    known.path: ("path",),
    known.query: ("query",),
    known.uri: ("scheme", "host", "path", "query"),
    known.body: ("body",),
    known.raw_body: ("body",),
    known.headers: ("headers",),
}


def parts_of(matchers: Sequence[Callable[..., Any]]) -> tuple[str, ...]:
    """Return the parts that the matchers compare, without the program's own matchers. There is always at least one."""
    parts = dict.fromkeys(part for matcher in matchers for part in _PARTS.get(matcher, ()))
    return tuple(parts) or ("method", "path")


def with_content(matchers: Sequence[Callable[..., Any]]) -> list[Callable[..., Any]]:
    """Return the matchers, with one that compares bodies if there is none."""
    compares = known.body in matchers or known.raw_body in matchers
    return list(matchers) if compares else [*matchers, known.body]


def comparison_of(matchers: Sequence[Callable[..., Any]]) -> Comparison | None:
    """Return a comparison of two requests if comparing parts is not enough, else None.

    It is not enough for matchers of the program's own, and if only one of host and port is compared.
    """
    own = any(matcher not in _PARTS for matcher in matchers)
    is_address_split = known.uri not in matchers and (known.host in matchers) != (known.port in matchers)
    if not own and not is_address_split and any(_PARTS.get(matcher) for matcher in matchers):
        return None
    chosen = tuple(matchers)

    def is_same(request: RecordedRequest, recorded: RecordedRequest) -> bool:
        return bool(known.requests_match(compared_form(request), compared_form(recorded), chosen))

    return is_same

"""Hypothesis strategies for cassettes: any request, any response, any bytes, any chunks.

``requests()``, ``responses()``, ``interactions()`` and ``cassettes()`` cover what can go over the wire.
``sse_streams()`` generates responses like a provider's event stream. ``cut(body, ...)`` cuts bytes into chunks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from aquila.cassettes.model import Cassette, End, Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse

MILLISECONDS = st.integers(min_value=0, max_value=10_000_000)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
"""Any text that UTF-8 can hold."""

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)

json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
    st.sampled_from(
        ["", " ", "no", "null", "1", "1e5", "~", "- a", "a: b", "#x", "line\nline\n", " lead", "trail \n x", "\t"]
    ),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    json_scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(text | st.sampled_from(["content", "role"]), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Any JSON value."""


def encode(value: Any, style: str) -> bytes:
    """Write a JSON value in one of the styles of `json_bodies`."""
    if style == "spaced":
        return json.dumps(value, ensure_ascii=False).encode()
    if style == "ascii":
        return json.dumps(value, separators=(",", ":")).encode()
    if style == "indent":
        return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
    if style == "sloppy":
        return json.dumps(value, indent=1).replace('": ', '"  :').replace("/", "\\/").encode()
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


json_bodies = st.builds(encode, json_values, st.sampled_from(["compact", "spaced", "ascii", "indent", "sloppy"]))
"""JSON in the writing styles of different servers."""

bodies = st.one_of(st.just(b""), st.binary(max_size=200), text.map(str.encode), json_bodies)
"""Any body: empty, binary, text, JSON."""

header_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
passing_names = st.sampled_from(["date", "age", "x-request-id", "x-ratelimit-remaining-tokens"])
headers: st.SearchStrategy[Headers] = st.lists(st.tuples(header_names | passing_names, printable), max_size=4).map(
    tuple
)
"""Any headers, and some whose values differ each time the same response is recorded."""

urls = st.builds(
    "https://{}.example/{}{}".format,
    st.sampled_from(["api", "local", "eu"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789/._~%-", max_size=20),
    st.sampled_from(["", "?a=1", "?a=1&a=2&b=%20", "?q=x#y"]),
)

moments = st.one_of(st.just(""), st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"))
"""A time as `Interaction.recorded` holds it."""

ends: st.SearchStrategy[End] = st.sampled_from(["complete", "closed", "broken"])


def cut(body: bytes, positions: Sequence[int], times: Sequence[int] = ()) -> tuple[RecordedChunk, ...]:
    """Cut a body into chunks at the given byte positions. Equal positions give empty chunks.

    ``times`` are milliseconds, one for each chunk. Missing times are 0.
    """
    edges = [0, *sorted(position % (len(body) + 1) for position in positions), len(body)]
    spans = list(pairwise(edges))
    moments = [*times, *([0] * len(spans))]
    return tuple(RecordedChunk(body[start:stop], at) for (start, stop), at in zip(spans, moments, strict=False))


@st.composite
def chunked(draw: st.DrawFn, body: st.SearchStrategy[bytes] = bodies) -> tuple[RecordedChunk, ...]:
    """A body that is cut anywhere, with times that never decrease. An empty body may have no chunk at all."""
    whole = draw(body)
    if not whole and draw(st.booleans()):
        return ()
    positions = draw(st.lists(st.integers(0, len(whole)), max_size=6))
    times = sorted(draw(st.lists(MILLISECONDS, min_size=len(positions) + 1, max_size=len(positions) + 1)))
    return cut(whole, positions, times)


@st.composite
def sse_bodies(draw: st.DrawFn) -> bytes:
    """An event stream like a provider's: several kinds of events, comments, `[DONE]`, CRLF, complete or cut off."""
    tokens = draw(st.lists(text, min_size=1, max_size=12))
    spaced = draw(st.booleans())
    named = draw(st.booleans())
    separators = (", ", ": ") if spaced else (",", ":")
    extra = draw(json_values)
    lines: list[str] = []
    for number, token in enumerate(tokens):
        shape = draw(st.integers(0, 4))
        value: dict[str, Any] = {"id": "chunk-1", "sequence_number": number}
        if shape == 0:
            value["choices"] = [{"index": 0, "delta": {"content": token}, "finish_reason": None}]
        elif shape == 1:
            value["choices"] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        elif shape == 2:
            value |= {"choices": [], "usage": {"total_tokens": number}, "extra": extra}
        else:
            value |= {"type": "text.delta", "delta": token, "obfuscation": token[::-1]}
        if named:
            lines.append(f"event: {value.get('type', 'message')}\n")
        lines.append("data: " + json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators) + "\n\n")
        lines.append(
            draw(st.sampled_from(["", "", "", ": keep-alive\n\n", f"id: {number}\nretry: 10\n\n", "\n", "data:\n\n"]))
        )
    lines.append(draw(st.sampled_from(["data: [DONE]\n\n", "", "data: [DONE]", "data: {"])))
    body = "".join(lines)
    if draw(st.integers(0, 4)) == 0:
        body = body.replace("\n", "\r\n")
    return body.encode()


_values = st.sampled_from(
    [
        "",
        " ",
        "  ",
        "hello",
        "[DONE]",
        "{",
        "{}",
        '{"a":1}',
        '{"a":}',
        '{"a":"x"} ',
        '{"a":{"b":[1,"y"]}}',
        "[1]",
        "«",
        "é",
    ]
)
_lines = st.one_of(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["data", "data", "event", "id", ""]),
        st.sampled_from([": ", ": ", ":"]),
        _values,
    ),
    st.sampled_from(["", "", "", "data", "data:  ", ": ping", "\ufeffdata: x", "other: y", "data : z"]),
)


@st.composite
def plain_sse_bodies(draw: st.DrawFn) -> bytes:
    """Any lines that the standard of server-sent events defines: fields without a value, comments, any line ends."""
    events = draw(st.lists(st.lists(_lines, min_size=1, max_size=3), min_size=1, max_size=6))
    blanks = draw(st.lists(st.sampled_from([1, 1, 1, 1, 0, 2]), min_size=len(events), max_size=len(events)))
    lines = [line for event, blank in zip(events, blanks, strict=True) for line in (*event, *[""] * blank)]
    lines *= draw(st.integers(1, 5))  # the YAML codec folds repeated events
    newline = st.sampled_from(["\n", "\r\n", "\r"])
    ends = draw(newline.map(lambda one: [one]) | st.lists(newline, min_size=1, max_size=5))
    body = "".join([line + ends[at % len(ends)] for at, line in enumerate(lines)])
    return (body + draw(st.sampled_from(["", "data: ", "\n"]))).encode()


def requests(body: st.SearchStrategy[bytes] = bodies) -> st.SearchStrategy[RecordedRequest]:
    """Any request."""
    return st.builds(RecordedRequest, st.sampled_from(["POST", "GET", "DELETE", "PATCH"]), urls, headers, body)


def responses(body: st.SearchStrategy[bytes] = bodies) -> st.SearchStrategy[RecordedResponse]:
    """Any response, complete or not."""
    return st.builds(
        RecordedResponse,
        status=st.integers(100, 599),
        headers=headers,
        chunks=chunked(body),
        end=ends,
        error=st.just("") | text,
        started=MILLISECONDS,
        ended=MILLISECONDS,
        attempts=st.sampled_from([0, 0, 1, 3]),
        retried=st.booleans(),
    )


def sse_streams() -> st.SearchStrategy[RecordedResponse]:
    """A response that is an event stream, cut anywhere."""
    return responses(sse_bodies())


def interactions() -> st.SearchStrategy[Interaction]:
    """Any interaction, streamed or not."""
    upstreams = st.sampled_from(["", "live", "local", "my.package:factory"])
    return st.builds(Interaction, requests(), responses() | sse_streams(), moments, upstreams, text)


def cassettes(max_size: int = 4) -> st.SearchStrategy[Cassette]:
    """A cassette of up to ``max_size`` interactions."""
    return st.lists(interactions(), max_size=max_size).map(Cassette.from_interactions)

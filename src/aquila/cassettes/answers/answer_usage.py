"""The tokens that answers report, for every kind of provider. They are for the terminal, for reports and for JUnit XML.

In a stream, few events report tokens. Only lines that may hold one of the field names are parsed as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import SWITCHED, RecordedChunk, RecordedResponse
from aquila.json_fields import MALFORMED, mapping
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern

if TYPE_CHECKING:
    from aquila.cassettes import amazon_frames
    from aquila.cassettes.web_socket_frames import frame as frames
else:
    lazy_modules(globals(), "aquila.cassettes: amazon_frames", "aquila.cassettes.web_socket_frames: frame as frames")

_TOKENS = {
    "input_tokens": "input_tokens",
    "prompt_tokens": "input_tokens",
    "promptTokenCount": "input_tokens",
    "prompt_eval_count": "input_tokens",
    "inputTokens": "input_tokens",
    "output_tokens": "output_tokens",
    "completion_tokens": "output_tokens",
    "candidatesTokenCount": "output_tokens",
    "eval_count": "output_tokens",
    "outputTokens": "output_tokens",
    "total_tokens": "total_tokens",
    "totalTokenCount": "total_tokens",
    "totalTokens": "total_tokens",
    "cachedContentTokenCount": "cached_tokens",
    "cacheReadInputTokens": "cached_tokens",
    "cache_read_input_tokens": "cached_tokens",
}
_HOLDERS = frozenset(("usage", "usageMetadata", "billed_units", *_TOKENS))
_MAY_HAVE = lazy_pattern(rb"oken|eval_count")
_HOLDER = lazy_pattern(rb'"(?:usage|usageMetadata)"\s*:\s*(?=\{)')
_BILLED = lazy_pattern(rb'"billed_units"\s*:\s*(?=\{)')
_LONGEST_USAGE = 20_000
_BEGINNING, _END = 64 * 1024, 256 * 1024
"""How many bytes are read at each end of a large answer. Anthropic reports input tokens in the first event; all other
counts are at the end."""


def tokens_of(response: RecordedResponse) -> int:
    """Return how many tokens an answer took in all, 0 if it reports none. Raises like ``usage_of_response``."""
    known = response.known_tokens
    return known if known is not None else total_of(usage_of_response(response))


def usage_of_response(response: RecordedResponse) -> dict[str, int]:
    """Return the tokens that an answer reports, or those of all answers in a conversation over a WebSocket.

    Of a large answer only the beginning and the end are read. Raises ``CassetteCorrupt`` if its file is missing.
    """
    chunks = response.chunks
    if response.status == SWITCHED:
        return usage_of_messages(_received(chunks))
    if isinstance(chunks, StoredChunks) and chunks.file.size > _END + _BEGINNING:
        return usage_of_ends(chunks.file.first_bytes(_BEGINNING), chunks.file.last_bytes(_END))
    return usage_of_answer(response.body)


def usage_of_answer(body: bytes) -> dict[str, int]:
    """Return the tokens that an answer reports, streamed or not: ``input_tokens``, ``output_tokens`` and the like."""
    usage: dict[str, int] = {}
    try:
        for event in _events_of(body):
            read_event_usage(event, usage)
    except MALFORMED:
        pass  # the events before this one count
    return usage


def usage_of_ends(beginning: bytes, end: bytes) -> dict[str, int]:
    """Return the tokens that an answer reports, if only its beginning and its end are known."""
    usage = usage_of_answer(beginning)
    for found in list(_HOLDER.finditer(end)) or _BILLED.finditer(end):
        text = end[found.end() : found.end() + _LONGEST_USAGE].decode("utf-8", "replace")
        try:
            _read_usage({"usage": json.JSONDecoder().raw_decode(text)[0]}, usage)
        except MALFORMED:
            continue
    for line in end.splitlines()[-2:]:  # Ollama and Cohere's first API report tokens there, outside of any `usage`
        read_event_usage(frames.parse_object(line) or {}, usage)
    return usage


def usage_of_messages(messages: Iterable[bytes]) -> dict[str, int]:
    """Return the tokens of all answers in the messages of a provider over a WebSocket."""
    total: dict[str, int] = {}
    for message in messages:
        if message[:1] != b"{" or _MAY_HAVE.search(message) is None:
            continue
        usage: dict[str, int] = {}
        read_event_usage(frames.parse_object(message) or {}, usage)
        for name, count in usage.items():
            total[name] = total.get(name, 0) + count
    return total


def total_of(usage: dict[str, int]) -> int:
    """Return how many tokens an answer took in all."""
    return usage.get("total_tokens") or usage.get("input_tokens", 0) + usage.get("output_tokens", 0)


def read_event_usage(event: dict[str, Any], usage: dict[str, int]) -> None:
    """Add the tokens of one event, or of a whole answer, to ``usage``. Later events replace earlier counts."""
    for holder in (event, *(mapping(event.get(name)) for name in ("response", "message", "delta", "meta"))):
        _read_usage(holder, usage)
    _read_usage(mapping(mapping(event.get("response")).get("meta")), usage)  # the end of a stream of Cohere's first API


def _received(chunks: Iterable[RecordedChunk]) -> Iterator[bytes]:
    for chunk in chunks:
        if _MAY_HAVE.search(chunk.data) is None:
            continue
        try:
            said = frames.read_event(chunk)
        except frames.NotAFrame:
            continue
        if isinstance(said, frames.Frame) and not said.sent:
            yield said.data


def _events_of(body: bytes) -> Iterator[dict[str, Any]]:
    if body[:1] == b"\0":
        yield from amazon_frames.read_json_frames(body)
        return
    if _MAY_HAVE.search(body) is None:
        return
    if body.lstrip()[:1] in (b"{", b"["):
        try:
            whole: Any = json.loads(body)
        except ValueError:  # several objects, or one that was cut off
            pass
        else:
            yield from (each for each in (whole if isinstance(whole, list) else [whole]) if isinstance(each, dict))
            return
    for line in body.splitlines():
        if _MAY_HAVE.search(line) is not None:
            event = frames.parse_object(line.removeprefix(b"data:"))
            if event is not None:
                yield event


def _read_usage(holder: dict[str, Any], usage: dict[str, int]) -> None:
    if _HOLDERS.isdisjoint(holder):
        return
    found = mapping(holder.get("usage")) or mapping(holder.get("usageMetadata")) or holder
    # Cohere's, of which it bills some. Its embeddings say only what it bills.
    found = mapping(found.get("tokens")) or mapping(found.get("billed_units")) or found
    for name, kind in _TOKENS.items():
        if (count := _count_of(found.get(name))) is not None:
            usage[kind] = count
    for details in ("prompt_tokens_details", "input_tokens_details"):
        if (cached := _count_of(mapping(found.get(details)).get("cached_tokens"))) is not None:
            usage["cached_tokens"] = cached
    # Gemini counts thoughts beside the candidates, and has no candidates if its limit of tokens ended the thoughts.
    if (thoughts := _count_of(found.get("thoughtsTokenCount"))) is not None:
        usage["output_tokens"] = (_count_of(found.get("candidatesTokenCount")) or 0) + thoughts
    # Anthropic's `input_tokens` exclude tokens that its cache has read or written. Those of other providers include
    # them.
    if _count_of(found.get("input_tokens")) is not None and "cache_read_input_tokens" in found:
        parts = (found.get(name) for name in ("cache_read_input_tokens", "cache_creation_input_tokens"))
        usage["input_tokens"] += sum(_count_of(part) or 0 for part in parts)


def _count_of(value: Any) -> int | None:
    """Return a value if it is a count; None for any other value."""
    return value if type(value) is int and value >= 0 else None

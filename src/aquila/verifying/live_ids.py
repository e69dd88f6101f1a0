"""Replaces recorded ids by live ones. A provider gives new ids with each answer.

A request that continues a conversation names ids from earlier answers. The provider does not know the recorded ones
any more, so the id at the same place in the live answer is sent.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from aquila.cassettes.matching.provider_ids import ids_given_by, ids_in_url
from aquila.cassettes.model import Interaction, RecordedRequest, RecordedResponse
from aquila.verifying.answers import read_values
from aquila.verifying.shapes import kind_of

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands: names of fields, and for an item of a list its kind and its number among items of that kind."""

_PART_OF_PATH = re.compile("[^/]+")
_PART_OF_QUERY = re.compile("(?<==)[^&;]+|[^&;=]+")
"""A value in a query, or a name."""
_WORD = re.compile("[^/:&;=]+")
"""A word in a part that is no id as a whole. The word may be one, as in ``agents/ID:query``."""


class LostId(Exception):
    """A live answer has no value where the recorded one has an id. The text names the id."""


def map_ids(recorded: Interaction, live: RecordedResponse) -> dict[str, str | None]:
    """Return for each id in a recorded answer the value at the same place in a live answer, or None."""
    given = {value for value in ids_given_by(recorded) if not value.isdecimal()}
    there: dict[Place, str] = {}
    for place, value in _strings_in(live):
        there.setdefault(place, value)
    found: dict[str, str | None] = dict.fromkeys(given)
    for place, value in _strings_in(recorded.response):
        if value in given and (other := there.get(place)) is not None:
            # An id may also be named by a part of itself: `files/abc` in the path of a URL, or a URL by its last part.
            for part, counterpart in zip((value, *ids_in_url(value)), (other, *ids_in_url(other)), strict=False):
                if part in given and found[part] is None:
                    found[part] = counterpart
    return found


def replace_ids(request: RecordedRequest, ids: Mapping[str, str | None]) -> RecordedRequest:
    """Return a request with its ids replaced, in URL, header fields and JSON body.

    ``ids``: the live id of each recorded one, or None. Raises ``LostId`` if the request names an id without a live one.
    """
    body = request.body
    if any(each.encode() in body for each in ids):
        with suppress(ValueError):  # a form or a file: providers do not look up ids there
            body = json.dumps(_replace_in(json.loads(body), ids, "")).encode()
    headers = tuple((name, _counterpart(text, name, ids) if text in ids else text) for name, text in request.headers)
    return RecordedRequest(request.method, _replace_in_url(request.url, ids), headers, body)


def _replace_in_url(url: str, ids: Mapping[str, str | None]) -> str:
    """Return a URL with its ids replaced: parts of the path, values in the query, and words in these."""

    def replace(found: re.Match[str]) -> str:
        text = unquote(found[0])
        if text in ids:
            return quote(_counterpart(text, "the URL", ids), safe=":")
        return found[0] if _WORD.fullmatch(found[0]) else _WORD.sub(replace, found[0])

    parts = urlsplit(url)
    path, query = _PART_OF_PATH.sub(replace, parts.path), _PART_OF_QUERY.sub(replace, parts.query)
    return parts._replace(path=path, query=query).geturl()


def _replace_in(value: Any, ids: Mapping[str, str | None], path: str) -> Any:
    if isinstance(value, str):
        return _counterpart(value, path, ids) if value in ids else value
    if isinstance(value, list):
        return [_replace_in(each, ids, f"{path}[{number}]") for number, each in enumerate(value)]
    if isinstance(value, dict):
        return {name: _replace_in(each, ids, f"{path}.{name}".removeprefix(".")) for name, each in value.items()}
    return value


def _counterpart(value: str, where: str, ids: Mapping[str, str | None]) -> str:
    live = ids[value]
    if live is None:
        raise LostId(f"{where} names {value}, an id from a recorded answer, but the live answer has no id in its place")
    return live


def _strings_in(response: RecordedResponse) -> Iterator[tuple[Place, str]]:
    for name, text in response.headers:
        yield ("header", name), text
    _, values = read_values(response.body)
    yield from _strings_of_items(values, ())


def _strings_of_items(values: Iterable[Any], place: Place) -> Iterator[tuple[Place, str]]:
    counts: Counter[str] = Counter()
    for value in values:
        kind = kind_of(value) if isinstance(value, dict) else ""
        yield from _strings_of(value, (*place, kind, counts[kind]))
        counts[kind] += 1


def _strings_of(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        yield from _strings_of_items(value, place)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _strings_of(each, (*place, name))

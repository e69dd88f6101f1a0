"""From what a YAML cassette says to the cassette that it means."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias, get_args

from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.sse_fold import fold_reader
from aquila.cassettes.codecs.yaml.tree import Number, Tree
from aquila.cassettes.model import (
    FORMAT_VERSION,
    Cassette,
    End,
    Headers,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)

Path: TypeAlias = tuple[str | int, ...]

_ENDS = get_args(End)
_BODIES = ("json", "body", "base64", "events")
_REQUEST = frozenset({"method", "url", "headers", "json", "json_style", "json_literals", "body", "base64"})
_RESPONSE = (_REQUEST - {"method", "url"}) | {
    "status", "text", "started", "ended", "end", "error", "chunks", "shared", "templates", "events", "newline",
}  # fmt: skip
_INTERACTION = frozenset({"request", "recorded", "response"})
_CHUNK = re.compile(r"([0-9]{1,15})(?::([0-9]{1,15}))?")


class Mistake(Exception):
    """Something that the format does not allow, the path to it, and how many lines below that it is."""

    def __init__(self, what: str, path: Path, *, below: int = 0, newer: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.below = below
        self.newer = newer


def cassette(tree: Tree) -> Cassette:
    """Turn a tree into a cassette. Raises Mistake."""
    if type(tree) is not dict or "aquila" not in tree:
        what = "the file is empty" if tree is None else "not a cassette: the line 'aquila: 1' at the top is missing"
        raise Mistake(what, ())
    version = _number(tree, "aquila", ())
    if version > FORMAT_VERSION:
        raise Mistake(f"format {version} is newer than format {FORMAT_VERSION}", ("aquila",), newer=True)
    if version < 1:
        raise Mistake("there is no such format", ("aquila",))
    for name in tree:
        if name not in ("aquila", "interactions"):
            raise Mistake(f"unknown key {_short(name)}", (name,))
    items = tree.get("interactions")
    if type(items) is not list:
        raise Mistake("'interactions' must be a list", ("interactions",))
    return Cassette(interactions(items))


def interactions(trees: Iterable[Tree]) -> tuple[Interaction, ...]:
    """Turn trees into interactions. Raises Mistake."""
    return tuple([_interaction(tree, ("interactions", index)) for index, tree in enumerate(trees)])


def _interaction(tree: Tree, path: Path) -> Interaction:
    _check(tree, _INTERACTION, ("request", "response"), path)
    return Interaction(
        _request(tree["request"], (*path, "request")),
        _response(tree["response"], (*path, "response")),
        sys.intern(_text(tree, "recorded", path)),
    )


def _request(tree: Tree, path: Path) -> RecordedRequest:
    _check(tree, _REQUEST, ("method", "url"), path)
    headers = _headers(tree["headers"], (*path, "headers")) if "headers" in tree else ()
    # Interactions have these in common: each text is held once.
    method, url = sys.intern(_text(tree, "method", path)), sys.intern(_text(tree, "url", path))
    return RecordedRequest(method, url, headers, _body(tree, path))


def _response(tree: Tree, path: Path) -> RecordedResponse:
    _check(tree, _RESPONSE, ("status",), path)
    headers = _headers(tree["headers"], (*path, "headers")) if "headers" in tree else ()
    ended = _number(tree, "ended", path)
    end = tree.get("end", "complete")
    if end not in _ENDS:
        raise Mistake(f"'end' must be one of {', '.join(_ENDS)}", (*path, "end"))
    if "events" in tree:
        chunks = _events(tree, path)
    else:
        chunks = _chunks(_body(tree, path), tree, ended, path)
    return RecordedResponse(
        _number(tree, "status", path),
        headers,
        chunks,
        end,
        _text(tree, "error", path),
        _number(tree, "started", path),
        ended,
    )


def _check(tree: Tree, known: frozenset[str], needed: tuple[str, ...], path: Path) -> None:
    if type(tree) is not dict:
        name = f"{path[-1]!r}" if isinstance(path[-1], str) else "an interaction"
        raise Mistake(f"{name} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise Mistake(f"{name!r} is missing", path)
    if not tree.keys() <= known:
        name = next(name for name in tree if name not in known)
        raise Mistake(f"unknown key {_short(name)}", (*path, name))


def _text(tree: dict[str, Tree], name: str, path: Path) -> str:
    value = tree.get(name, "")
    if type(value) is str:
        return value
    if type(value) is Number:
        return str(value)
    raise Mistake(f"{name!r} must be text", (*path, name))


def _number(tree: dict[str, Tree], name: str, path: Path) -> int:
    value = tree.get(name)
    if value is None and name not in tree:
        return 0
    if type(value) is not Number or not value.isdigit() or len(value) > 15:
        raise Mistake(f"{name!r} must be a whole number", (*path, name))
    return int(value)


def _headers(tree: Tree, path: Path) -> Headers:
    if type(tree) is dict:
        return _shared(tuple([(name, _text(tree, name, path)) for name in tree]))
    if type(tree) is not list:
        raise Mistake("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for index, item in enumerate(tree):
        if type(item) is not dict or len(item) != 1:
            raise Mistake("a header must be one name with its value", (*path, index))
        pairs += [(name, _text(item, name, (*path, index))) for name in item]
    return tuple(pairs)


@lru_cache(maxsize=1024)
def _shared(headers: Headers) -> Headers:
    """The same fields as one object, for all interactions that have them."""
    return headers


def _body(tree: dict[str, Tree], path: Path) -> bytes:
    forms = [name for name in _BODIES if name in tree]
    if len(forms) > 1:
        raise Mistake(f"a body is given as '{forms[0]}' and as '{forms[1]}'", (*path, forms[1]))
    if "json" in tree:
        return _json(tree, path)
    if "body" in tree:
        return _text(tree, "body", path).encode()
    if "base64" in tree:
        try:
            return base64.b64decode(_text(tree, "base64", path), validate=True)
        except (ValueError, binascii.Error):
            raise Mistake("not base64", (*path, "base64")) from None
    return b""


def _json(tree: dict[str, Tree], path: Path) -> bytes:
    place, value = "json_style", tree["json"]
    try:
        style = json_body.Style.of(_text(tree, "json_style", path)) if "json_style" in tree else json_body.Style()
        place = "json_literals"
        if place in tree:
            value = json_body.put(value, _texts(tree, place, path))
        place = "json"
        return json_body.write(value, style).encode()
    except ValueError as error:
        raise Mistake(str(error), (*path, place)) from None


def _texts(tree: dict[str, Tree], name: str, path: Path) -> dict[str, str]:
    texts = tree.get(name, {})
    if type(texts) is not dict:
        raise Mistake(f"{name!r} must be a mapping", (*path, name))
    return {key: _text(texts, key, (*path, name)) for key in texts}


def _events(tree: dict[str, Tree], path: Path) -> tuple[RecordedChunk, ...]:
    for other in ("json", "body", "base64", "chunks"):
        if other in tree:
            raise Mistake(f"'{other}' does not go with 'events'", (*path, other))
    newline = tree.get("newline", "lf")
    if newline not in ("lf", "crlf"):
        raise Mistake("'newline' must be lf or crlf", (*path, "newline"))
    folded = fold_reader.Folded(
        _text(tree, "events", path),
        _texts(tree, "templates", path),
        _texts(tree, "shared", path),
        newline == "crlf",
    )
    try:
        return fold_reader.unfold(folded)
    except fold_reader.FoldError as error:
        if isinstance(error.key, int):
            raise Mistake(str(error), (*path, error.part), below=error.key + 1) from None
        raise Mistake(str(error), (*path, error.part, error.key)) from None


def _chunks(body: bytes, tree: dict[str, Tree], ended: int, path: Path) -> tuple[RecordedChunk, ...]:
    """Cut a body: ``at:size`` for each chunk, the last one takes the rest. A body without cuts came at the end."""
    if "chunks" not in tree:
        return (RecordedChunk(body, ended),) if body else ()
    chunks: list[RecordedChunk] = []
    start = 0
    for item in _text(tree, "chunks", path).split(" "):
        found = _CHUNK.fullmatch(item)
        if found is None or start > len(body):
            raise Mistake("'chunks' must be times and sizes ('120:4096 133') that fit the body", (*path, "chunks"))
        stop = start + int(found[2]) if found[2] else len(body)
        chunks.append(RecordedChunk(body[start:stop], int(found[1])))
        start = stop if found[2] else stop + 1  # nothing can come after the rest
    if chunks and start not in (len(body), len(body) + 1):
        raise Mistake(f"the chunks have {start} bytes, the body {len(body)}", (*path, "chunks"))
    return tuple(chunks)


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:39] + "…")

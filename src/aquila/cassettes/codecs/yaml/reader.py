"""Build a `Cassette` from parsed YAML."""

from __future__ import annotations

import base64
import binascii
import re
import sys
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

TreePath: TypeAlias = tuple[str | int, ...]

_ENDS = get_args(End)
_BODIES = ("json", "body", "base64", "events")
_REQUEST = frozenset({"method", "url", "headers", "json", "json_style", "json_literals", "body", "base64"})
_RESPONSE = (_REQUEST - {"method", "url"}) | {
    "status", "text", "started", "ended", "end", "error", "chunks", "shared", "templates", "events", "newline",
}  # fmt: skip
_INTERACTION = frozenset({"request", "recorded", "response"})
_CHUNK = re.compile(r"([0-9]{1,15})(?::([0-9]{1,15}))?")


class FormatError(Exception):
    """A mistake in a cassette: ``what`` is wrong, at which ``path``, and how many lines ``below`` that path's line."""

    def __init__(self, what: str, path: TreePath, *, below: int = 0, newer: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.path = path
        self.below = below
        self.newer = newer


def build_cassette(tree: dict[str, Tree]) -> Cassette:
    """Build a cassette from the mapping at the top of a document. Items that are interactions already are taken over.

    Raises FormatError.
    """
    _check_version(tree)
    for name in tree:
        if name not in ("aquila", "interactions"):
            raise FormatError(f"unknown key {_shortened(name)}", (name,))
    items = tree.get("interactions")
    if type(items) is not list:
        raise FormatError("'interactions' must be a list", ("interactions",))
    return Cassette(
        tuple([item if type(item) is Interaction else build_item(tree, at, item) for at, item in enumerate(items)])
    )


def build_item(top: dict[str, Tree], index: int, tree: Tree) -> Interaction:
    """Build the interaction with an index (from 0) of the document whose top is given. Raises FormatError."""
    if index == 0:
        _check_version(top)
    return _build_interaction(tree, ("interactions", index))


def _check_version(top: dict[str, Tree]) -> None:
    version = _require_number(top, "aquila", ())
    if version > FORMAT_VERSION:
        raise FormatError(f"format {version} is newer than format {FORMAT_VERSION}", ("aquila",), newer=True)
    if version < 1:
        raise FormatError("there is no such format", ("aquila",))


def _build_interaction(tree: Tree, path: TreePath) -> Interaction:
    _check_keys(tree, _INTERACTION, ("request", "response"), path)
    return Interaction(
        _build_request(tree["request"], (*path, "request")),
        _build_response(tree["response"], (*path, "response")),
        sys.intern(_require_text(tree, "recorded", path)),
    )


def _build_request(tree: Tree, path: TreePath) -> RecordedRequest:
    _check_keys(tree, _REQUEST, ("method", "url"), path)
    headers = _build_headers(tree["headers"], (*path, "headers")) if "headers" in tree else ()
    # Interactions have these in common: each text is held once.
    method, url = sys.intern(_require_text(tree, "method", path)), sys.intern(_require_text(tree, "url", path))
    return RecordedRequest(method, url, headers, _build_body(tree, path))


def _build_response(tree: Tree, path: TreePath) -> RecordedResponse:
    _check_keys(tree, _RESPONSE, ("status",), path)
    headers = _build_headers(tree["headers"], (*path, "headers")) if "headers" in tree else ()
    ended = _require_number(tree, "ended", path)
    end = tree.get("end", "complete")
    if end not in _ENDS:
        raise FormatError(f"'end' must be one of {', '.join(_ENDS)}", (*path, "end"))
    if "events" in tree:
        chunks = _events(tree, path)
    else:
        chunks = _chunks(_build_body(tree, path), tree, ended, path)
    return RecordedResponse(
        _require_number(tree, "status", path),
        headers,
        chunks,
        end,
        _require_text(tree, "error", path),
        _require_number(tree, "started", path),
        ended,
    )


def _check_keys(tree: Tree, known: frozenset[str], needed: tuple[str, ...], path: TreePath) -> None:
    if type(tree) is not dict:
        name = f"{path[-1]!r}" if isinstance(path[-1], str) else "an interaction"
        raise FormatError(f"{name} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise FormatError(f"{name!r} is missing", path)
    if not tree.keys() <= known:
        name = next(name for name in tree if name not in known)
        raise FormatError(f"unknown key {_shortened(name)}", (*path, name))


def _require_text(tree: dict[str, Tree], name: str, path: TreePath) -> str:
    value = tree.get(name, "")
    if type(value) is str:
        return value
    if type(value) is Number:
        return str(value)
    raise FormatError(f"{name!r} must be text", (*path, name))


def _require_number(tree: dict[str, Tree], name: str, path: TreePath) -> int:
    value = tree.get(name)
    if value is None and name not in tree:
        return 0
    if type(value) is not Number or not value.isdigit() or len(value) > 15:
        raise FormatError(f"{name!r} must be a whole number", (*path, name))
    return int(value)


def _build_headers(tree: Tree, path: TreePath) -> Headers:
    if type(tree) is dict:
        return _shared_headers(tuple([(name, _require_text(tree, name, path)) for name in tree]))
    if type(tree) is not list:
        raise FormatError("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for index, item in enumerate(tree):
        if type(item) is not dict or len(item) != 1:
            raise FormatError("a header must be one name with its value", (*path, index))
        pairs += [(name, _require_text(item, name, (*path, index))) for name in item]
    return tuple(pairs)


@lru_cache(maxsize=1024)
def _shared_headers(headers: Headers) -> Headers:
    """The same fields as one object, for all interactions that have them."""
    return headers


def _build_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    forms = [name for name in _BODIES if name in tree]
    if len(forms) > 1:
        raise FormatError(f"a body is given as '{forms[0]}' and as '{forms[1]}'", (*path, forms[1]))
    if "json" in tree:
        return _build_json_body(tree, path)
    if "body" in tree:
        return _require_text(tree, "body", path).encode()
    if "base64" in tree:
        try:
            return base64.b64decode(_require_text(tree, "base64", path), validate=True)
        except (ValueError, binascii.Error):
            raise FormatError("not base64", (*path, "base64")) from None
    return b""


def _build_json_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    place, value = "json_style", tree["json"]
    try:
        style = (
            json_body.JsonStyle.from_words(_require_text(tree, "json_style", path))
            if "json_style" in tree
            else json_body.JsonStyle()
        )
        place = "json_literals"
        if place in tree:
            value = json_body.put_literals(value, _require_texts(tree, place, path))
        place = "json"
        return json_body.write_json(value, style).encode()
    except ValueError as error:
        raise FormatError(str(error), (*path, place)) from None


def _require_texts(tree: dict[str, Tree], name: str, path: TreePath) -> dict[str, str]:
    texts = tree.get(name, {})
    if type(texts) is not dict:
        raise FormatError(f"{name!r} must be a mapping", (*path, name))
    return {key: _require_text(texts, key, (*path, name)) for key in texts}


def _events(tree: dict[str, Tree], path: TreePath) -> tuple[RecordedChunk, ...]:
    for other in ("json", "body", "base64", "chunks"):
        if other in tree:
            raise FormatError(f"'{other}' does not go with 'events'", (*path, other))
    newline = tree.get("newline", "lf")
    if newline not in ("lf", "crlf"):
        raise FormatError("'newline' must be lf or crlf", (*path, "newline"))
    folded = fold_reader.Folded(
        _require_text(tree, "events", path),
        _require_texts(tree, "templates", path),
        _require_texts(tree, "shared", path),
        newline == "crlf",
    )
    try:
        return fold_reader.unfold(folded)
    except fold_reader.FoldError as error:
        if isinstance(error.key, int):
            raise FormatError(str(error), (*path, error.part), below=error.key + 1) from None
        raise FormatError(str(error), (*path, error.part, error.key)) from None


def _chunks(body: bytes, tree: dict[str, Tree], ended: int, path: TreePath) -> tuple[RecordedChunk, ...]:
    """Cut a body: ``at:size`` for each chunk, the last one takes the rest. A body without cuts came at the end."""
    if "chunks" not in tree:
        return (RecordedChunk(body, ended),) if body else ()
    chunks: list[RecordedChunk] = []
    start = 0
    for item in _require_text(tree, "chunks", path).split(" "):
        found = _CHUNK.fullmatch(item)
        if found is None or start > len(body):
            raise FormatError("'chunks' must be times and sizes ('120:4096 133') that fit the body", (*path, "chunks"))
        stop = start + int(found[2]) if found[2] else len(body)
        chunks.append(RecordedChunk(body[start:stop], int(found[1])))
        start = stop if found[2] else stop + 1  # nothing can come after the rest
    if chunks and start not in (len(body), len(body) + 1):
        raise FormatError(f"the chunks have {start} bytes, the body {len(body)}", (*path, "chunks"))
    return tuple(chunks)


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 40 else name[:39] + "…")

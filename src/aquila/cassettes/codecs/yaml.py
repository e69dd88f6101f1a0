"""The YAML codec, version 1 of the format (docs/cassette-format.md)."""

from __future__ import annotations

import base64
import binascii
from typing import Any, get_args

from aquila.cassettes.codecs import emit, safeyaml
from aquila.cassettes.codecs.safeyaml import Number, Tree
from aquila.cassettes.model import FORMAT_VERSION, Cassette, Chunk, End, Headers, Interaction, Request, Response
from aquila.errors import CassetteCorrupt, CassetteTooNew

_ENDS = get_args(End)
Path = tuple[str | int, ...]


class _Mistake(Exception):
    def __init__(self, what: str, path: Path, *, newer: bool = False) -> None:
        self.what, self.path, self.newer = what, path, newer


class YamlCodec:
    """Cassettes for people: readable in a review, exact to the byte."""

    suffix = ".yaml"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        parts = [f"aquila: {FORMAT_VERSION}\n"]
        if cassette.interactions:
            parts.append("interactions:\n")
            parts += [emit.item(_interaction_tree(interaction), 0) for interaction in cassette.interactions]
        else:
            parts.append("interactions: []\n")
        return "".join(parts).encode()

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        tree = safeyaml.load(data, source=source)
        try:
            return _cassette(tree)
        except _Mistake as mistake:
            kind = CassetteTooNew if mistake.newer else CassetteCorrupt
            line = safeyaml.line_of(data, mistake.path)
            raise kind(f"{source}, line {line}: {mistake.what}.") from None


def _interaction_tree(interaction: Interaction) -> dict[str, Any]:
    request, response = interaction.request, interaction.response
    asked: dict[str, Any] = {"method": request.method, "url": request.url}
    if request.headers:
        asked["headers"] = _headers_tree(request.headers)
    asked.update(_body_tree(request.body))
    answer: dict[str, Any] = {"status": response.status}
    if response.headers:
        answer["headers"] = _headers_tree(response.headers)
    answer |= {"started": response.started, "ended": response.ended}
    if response.end != "complete":
        answer["end"] = response.end
    if response.error:
        answer["error"] = response.error
    answer.update(_body_tree(response.body))
    if response.chunks:
        answer["chunks"] = [f"{len(chunk.data)}@{chunk.at}" for chunk in response.chunks]
    tree: dict[str, Any] = {"request": asked}
    if interaction.recorded:
        tree["recorded"] = interaction.recorded
    tree["response"] = answer
    return tree


def _headers_tree(headers: Headers) -> Any:
    names = [name for name, _ in headers]
    if len(set(names)) == len(names):
        return dict(headers)
    return [{name: value} for name, value in headers]


def _body_tree(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _cassette(tree: Tree) -> Cassette:
    if tree is None:
        raise _Mistake("the file is empty", ())
    if not isinstance(tree, dict) or "aquila" not in tree:
        raise _Mistake("not a cassette: a line 'aquila: 1' at the top is missing", ())
    version = _int(tree["aquila"], ("aquila",))
    if version > FORMAT_VERSION:
        raise _Mistake(
            f"written by a newer Aquila (format {version}; this one reads {FORMAT_VERSION}): upgrade pytest-aquila",
            ("aquila",),
            newer=True,
        )
    items = tree.get("interactions")
    if not isinstance(items, list):
        raise _Mistake("interactions must be a list", ("interactions",))
    return Cassette.of(_interaction(item, ("interactions", index)) for index, item in enumerate(items))


def _interaction(tree: Tree, path: Path) -> Interaction:
    fields = _fields(tree, path, ("request", "response"), ("recorded",))
    asked = _fields(fields["request"], (*path, "request"), ("method", "url"), ("headers", "body", "base64"))
    request = Request(
        _str(asked["method"], (*path, "request", "method")),
        _str(asked["url"], (*path, "request", "url")),
        _headers(asked.get("headers", {}), (*path, "request", "headers")),
        _body(asked, (*path, "request")),
    )
    at = (*path, "response")
    answer = _fields(
        fields["response"],
        at,
        ("status",),
        ("headers", "started", "ended", "end", "error", "body", "base64", "chunks"),
    )
    end = answer.get("end", "complete")
    if end not in _ENDS:
        raise _Mistake(f"end must be one of {', '.join(_ENDS)}", (*at, "end"))
    response = Response(
        _int(answer["status"], (*at, "status")),
        _headers(answer.get("headers", {}), (*at, "headers")),
        _chunks(answer.get("chunks", []), _body(answer, at), (*at, "chunks")),
        end,
        _str(answer.get("error", ""), (*at, "error")),
        _int(answer.get("started", Number("0")), (*at, "started")),
        _int(answer.get("ended", Number("0")), (*at, "ended")),
    )
    return Interaction(request, response, _str(fields.get("recorded", ""), (*path, "recorded")))


def _fields(tree: Tree, path: Path, needed: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Tree]:
    if not isinstance(tree, dict):
        raise _Mistake(f"{path[-1]} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise _Mistake(f"{name} is missing", path)
    for name in tree:
        if name not in needed and name not in optional:
            raise _Mistake(f"unknown key {name!r}", (*path, name))
    return tree


def _str(tree: Tree, path: Path) -> str:
    if not isinstance(tree, str):
        raise _Mistake(f"{path[-1]} must be text", path)
    return str(tree)


def _int(tree: Tree, path: Path) -> int:
    if not isinstance(tree, Number) or not tree.isdigit() or len(tree) > 15:
        raise _Mistake(f"{path[-1]} must be a whole number", path)
    return int(tree)


def _headers(tree: Tree, path: Path) -> Headers:
    if isinstance(tree, dict):
        return tuple((name, _str(value, (*path, name))) for name, value in tree.items())
    if not isinstance(tree, list):
        raise _Mistake("headers must be a mapping or a list", path)
    pairs: list[tuple[str, str]] = []
    for index, item in enumerate(tree):
        if not isinstance(item, dict) or len(item) != 1:
            raise _Mistake("a header must be one name and its value", (*path, index))
        pairs += [(name, _str(value, (*path, index, name))) for name, value in item.items()]
    return tuple(pairs)


def _body(fields: dict[str, Tree], path: Path) -> bytes:
    if "body" in fields:
        return _str(fields["body"], (*path, "body")).encode()
    try:
        return base64.b64decode(_str(fields.get("base64", ""), (*path, "base64")), validate=True)
    except (ValueError, binascii.Error):
        raise _Mistake("not base64", (*path, "base64")) from None


def _chunks(tree: Tree, body: bytes, path: Path) -> tuple[Chunk, ...]:
    chunks: list[Chunk] = []
    start = 0
    if not isinstance(tree, list):
        raise _Mistake("chunks must be a list", path)
    for index, item in enumerate(tree):
        size, _, at = item.partition("@") if isinstance(item, str) else ("", "", "")
        if not (size.isdigit() and at.isdigit()):
            raise _Mistake("a chunk must be bytes@milliseconds", (*path, index))
        chunks.append(Chunk(body[start : start + int(size)], int(at)))
        start += int(size)
    if start != len(body):
        raise _Mistake("the chunks do not add up to the body", path)
    return tuple(chunks)

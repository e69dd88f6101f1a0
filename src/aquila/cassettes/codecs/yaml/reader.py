"""Build a `Cassette` from parsed YAML, or say which field of it is wrong."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias, get_args
from urllib.parse import urlsplit

from aquila.cassettes.body_file import NAME, BodyFile, StoredChunks, StoredRequest
from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.event_streams.stream_reader import (
    ChunkListError,
    EventTable,
    TableError,
    build_stream,
    cut_body,
    read_sizes,
)
from aquila.cassettes.codecs.yaml.tree import FormatError, Number, Tree, TreePath, shorten_name
from aquila.cassettes.model import (
    ENDS_WITHOUT_ANSWER,
    FORMAT_VERSION,
    STATUSES,
    Cassette,
    End,
    Headers,
    Interaction,
    Kind,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks

_ENDS = get_args(End)
_KINDS: tuple[Kind, ...] = get_args(Kind)
_BODIES = ("json", "body", "base64", "events", "frames", "body_file")
_INTERACTION = frozenset({"kind", "request", "recorded", "upstream", "model", "response"})
_REQUEST = frozenset({"method", "url", "headers", "json", "body", "base64", "body_file", "body_size"})
_RESPONSE = frozenset(
    {
        *("status", "text", "said", "headers", "end", "error", "attempts", "newline", "layouts"),
        *("json_style", "json_literals", "body_size", "sounds", *_BODIES),
    }
)
_SOUND = frozenset({"file", "size"})
_RECORDED = frozenset({"at", "started", "ended", "chunks", "headers"})

_RESPONSE_WITHOUT_ANSWER = frozenset({"end", "error", "attempts"})
_RECORDED_WITHOUT_ANSWER = frozenset({"at", "started", "ended"})

FrameBuilder: TypeAlias = Callable[[dict[str, Tree], TreePath, dict[str, Tree], TreePath], Sequence[RecordedChunk]]
"""`frame_reader.build_frames`. Handed in, because it reads fields with the functions below, and is rarely needed."""


def build_cassette(tree: dict[str, Tree], build_frames: FrameBuilder) -> Cassette:
    """Build a cassette from the mapping at the top of a document. Items that are interactions already are taken over.

    ``build_frames`` builds the chunks of a conversation. Raises FormatError.
    """
    _check_version(tree)
    for name in tree:
        if name not in ("aquila", "interactions"):
            raise FormatError(f"unknown key {shorten_name(name)}", (name,))
    items = tree.get("interactions")
    if type(items) is not list:
        raise FormatError("'interactions' must be a list", ("interactions",))
    return Cassette(
        tuple(
            [
                item if type(item) is Interaction else build_item(tree, at, item, build_frames)
                for at, item in enumerate(items)
            ]
        )
    )


def build_item(top: dict[str, Tree], index: int, tree: Tree, build_frames: FrameBuilder) -> Interaction:
    """Build the interaction with an index (from 0) of the document whose top is given. Raises FormatError."""
    if index == 0:
        _check_version(top)
    return _build_interaction(tree, ("interactions", index), build_frames)


def _check_version(top: dict[str, Tree]) -> None:
    version = require_number(top, "aquila", ())
    if version > FORMAT_VERSION:
        raise FormatError(f"format {version} is newer than format {FORMAT_VERSION}", ("aquila",), newer=True)
    if version < 1:
        raise FormatError("there is no such format", ("aquila",))


def _build_interaction(tree: Tree, path: TreePath, build_frames: FrameBuilder) -> Interaction:
    kind = _read_kind(tree.get("kind", "http") if type(tree) is dict else "http", (*path, "kind"))
    check_keys(tree, _INTERACTION, ("request", "response"), path)
    recorded = tree.get("recorded", {})
    return Interaction(
        _build_request(tree["request"], (*path, "request")),
        _build_response(tree["response"], recorded, path, build_frames),
        # Interned: the interactions of a cassette have these texts in common, and each is held once.
        sys.intern(require_text(recorded, "at", (*path, "recorded"))),
        sys.intern(require_text(tree, "upstream", path)),
        sys.intern(require_text(tree, "model", path)),
        kind,
    )


def _read_kind(kind: Tree, path: TreePath) -> Kind:
    known: Kind
    for known in _KINDS:
        if kind == known:
            return known
    if type(kind) is not str:
        raise FormatError("'kind' must be text", path)
    raise FormatError(f"an interaction of the kind {shorten_name(kind)}", path, newer=True)


def _build_request(tree: Tree, path: TreePath) -> RecordedRequest:
    check_keys(tree, _REQUEST, ("method", "url"), path)
    method, url = (sys.intern(require_text(tree, name, path)) for name in ("method", "url"))
    check_url(url, (*path, "url"))
    headers = _build_headers(tree, path)
    if "body_file" in tree:
        return StoredRequest(method, url, headers, _build_body_file(tree, path))
    return RecordedRequest(method, url, headers, _build_body(tree, path))


def _build_response(tree: Tree, recorded: Tree, interaction: TreePath, build_frames: FrameBuilder) -> RecordedResponse:
    """Build a response from what was answered, and what differs when the same is recorded again."""
    path, when = (*interaction, "response"), (*interaction, "recorded")
    never_began = type(tree) is dict and tree.get("end") in ENDS_WITHOUT_ANSWER and "status" not in tree
    check_keys(tree, _RESPONSE_WITHOUT_ANSWER if never_began else _RESPONSE, () if never_began else ("status",), path)
    check_keys(recorded, _RECORDED_WITHOUT_ANSWER if never_began else _RECORDED, (), when)
    status = require_number(tree, "status", path)
    if status not in STATUSES and not never_began:
        raise FormatError(f"'status' must be from {STATUSES[0]} to {STATUSES[-1]}", (*path, "status"))
    end = tree.get("end", "complete")
    if end not in _ENDS:
        raise FormatError(f"'end' must be one of {', '.join(_ENDS)}", (*path, "end"))
    return RecordedResponse(
        status,
        _build_headers(tree, path) + (_build_headers(recorded, when) if "headers" in recorded else ()),
        _build_chunks(tree, path, recorded, when, build_frames),
        end,
        require_text(tree, "error", path),
        require_number(recorded, "started", when),
        require_number(recorded, "ended", when),
        require_number(tree, "attempts", path),
    )


# --- bodies


def _build_chunks(
    tree: dict[str, Tree], path: TreePath, recorded: dict[str, Tree], when: TreePath, build_frames: FrameBuilder
) -> Sequence[RecordedChunk]:
    """Build a response's body and cut it into its chunks. A body without a chunk list came whole at its end."""
    if "sounds" in tree:
        rest = {name: value for name, value in tree.items() if name != "sounds"}
        return _build_sounds(tree["sounds"], path, _build_chunks(rest, path, recorded, when, build_frames))
    if "body_file" in tree:
        return _build_stored_chunks(tree, path, recorded, when)
    if "frames" in tree:
        _check_only_body(tree, "frames", path)
        return build_frames(tree, path, recorded, when)
    chunk_list = require_text(recorded, "chunks", when) if "chunks" in recorded else None
    if "events" in tree:
        body, event_ends = _build_event_stream(tree, path)
    else:
        body = _build_body(tree, path)
        event_ends = [len(body)]
    if chunk_list is None:
        return (RecordedChunk(body, require_number(recorded, "ended", when)),) if body else ()
    try:
        return cut_body(body, event_ends, chunk_list)
    except ChunkListError as error:
        raise FormatError(str(error), (*when, "chunks")) from None


def _build_sounds(items: Tree, path: TreePath, templates: Sequence[RecordedChunk]) -> SoundChunks:
    """Build the chunks of a conversation whose sound lies in files."""
    path = (*path, "sounds")
    if type(items) is not list:
        raise FormatError("'sounds' must be a list", path)
    for at, item in enumerate(items):
        check_keys(item, _SOUND, ("file", "size"), (*path, at))
    chunks = SoundChunks(templates, [_build_body_file(item, (*path, at), "") for at, item in enumerate(items)])
    try:
        chunks.check_references()
    except ValueError as error:
        raise FormatError(str(error), path) from None
    return chunks


def _build_stored_chunks(
    tree: dict[str, Tree], path: TreePath, recorded: dict[str, Tree], when: TreePath
) -> StoredChunks:
    file = _build_body_file(tree, path)
    if "chunks" not in recorded:
        return StoredChunks(file, [file.size], [require_number(recorded, "ended", when)])
    try:
        sizes, times = read_sizes(require_text(recorded, "chunks", when), file.size)
    except ChunkListError as error:
        raise FormatError(str(error), (*when, "chunks")) from None
    return StoredChunks.from_sizes(file, sizes, times)


def _build_body_file(tree: dict[str, Tree], path: TreePath, prefix: str = "body_") -> BodyFile:
    for other in _BODIES:
        if other in tree and other != "body_file":
            raise FormatError(f"a body is given as '{other}' and as 'body_file'", (*path, "body_file"))
    place = f"{prefix}file"
    name = require_text(tree, place, path)
    if not NAME.fullmatch(name):  # it becomes a path
        raise FormatError(f"{place!r} must be sha256- and the hash of the body", (*path, place))
    return BodyFile(name, require_number(tree, f"{prefix}size", path))


def _build_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    forms = [name for name in _BODIES if name in tree]
    if len(forms) > 1:
        raise FormatError(f"a body is given as '{forms[0]}' and as '{forms[1]}'", (*path, forms[1]))
    if "json" in tree:
        return _build_json_body(tree, path)
    if "body" in tree:
        return require_text(tree, "body", path).encode()
    if "base64" in tree:
        return require_base64(tree, "base64", path)
    return b""


def _build_json_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    place, value = "json_style", tree["json"]
    try:
        style = json_body.JsonStyle()
        if place in tree:
            style = json_body.JsonStyle.from_words(require_text(tree, place, path))
        place = "json_literals"
        if place in tree:
            value = json_body.put_literals(value, require_texts(tree, place, path))
        place = "json"
        return json_body.write_json(value, style).encode()
    except ValueError as error:
        raise FormatError(str(error), (*path, place)) from None


def _build_event_stream(tree: dict[str, Tree], path: TreePath) -> tuple[bytes, list[int]]:
    """Return the body of an event stream, and where in it its events end."""
    _check_only_body(tree, "events", path)
    newline = tree.get("newline", "lf")
    if newline not in ("lf", "crlf"):
        raise FormatError("'newline' must be lf or crlf", (*path, "newline"))
    table = EventTable(require_text(tree, "events", path), require_texts(tree, "layouts", path), crlf=newline == "crlf")
    try:
        return build_stream(table)
    except TableError as error:
        if isinstance(error.key, int):
            raise FormatError(str(error), (*path, error.part), below=error.key + 1) from None
        raise FormatError(str(error), (*path, error.part, error.key)) from None


def _check_only_body(tree: dict[str, Tree], name: str, path: TreePath) -> None:
    for other in _BODIES:
        if other in tree and other != name:
            raise FormatError(f"'{other}' does not go with '{name}'", (*path, other))


# --- headers


def _build_headers(tree: dict[str, Tree], path: TreePath) -> Headers:
    headers = tree.get("headers", {})
    path = (*path, "headers")
    if type(headers) is dict:
        return _shared_headers(tuple([(name, require_text(headers, name, path)) for name in headers]))
    if type(headers) is not list:
        raise FormatError("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for index, item in enumerate(headers):
        if type(item) is not dict or len(item) != 1:
            raise FormatError("a header must be one name with its value", (*path, index))
        pairs += [(name, require_text(item, name, (*path, index))) for name in item]
    return tuple(pairs)


# A bounded cache and no table of each reader: tests of one run load many cassettes, with the same fields in them.
@lru_cache(maxsize=1024)
def _shared_headers(headers: Headers) -> Headers:
    """Return one object for all equal fields, to save memory: most interactions of a cassette have the same fields."""
    return headers


# --- fields: those of `frame_reader`, and of the cassettes of others, too


def check_keys(tree: Tree, known: frozenset[str], needed: tuple[str, ...], path: TreePath) -> None:
    """Raise FormatError for a tree that is no mapping, lacks a key that is needed, or has one that is not known."""
    if type(tree) is not dict:
        name = f"{path[-1]!r}" if isinstance(path[-1], str) else "an interaction"
        raise FormatError(f"{name} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise FormatError(f"{name!r} is missing", path)
    if not tree.keys() <= known:
        name = next(name for name in tree if name not in known)
        raise FormatError(f"unknown key {shorten_name(name)}", (*path, name))


def require_text(tree: dict[str, Tree], name: str, path: TreePath) -> str:
    """Return a text; an empty one if it is missing. Raises FormatError."""
    value = tree.get(name, "")
    if type(value) is str:
        return value
    if type(value) is Number:
        return str(value)
    raise FormatError(f"{name!r} must be text", (*path, name))


def require_base64(tree: dict[str, Tree], name: str, path: TreePath) -> bytes:
    """Return the bytes that a text encodes; none if it is missing. Raises FormatError."""
    try:
        return base64.b64decode(require_text(tree, name, path), validate=True)
    except ValueError:
        raise FormatError("not base64", (*path, name)) from None


def check_url(url: str, path: TreePath) -> str:
    """Return a URL as it is. Raises FormatError for what is none, such as one with a bracket that does not close."""
    try:
        urlsplit(url)
    except ValueError:  # not named, because its text may hold a password
        raise FormatError(f"{path[-1]!r} is no URL", path) from None
    return url


def require_texts(tree: dict[str, Tree], name: str, path: TreePath) -> dict[str, str]:
    """Return a mapping of texts; an empty one if it is missing. Raises FormatError."""
    texts = tree.get(name, {})
    if type(texts) is not dict:
        raise FormatError(f"{name!r} must be a mapping", (*path, name))
    return {key: require_text(texts, key, (*path, name)) for key in texts}


def require_number(tree: dict[str, Tree], name: str, path: TreePath) -> int:
    """Return a whole number, which is not below 0; 0 if it is missing. Raises FormatError."""
    value = tree.get(name)
    if value is None and name not in tree:
        return 0
    if type(value) is not Number or not value.isdigit() or len(value) > 15:
        raise FormatError(f"{name!r} must be a whole number", (*path, name))
    return int(value)

"""Builds a `Cassette` from parsed YAML. A `FormatError` says which field is wrong."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, get_args
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
    InteractionKind,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
)
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.codecs.yaml import frame_reader
else:  # it imports this module, and few cassettes need it
    lazy_modules(globals(), "aquila.cassettes.codecs.yaml: frame_reader")

_ENDS = get_args(End)
_KINDS: tuple[InteractionKind, ...] = get_args(InteractionKind)
_BODIES = ("json", "body", "base64", "events", "frames", "body_file")
_INTERACTION = frozenset({"kind", "request", "recorded", "upstream", "model", "response"})
_REQUEST = frozenset({"method", "url", "headers", "json", "body", "base64", "body_file", "body_size"})
_RESPONSE = frozenset(
    {
        *("status", "text", "said", "headers", "end", "error", "attempts", "retried", "newline", "layouts"),
        *("json_style", "json_literals", "body_size", "sounds", *_BODIES),
    }
)
_SOUND = frozenset({"file", "size"})
_RECORDED = frozenset({"at", "started", "ended", "chunks", "headers"})

_RESPONSE_WITHOUT_ANSWER = frozenset({"end", "error", "attempts", "retried"})
_RECORDED_WITHOUT_ANSWER = frozenset({"at", "started", "ended"})


def build_cassette(tree: dict[str, Tree]) -> Cassette:
    """Build a cassette from the mapping at the top of a document. Items that are interactions already are kept.

    Raises FormatError.
    """
    _check_version(tree)
    for name in tree:
        if name not in ("aquila", "interactions"):
            raise FormatError(f"unknown key {shorten_name(name)}", (name,))
    items = tree.get("interactions")
    if type(items) is not list:
        raise FormatError("'interactions' must be a list", ("interactions",))
    return Cassette(
        tuple([item if type(item) is Interaction else build_item(tree, at, item) for at, item in enumerate(items)])
    )


def build_item(top: dict[str, Tree], index: int, tree: Tree) -> Interaction:
    """Build an interaction from ``tree``, its item. Raises FormatError.

    ``top`` is the mapping at the top of the document, ``index`` the number of the item, from 0.
    """
    if index == 0:
        _check_version(top)
    return _build_interaction(tree, ("interactions", index))


def _check_version(top: dict[str, Tree]) -> None:
    version = read_number(top, "aquila", ())
    if version > FORMAT_VERSION:
        raise FormatError(f"format {version} is newer than format {FORMAT_VERSION}", ("aquila",), newer=True)
    if version < 1:
        raise FormatError("there is no such format", ("aquila",))


def _build_interaction(tree: Tree, path: TreePath) -> Interaction:
    kind = _read_kind(tree.get("kind", "http") if type(tree) is dict else "http", (*path, "kind"))
    check_keys(tree, _INTERACTION, ("request", "response"), path)
    recorded = tree.get("recorded", {})
    return Interaction(
        _build_request(tree["request"], (*path, "request")),
        _build_response(tree["response"], recorded, path),
        # Interned: the interactions of a cassette have these texts in common, and each is held once.
        sys.intern(read_text(recorded, "at", (*path, "recorded"))),
        sys.intern(read_text(tree, "upstream", path)),
        sys.intern(read_text(tree, "model", path)),
        kind,
    )


def _read_kind(kind: Tree, path: TreePath) -> InteractionKind:
    known: InteractionKind
    for known in _KINDS:
        if kind == known:
            return known
    if type(kind) is not str:
        raise FormatError("'kind' must be text", path)
    raise FormatError(f"an interaction of the kind {shorten_name(kind)}", path, newer=True)


def _build_request(tree: Tree, path: TreePath) -> RecordedRequest:
    check_keys(tree, _REQUEST, ("method", "url"), path)
    method, url = (sys.intern(read_text(tree, name, path)) for name in ("method", "url"))
    check_url(url, (*path, "url"))
    headers = _build_headers(tree, path)
    if "body_file" in tree:
        return StoredRequest(method, url, headers, _build_body_file(tree, path))
    return RecordedRequest(method, url, headers, _build_body(tree, path))


def _build_response(tree: Tree, recorded: Tree, interaction: TreePath) -> RecordedResponse:
    """Build a response from ``tree``, the answer, and ``recorded``, the values that differ in each recording."""
    path, when = (*interaction, "response"), (*interaction, "recorded")
    never_began = type(tree) is dict and tree.get("end") in ENDS_WITHOUT_ANSWER and "status" not in tree
    check_keys(tree, _RESPONSE_WITHOUT_ANSWER if never_began else _RESPONSE, () if never_began else ("status",), path)
    check_keys(recorded, _RECORDED_WITHOUT_ANSWER if never_began else _RECORDED, (), when)
    status = read_number(tree, "status", path)
    if status not in STATUSES and not never_began:
        raise FormatError(f"'status' must be from {STATUSES[0]} to {STATUSES[-1]}", (*path, "status"))
    end = tree.get("end", "complete")
    if end not in _ENDS:
        raise FormatError(f"'end' must be one of {', '.join(_ENDS)}", (*path, "end"))
    retried = tree.get("retried", False)
    if type(retried) is not bool:
        raise FormatError("'retried' must be true or false", (*path, "retried"))
    return RecordedResponse(
        status,
        _build_headers(tree, path) + (_build_headers(recorded, when) if "headers" in recorded else ()),
        _build_chunks(tree, path, recorded, when),
        end,
        read_text(tree, "error", path),
        read_number(recorded, "started", when),
        read_number(recorded, "ended", when),
        read_number(tree, "attempts", path),
        retried,
    )


# --- bodies


def _build_chunks(
    tree: dict[str, Tree], path: TreePath, recorded: dict[str, Tree], when: TreePath
) -> Sequence[RecordedChunk]:
    """Build the body of a response and cut it into its chunks. Without a chunk list it is one chunk, at the end."""
    if "sounds" in tree:
        rest = {name: value for name, value in tree.items() if name != "sounds"}
        return _build_sounds(tree["sounds"], path, _build_chunks(rest, path, recorded, when))
    if "body_file" in tree:
        return _build_stored_chunks(tree, path, recorded, when)
    if "frames" in tree:
        _check_only_body(tree, "frames", path)
        return frame_reader.build_frames(tree, path, recorded, when)
    chunk_list = read_text(recorded, "chunks", when) if "chunks" in recorded else None
    if "events" in tree:
        body, event_ends = _build_event_stream(tree, path)
    else:
        body = _build_body(tree, path)
        event_ends = [len(body)]
    if chunk_list is None:
        return (RecordedChunk(body, read_number(recorded, "ended", when)),) if body else ()
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
        return StoredChunks(file, [file.size], [read_number(recorded, "ended", when)])
    try:
        sizes, times = read_sizes(read_text(recorded, "chunks", when), file.size)
    except ChunkListError as error:
        raise FormatError(str(error), (*when, "chunks")) from None
    return StoredChunks.from_sizes(file, sizes, times)


def _build_body_file(tree: dict[str, Tree], path: TreePath, prefix: str = "body_") -> BodyFile:
    for other in _BODIES:
        if other in tree and other != "body_file":
            raise FormatError(f"a body is given as '{other}' and as 'body_file'", (*path, "body_file"))
    place = f"{prefix}file"
    name = read_text(tree, place, path)
    if not NAME.fullmatch(name):  # it becomes a path
        raise FormatError(f"{place!r} must be sha256- and the hash of the body", (*path, place))
    return BodyFile(name, read_number(tree, f"{prefix}size", path))


def _build_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    forms = [name for name in _BODIES if name in tree]
    if len(forms) > 1:
        raise FormatError(f"a body is given as '{forms[0]}' and as '{forms[1]}'", (*path, forms[1]))
    if "json" in tree:
        return _build_json_body(tree, path)
    if "body" in tree:
        return read_text(tree, "body", path).encode()
    if "base64" in tree:
        return read_base64(tree, "base64", path)
    return b""


def _build_json_body(tree: dict[str, Tree], path: TreePath) -> bytes:
    place, value = "json_style", tree["json"]
    try:
        style = json_body.JsonStyle()
        if place in tree:
            style = json_body.JsonStyle.from_words(read_text(tree, place, path))
        place = "json_literals"
        if place in tree:
            value = json_body.put_literals(value, read_texts(tree, place, path))
        place = "json"
        return json_body.write_json(value, style).encode()
    except ValueError as error:
        raise FormatError(str(error), (*path, place)) from None


def _build_event_stream(tree: dict[str, Tree], path: TreePath) -> tuple[bytes, list[int]]:
    """Return the body of an event stream, and the positions in the body at which its events end."""
    _check_only_body(tree, "events", path)
    newline = tree.get("newline", "lf")
    if newline not in ("lf", "crlf"):
        raise FormatError("'newline' must be lf or crlf", (*path, "newline"))
    table = EventTable(read_text(tree, "events", path), read_texts(tree, "layouts", path), crlf=newline == "crlf")
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
        return _shared_headers(tuple([(name, read_text(headers, name, path)) for name in headers]))
    if type(headers) is not list:
        raise FormatError("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for index, item in enumerate(headers):
        if type(item) is not dict or len(item) != 1:
            raise FormatError("a header must be one name with its value", (*path, index))
        pairs += [(name, read_text(item, name, (*path, index))) for name in item]
    return tuple(pairs)


# One cache for the process, with a limit: the tests of a run load many cassettes with the same fields in them.
@lru_cache(maxsize=1024)
def _shared_headers(headers: Headers) -> Headers:
    """Return one object for all equal fields, to save memory: most interactions of a cassette have the same fields."""
    return headers


# --- fields: also used by `frame_reader` and by the readers of other recorders' cassettes


def check_keys(tree: Tree, known: frozenset[str], needed: tuple[str, ...], path: TreePath) -> None:
    """Raise FormatError for a tree that is no mapping, lacks a ``needed`` key, or has a key that is not ``known``."""
    if type(tree) is not dict:
        name = f"{path[-1]!r}" if isinstance(path[-1], str) else "an interaction"
        raise FormatError(f"{name} must be a mapping", path)
    for name in needed:
        if name not in tree:
            raise FormatError(f"{name!r} is missing", path)
    if not tree.keys() <= known:
        name = next(name for name in tree if name not in known)
        raise FormatError(f"unknown key {shorten_name(name)}", (*path, name))


def read_text(tree: dict[str, Tree], name: str, path: TreePath) -> str:
    """Return the text under a name; an empty text if there is none. Raises FormatError for a value that is no text."""
    value = tree.get(name, "")
    if type(value) is str:
        return value
    if type(value) is Number:
        return str(value)
    raise FormatError(f"{name!r} must be text", (*path, name))


def read_base64(tree: dict[str, Tree], name: str, path: TreePath) -> bytes:
    """Return the bytes of a text in base64; no bytes if there is no such name. Raises FormatError for other values."""
    try:
        return base64.b64decode(read_text(tree, name, path), validate=True)
    except ValueError:
        raise FormatError("not base64", (*path, name)) from None


def check_url(url: str, path: TreePath) -> str:
    """Return a URL as it is. Raises FormatError if it is no URL, as with a bracket that does not close."""
    try:
        urlsplit(url)
    except ValueError:  # its text is not shown, because the URL may hold a password
        raise FormatError(f"{path[-1]!r} is no URL", path) from None
    return url


def read_texts(tree: dict[str, Tree], name: str, path: TreePath) -> dict[str, str]:
    """Return the mapping of texts under a name; an empty one if there is none. Raises FormatError for other values."""
    texts = tree.get(name, {})
    if type(texts) is not dict:
        raise FormatError(f"{name!r} must be a mapping", (*path, name))
    return {key: read_text(texts, key, (*path, name)) for key in texts}


def read_number(tree: dict[str, Tree], name: str, path: TreePath) -> int:
    """Return the whole number under a name; 0 if there is none. Raises FormatError for another value, or below 0."""
    value = tree.get(name)
    if value is None and name not in tree:
        return 0
    if type(value) is not Number or not value.isdigit() or len(value) > 15:
        raise FormatError(f"{name!r} must be a whole number", (*path, name))
    return int(value)

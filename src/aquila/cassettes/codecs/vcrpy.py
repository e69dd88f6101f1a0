"""Reads cassettes that vcrpy recorded, in YAML or in JSON.

vcrpy has no chunks and no times: a body becomes one chunk at 0 ms. Its bodies may still be compressed; they are decoded
here.

A body that was stored as a value (``parsed_body``, or a mapping) has lost its exact bytes. It is read by the rules of
YAML 1.1, as vcrpy's own loader reads it. The body of a request is written compactly, as the openai SDK writes JSON. The
body of an answer is written in the usual form of JSON that has the length in its header ``content-length``, or else
compactly.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aquila.cassettes import content_codings
from aquila.cassettes.codecs import foreign, json_body
from aquila.cassettes.codecs.yaml.reader import check_url
from aquila.cassettes.codecs.yaml.tree import FormatError, Number, Tree, TreePath
from aquila.cassettes.model import (
    Cassette,
    Headers,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
    first_value,
)
from aquila.cassettes.web_socket_frames.frame import is_utf8
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.codecs.yaml import values_1_1
else:
    lazy_modules(globals(), "aquila.cassettes.codecs.yaml: values_1_1")

MAX_BODY = 256 * 1024 * 1024
"""The most bytes that a compressed body may decode to."""

_OF_THE_BODY_AS_SENT = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Header fields that describe the body as it was sent. They are wrong for a body without its content codings."""

FORM = "application/x-www-form-urlencoded"

_PIECE = 4096  # bytes of a compressed body that are decoded at a time
_PACKAGES = {"br": "brotli", "zstd": "backports.zstd"}
"""The packages to install for codings that the standard library does not have, or not in every version."""

_TOP = ("version", "interactions", "metadata")
_INTERACTION = ("request", "response")
_REQUEST = ("method", "uri", "headers", "body", "parsed_body")
_RESPONSE = (
    *("status", "headers", "body", "parsed_body"),
    *("status_code", "content", "http_version", "url", "protocol"),  # written for some clients, or by some versions
)


def is_vcrpy(tree: Tree) -> bool:
    """Say whether a document is a cassette of vcrpy: it has interactions, and not the first line of Aquila's format."""
    return type(tree) is dict and "interactions" in tree and "aquila" not in tree


def cassette_from_vcrpy(tree: dict[str, Tree]) -> Cassette:
    """Build a `Cassette` from a parsed document of vcrpy. Raises FormatError."""
    if tree.get("version", "1") != "1":
        raise FormatError("a cassette of vcrpy of a version that is not known", ("version",))
    foreign.check_keys(tree, _TOP, (), "vcrpy")
    if tree.get("metadata"):
        raise FormatError(
            "a cassette of vcrpy with 'metadata' of a test, which a cassette of Aquila cannot keep", ("metadata",)
        )
    items = tree["interactions"]
    if type(items) is not list:
        raise FormatError("'interactions' must be a list", ("interactions",))
    return Cassette(tuple([_build_interaction(item, ("interactions", index)) for index, item in enumerate(items)]))


def _build_interaction(tree: Tree, path: TreePath) -> Interaction:
    asked, answered = (
        _with_form(foreign.require_mapping(tree, "request", path)),
        foreign.require_mapping(tree, "response", path),
    )
    request, response = (*path, "request"), (*path, "response")
    for part, known, place in ((tree, _INTERACTION, path), (asked, _REQUEST, request), (answered, _RESPONSE, response)):
        foreign.check_keys(part, known, place, "vcrpy")
    status: Tree = answered.get("status", answered.get("status_code"))
    if type(status) is dict:
        foreign.check_keys(status, ("code", "message"), (*response, "status"), "vcrpy")
        status = status.get("code")
    return build_interaction(asked, answered, status, path, read_body=_body_bytes)


def _with_form(asked: dict[str, Tree]) -> dict[str, Tree]:
    """Return a request of aiohttp with its form as it was sent: vcrpy stores what the program gave, a list of pairs."""
    headers = asked.get("headers") or {}
    content_type = foreign.first_header(headers, "content-type")
    form = form_of_pairs(asked.get("body"), content_type)
    if form is None or type(headers) is not dict:
        return asked
    chosen: dict[str, Tree] = {} if content_type else {"content-type": [FORM]}
    return {**asked, "body": form.decode(), "headers": {**headers, **chosen}}


def form_of_pairs(body: object, content_type: str) -> bytes | None:
    """Return the form that aiohttp sends for a list of names and values; None for any other body.

    ``content_type`` is empty for nearly all of them, because aiohttp chooses it after vcrpy has stored the request.
    """
    if not (isinstance(body, list) and body) or not (content_type or FORM).startswith(FORM):
        return None
    pairs = [each for each in body if isinstance(each, (list, tuple)) and len(each) == 2]
    if len(pairs) < len(body) or not all(isinstance(text, str) for pair in pairs for text in pair):
        return None
    return urlencode([(str(name), str(value)) for name, value in pairs]).encode()


def build_interaction(
    asked: dict[str, Tree],
    answered: dict[str, Tree],
    status: Tree,
    path: TreePath,
    *,
    read_body: Callable[[dict[str, Tree], TreePath], bytes],
    recorded: str = "",
) -> Interaction:
    """Build an interaction from the trees of a request and a response. Raises FormatError.

    ``read_body`` returns the body in such a tree. ``recorded`` is the moment of the recording, empty if unknown.
    """
    request, response = (*path, "request"), (*path, "response")
    code = foreign.parse_status(status, (*response, "status"))
    fields = foreign.read_headers(answered.get("headers"), (*response, "headers"), with_credentials=True)
    return Interaction(
        RecordedRequest(
            foreign.require_text(asked, "method", request),
            check_url(foreign.require_text(asked, "uri", request), (*request, "uri")),
            foreign.read_headers(asked.get("headers"), (*request, "headers"), with_credentials=False),
            read_body(asked, request),
        ),
        build_response(code, fields, read_body(answered, response), response),
        recorded,
    )


def build_response(status: int, headers: Headers, body: bytes, path: TreePath) -> RecordedResponse:
    """Build an answer without its content codings, and without the header fields that describe the body as it was sent.

    ``path`` is its place in the document. Raises FormatError.
    """
    body = undo_content_encoding(body, first_value(headers, "content-encoding").strip().lower(), path)
    left_out = _OF_THE_BODY_AS_SENT if body else _OF_THE_BODY_AS_SENT - {"content-length"}
    kept = tuple([field for field in headers if field[0] not in left_out])
    return RecordedResponse(status, kept, (RecordedChunk(body),) if body else ())


def _body_bytes(tree: dict[str, Tree], path: TreePath) -> bytes:
    if tree.get("parsed_body") is not None:
        length = foreign.first_header(tree.get("headers"), "content-length") if path[-1] == "response" else ""
        return _json_bytes(tree["parsed_body"], (*path, "parsed_body"), length)
    name = "content" if "content" in tree else "body"
    if "parsed_body" in tree and name not in tree:
        return b"null"
    value = tree.get(name)
    if type(value) is dict and "uri" in tree and value and not value.keys() & {"string", "base64_string"}:
        return _value_bytes(tree, value, (*path, name))  # a filter of vcrpy's has replaced the bytes by a value
    if type(value) is dict:
        foreign.check_keys(value, ("string", "base64_string"), (*path, name), "vcrpy")
        if len(value) != 1:
            raise FormatError("a body must have one form", (*path, name))
        if "base64_string" in value:
            return _from_base64(value["base64_string"], (*path, name, "base64_string"))
        value = value.get("string")
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise FormatError(f"{name!r} must be text or binary", (*path, name))


def _value_bytes(tree: dict[str, Tree], value: Tree, path: TreePath) -> bytes:
    """Return the bytes of a request's body that is a mapping: a form if the headers say so, else JSON."""
    form = foreign.first_header(tree.get("headers"), "content-type").startswith(FORM)
    if form and type(value) is dict and all(isinstance(one, str) for one in value.values()):
        return urlencode({name: str(one) for name, one in value.items()}).encode()
    return _json_bytes(value, path)


_STYLES = (
    json_body.JsonStyle(),
    json_body.JsonStyle(spaced=True, ascii=True),  # Python's `json.dumps`
    json_body.JsonStyle(spaced=True),
    json_body.JsonStyle(ascii=True),
    json_body.JsonStyle(indent="  "),
    json_body.JsonStyle(indent="  ", newline=True),
    json_body.JsonStyle(indent="  ", ascii=True),
)
"""The styles in which providers and serializers write JSON. The first is the default."""


def _json_bytes(value: Tree, path: TreePath, length: str = "") -> bytes:
    """Return the bytes of a body that is stored as a value. ``length`` is their number as text; empty if unknown."""
    try:
        resolved = values_1_1.resolve_values(value)
        compact = json_body.write_json(resolved, _STYLES[0]).encode()
        if not length.isdecimal() or len(compact) >= int(length):
            return compact  # no style is shorter
        others = (json_body.write_json(resolved, style).encode() for style in _STYLES[1:])
        return next((body for body in others if len(body) == int(length)), compact)
    except ValueError as error:
        raise FormatError(str(error), path) from None


def _from_base64(value: Tree, path: TreePath) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (ValueError, TypeError, AttributeError):  # also for what is no text
        raise FormatError("not base64", path) from None


def undo_content_encoding(body: bytes, encoding: str, path: TreePath) -> bytes:
    """Return a body without its content codings. A body that is decoded already, despite its header, is unchanged.

    ``encoding`` is the value of ``Content-Encoding`` in lower case, ``path`` the place of the body in the document.
    Raises FormatError if the library for a coding is missing, or if the body decodes to more than ``MAX_BODY`` bytes.
    """
    for coding in reversed(encoding.split(",")):  # the last one named was applied last
        body = _undo_coding(body, coding.strip(), path)
    return body


def _undo_coding(body: bytes, coding: str, path: TreePath) -> bytes:
    package = _PACKAGES.get(coding)
    if not body or (package and is_utf8(body)):  # a text is decoded already
        return body
    decoder = content_codings.decoder_for(coding)
    if decoder is None:
        if package:
            raise FormatError(f"a body in the encoding {coding}; to read it: pip install {package}", path)
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        # In small pieces: a few bytes may decode to gigabytes, so the limit is checked after each piece.
        for start in range(0, len(body), _PIECE):
            pieces.append(decoder.decode(body[start : start + _PIECE]))
            size += len(pieces[-1])
            if size > MAX_BODY:
                raise FormatError(f"a body that unpacks to more than {MAX_BODY} bytes", path)
        pieces.append(decoder.finish())
    except content_codings.DamagedBody:
        return body
    # Nearly any bytes may be the beginning of deflate or brotli data. So a body that decodes to incomplete data was
    # decoded already.
    return b"".join(pieces) if content_codings.is_whole(decoder) else body


class JsonCodec(foreign.ReadOnlyCodec):
    """Cassettes of vcrpy's serializer ``json``."""

    suffix = ".json"
    format = "JSON"

    def read_document(self, data: bytes) -> Cassette:
        """Read a file's content. Raises FormatError and ValueError."""
        try:
            tree = json.loads(data, parse_int=Number, parse_float=Number)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if not is_vcrpy(tree):
            raise ValueError("it is not a cassette of vcrpy")
        return cassette_from_vcrpy(tree)

"""Cassettes that vcrpy recorded, read as ours.

vcrpy has no chunks and no times: a body comes back as one chunk at 0 ms. Its bodies may be compressed still; they are
unpacked, as ours are. A JSON body that was stored as a value (``parsed_body``) has no exact bytes any more: it is
written compactly, as the openai SDK writes. Of the headers those are kept that a recording of ours would have.
"""

from __future__ import annotations

import base64
import importlib
import zlib
from typing import Any

from aquila.cassettes.codecs import jsontext
from aquila.cassettes.codecs.reading import Mistake, Path
from aquila.cassettes.codecs.tree import Number, Tree
from aquila.cassettes.headers import REQUEST_HEADERS, RESPONSE_HEADERS
from aquila.cassettes.model import Cassette, Chunk, Headers, Interaction, Request, Response

MAX_BODY = 256 * 1024 * 1024
"""A compressed body that unpacks to more bytes than this is refused."""


def is_one(tree: Tree) -> bool:
    """Say whether a document is a cassette of vcrpy: it has interactions, and not our first line."""
    return type(tree) is dict and "interactions" in tree and "aquila" not in tree


def cassette(tree: dict[str, Tree]) -> Cassette:
    """Turn a document into a cassette. Raises Mistake."""
    if tree.get("version", "1") != "1":
        raise Mistake("a cassette of vcrpy of a version that is not known", ("version",))
    items = tree["interactions"]
    if type(items) is not list:
        raise Mistake("'interactions' must be a list", ("interactions",))
    return Cassette(tuple([_interaction(item, ("interactions", index)) for index, item in enumerate(items)]))


def _interaction(tree: Tree, path: Path) -> Interaction:
    asked, answered = _mapping(tree, "request", path), _mapping(tree, "response", path)
    request, response = (*path, "request"), (*path, "response")
    status: Tree = answered.get("status", answered.get("status_code"))
    if type(status) is dict:
        status = status.get("code")
    if type(status) is not Number or not status.isdigit() or len(status) > 3:
        raise Mistake("'status' must have a code", (*response, "status"))
    encoding = _header(answered.get("headers"), "content-encoding")
    body = _unpacked(_body(answered, response), encoding, response)
    return Interaction(
        Request(
            _text(asked, "method", request),
            _text(asked, "uri", request),
            _headers(asked.get("headers"), REQUEST_HEADERS, (*request, "headers")),
            _body(asked, request),
        ),
        Response(
            int(status),
            _headers(answered.get("headers"), RESPONSE_HEADERS, (*response, "headers")),
            (Chunk(body),) if body else (),
        ),
    )


def _mapping(tree: Tree, name: str, path: Path) -> dict[str, Tree]:
    if type(tree) is not dict or type(tree.get(name)) is not dict:
        raise Mistake(f"{name!r} must be a mapping", path)
    found: dict[str, Tree] = tree[name]
    return found


def _text(tree: dict[str, Tree], name: str, path: Path) -> str:
    value = tree.get(name)
    if not isinstance(value, str):
        raise Mistake(f"{name!r} must be text", path)
    return str(value)


def _body(tree: dict[str, Tree], path: Path) -> bytes:
    if tree.get("parsed_body") is not None:
        try:
            return jsontext.write(tree["parsed_body"], jsontext.Style()).encode()
        except ValueError as error:
            raise Mistake(str(error), (*path, "parsed_body")) from None
    name = "content" if "content" in tree else "body"
    value = tree.get(name)
    if type(value) is dict:
        if "base64_string" in value:
            return _from_base64(value["base64_string"], (*path, name, "base64_string"))
        value = value.get("string")
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise Mistake(f"{name!r} must be text or binary", (*path, name))


def _from_base64(value: Tree, path: Path) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (ValueError, AttributeError):
        raise Mistake("not base64", path) from None


def _headers(tree: Tree, allowed: frozenset[str], path: Path) -> Headers:
    if tree is None:
        return ()
    if type(tree) is not dict:
        raise Mistake("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for name, values in tree.items():
        if name.lower() in allowed:
            for value in values if type(values) is list else [values]:
                pairs.append((name.lower(), _header_text(value, (*path, name))))
    return tuple(pairs)


def _header_text(value: Tree, path: Path) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return str(value)
    raise Mistake("a header must be text", path)


def _header(tree: Tree, name: str) -> str:
    """The first value of a header, in lower case, or an empty string."""
    for key, values in tree.items() if type(tree) is dict else ():
        if key.lower() == name:
            value = values[0] if type(values) is list and values else values
            return value.strip().lower() if isinstance(value, str) else ""
    return ""


def _unpacked(body: bytes, encoding: str, path: Path) -> bytes:
    """Undo a content encoding. A body that vcrpy had unpacked already, and left the header, is taken as it is."""
    if not body or encoding in ("", "identity"):
        return body
    unpacked: bytes | None = None
    if encoding in ("gzip", "x-gzip") and body.startswith(b"\x1f\x8b"):
        unpacked = _inflated(body, 16 + zlib.MAX_WBITS, path)
    elif encoding == "deflate":
        unpacked = _inflated(body, zlib.MAX_WBITS, path) or _inflated(body, -zlib.MAX_WBITS, path)
    elif encoding in ("br", "zstd"):
        unpacked = _decompressed(body, encoding, path)
    return body if unpacked is None else unpacked


def _inflated(body: bytes, bits: int, path: Path) -> bytes | None:
    unpacking = zlib.decompressobj(bits)
    try:
        data = unpacking.decompress(body, MAX_BODY)
    except zlib.error:
        return None
    if unpacking.unconsumed_tail:
        raise Mistake(f"a body that unpacks to more than {MAX_BODY} bytes", path)
    return data if unpacking.eof else None


def _decompressed(body: bytes, encoding: str, path: Path) -> bytes | None:
    try:
        body.decode()
    except UnicodeDecodeError:
        pass
    else:
        return None  # it is text: unpacked already
    module: Any
    try:
        module = importlib.import_module("brotli" if encoding == "br" else "zstandard")
    except ImportError:
        package = "brotli" if encoding == "br" else "zstandard"
        raise Mistake(f"a body in the encoding {encoding}; to read it: pip install {package}", path) from None
    try:
        unpacked = module.decompress(body)
    except Exception:  # noqa: BLE001 - either library has errors of its own
        return None
    return bytes(unpacked)

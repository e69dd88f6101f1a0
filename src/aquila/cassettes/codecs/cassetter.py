"""Reads cassettes that cassetter recorded, in YAML or in TOML.

A body is ``{type, content}`` in YAML, and ``body_type`` with ``body_content`` in TOML. The content of the type ``json``
is a value in YAML and a text in TOML; that of ``binary`` is in hexadecimal. cassetter has no chunks and no times: a
body becomes one chunk at 0 ms. cassetter decodes bodies and does not keep the exact bytes of JSON. So the JSON of a
request is written compactly, as the openai SDK writes it, and that of an answer as cassetter replays it. Conversations
over WebSockets are in a list of their own, and become the last interactions.
"""

from __future__ import annotations

import datetime
import json
import tomllib
from typing import Any

from aquila.cassettes.codecs import foreign, json_body
from aquila.cassettes.codecs.vcrpy import build_interaction
from aquila.cassettes.codecs.yaml.reader import check_url, read_number
from aquila.cassettes.codecs.yaml.tree import FormatError, Number, Tree, TreePath, map_scalars
from aquila.cassettes.model import SWITCHED, Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import WITHOUT_CODE, Close, Frame, store_close, store_frame

_NAME = "cassetter"
_OTHERS = {
    "grpc_interactions": "gRPC interactions",
    "observed_requests": "requests that a server observed",
}
_CONVERSATIONS = "ws_interactions"
_BODY = ("body", "body_type", "body_content")
_STYLE_OF_ANSWERS = json_body.JsonStyle(spaced=True, ascii=True)  # Python's `json.dumps`, with which it replays them


def cassette_from_cassetter(tree: dict[str, Tree]) -> Cassette:
    """Build a `Cassette` from a parsed document of cassetter. Raises FormatError."""
    if tree.get("version", "1") != "1":
        raise FormatError("a cassette of cassetter of a version that is not known", ("version",))
    for name, what in _OTHERS.items():
        if tree.get(name):
            raise FormatError(f"a cassette of cassetter with {what}, which Aquila does not replay", (name,))
    foreign.check_keys(tree, ("version", "interactions", _CONVERSATIONS, *_OTHERS), (), _NAME)
    readers = {"interactions": _build_interaction, _CONVERSATIONS: _build_conversation}
    interactions: list[Interaction] = []
    for name, build in readers.items():
        items = tree.get(name, [])
        if type(items) is not list:
            raise FormatError(f"{name!r} must be a list", (name,))
        interactions += [build(item, (name, index)) for index, item in enumerate(items)]
    return Cassette(tuple(interactions))


def _build_interaction(tree: Tree, path: TreePath) -> Interaction:
    asked, answered = foreign.require_mapping(tree, "request", path), foreign.require_mapping(tree, "response", path)
    request, response = (*path, "request"), (*path, "response")
    foreign.check_keys(tree, ("request", "response", "recorded_at"), path, _NAME)
    foreign.check_keys(asked, ("method", "uri", "headers", *_BODY), request, _NAME)
    foreign.check_keys(answered, ("status", "headers", *_BODY), response, _NAME)
    recorded = _recorded_moment(tree, path) if "recorded_at" in tree else ""
    return build_interaction(asked, answered, answered.get("status"), path, read_body=_body_bytes, recorded=recorded)


def _build_conversation(tree: Tree, path: TreePath) -> Interaction:
    """Build a conversation over a WebSocket. One without a close frame counts as left by the client."""
    foreign.check_keys(tree if type(tree) is dict else {}, ("uri", "headers", "frames", "recorded_at"), path, _NAME)
    items = tree.get("frames") if type(tree) is dict else None
    if type(items) is not list:
        raise FormatError("'frames' must be a list", (*path, "frames"))
    said = [_build_frame(item, (*path, "frames", index)) for index, item in enumerate(items)]
    chunks = tuple([store_close(each) if isinstance(each, Close) else store_frame(each) for each in said])
    is_closed = any(isinstance(each, Close) for each in said)
    ended = max([each.at for each in said], default=0)
    return Interaction(
        RecordedRequest(
            "GET",
            check_url(foreign.require_text(tree, "uri", path), (*path, "uri")),
            foreign.read_headers(tree.get("headers"), (*path, "headers"), with_credentials=False),
        ),
        RecordedResponse(SWITCHED, (), chunks, "complete" if is_closed else "closed", ended=ended),
        _recorded_moment(tree, path) if "recorded_at" in tree else "",
        kind="websocket",
    )


def _build_frame(tree: Tree, path: TreePath) -> Frame | Close:
    if type(tree) is not dict:
        raise FormatError("a frame must be a mapping", path)
    foreign.check_keys(tree, ("direction", "frame_type", "offset_ms", *_BODY), path, _NAME)
    direction, kind = (foreign.require_text(tree, name, path) for name in ("direction", "frame_type"))
    if direction not in ("send", "recv") or kind not in ("text", "binary", "close"):
        raise FormatError("a frame must be sent or received, and a text, binary or a close", path)
    data, at = _body_bytes(tree, path), read_number(tree, "offset_ms", path)
    if kind != "close":
        return Frame(data, sent=direction == "send", is_text=kind == "text", at=at)
    # RFC 6455, 5.5.1: the data is a code of two bytes, then the reason. Both may be missing.
    code = int.from_bytes(data[:2]) if len(data) > 1 else WITHOUT_CODE
    return Close("client" if direction == "send" else "provider", code, data[2:].decode("utf-8", "replace"), at)


def _body_bytes(tree: dict[str, Tree], path: TreePath) -> bytes:
    if "body" in tree:
        foreign.check_keys(tree, tree.keys() - {"body_type", "body_content"}, path, f"{_NAME} with a 'body'")
        body, path = foreign.require_mapping(tree, "body", path), (*path, "body")
        foreign.check_keys(body, ("type", "content"), path, _NAME)
        kind, name, in_toml = body.get("type"), "content", False
    else:
        body, kind, name, in_toml = tree, tree.get("body_type"), "body_content", True
    if kind == "none" and body.get(name) is None:
        return b""
    if kind not in ("json", "text", "binary") or name not in body:
        raise FormatError("a body must be of the type json, text or binary, with a content, or of the type none", path)
    text = foreign.require_text(body, name, path) if kind != "json" or in_toml else ""
    if kind == "json":
        style = _STYLE_OF_ANSWERS if "response" in path else json_body.JsonStyle()
        try:
            content = json.loads(text, parse_int=Number, parse_float=Number) if in_toml else body[name]
            return json_body.write_json(content, style).encode()
        except ValueError as error:
            raise FormatError(str(error), (*path, name)) from None
    if kind != "binary":
        return text.encode()
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise FormatError("a binary body must be in hexadecimal", (*path, name)) from None


def _recorded_moment(tree: dict[str, Tree], path: TreePath) -> str:
    try:
        moment = datetime.datetime.fromisoformat(foreign.require_text(tree, "recorded_at", path))
        if moment.tzinfo is not None:  # without a zone it is UTC, whatever the zone of this machine
            moment = moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise FormatError("'recorded_at' must be a date and time", (*path, "recorded_at")) from None
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


class TomlCodec(foreign.ReadOnlyCodec):
    """Cassettes of cassetter in TOML."""

    suffix = ".toml"
    format = "TOML"

    def read_document(self, data: bytes) -> Cassette:
        """Read a file's content. Raises FormatError and ValueError."""
        try:
            tree = tomllib.loads(data.decode())
        except UnicodeDecodeError:
            raise ValueError("not TOML: not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"not TOML: {error}") from None
        if "interactions" not in tree or not (foreign.is_cassetter(tree) or not tree["interactions"]):
            raise ValueError("it is not a cassette of cassetter")
        return cassette_from_cassetter(map_scalars(tree, _number_as_literal))


def _number_as_literal(value: Any) -> Tree:
    """Return an integer of TOML as a `Number`, as the YAML parser gives it.

    Other values that no cassette has, such as dates, stay. The functions that read their fields refuse them.
    """
    return Number(value) if type(value) is int else value  # not `isinstance`, for which True is an integer, too

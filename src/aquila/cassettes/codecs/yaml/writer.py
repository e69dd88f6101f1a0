"""From a cassette to the YAML that says it: what goes where, in the order of reading."""

from __future__ import annotations

import base64
import re
from typing import Any

from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.sse_fold.fold_reader import Folded
from aquila.cassettes.codecs.sse_fold.fold_writer import fold
from aquila.cassettes.codecs.yaml import emitter, reply_text
from aquila.cassettes.codecs.yaml.tree import Number
from aquila.cassettes.model import Headers, Interaction, RecordedChunk, RecordedRequest, RecordedResponse

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def write_interaction(interaction: Interaction) -> str:
    """Write an interaction as an item of the list."""
    tree: dict[str, Any] = {"request": _request_tree(interaction.request)}
    if interaction.recorded:
        plain = _MOMENT.fullmatch(interaction.recorded)
        tree["recorded"] = Number(interaction.recorded) if plain else interaction.recorded
    tree["response"] = _response_tree(interaction.response)
    return emitter.write_item(tree, 0)


def _request_tree(request: RecordedRequest) -> dict[str, Any]:
    tree: dict[str, Any] = {"method": request.method, "url": request.url}
    if request.headers:
        tree["headers"] = _headers_tree(request.headers)
    return tree | _body_tree(request.body)


def _response_tree(response: RecordedResponse) -> dict[str, Any]:
    body = response.body
    tree: dict[str, Any] = {"status": response.status}
    text = reply_text.text_of_answer(body)
    if text:
        tree["text"] = text
    if response.headers:
        tree["headers"] = _headers_tree(response.headers)
    if response.started:
        tree["started"] = response.started
    if response.ended:
        tree["ended"] = response.ended
    if response.end != "complete":
        tree["end"] = response.end
    if response.error:
        tree["error"] = response.error
    folded = fold(response.chunks)
    if folded is not None:
        return tree | _events(folded)
    if response.chunks and not (len(response.chunks) == 1 and body and response.chunks[0].at == response.ended):
        tree["chunks"] = _chunks(response.chunks)
    return tree | _body_tree(body)


def _headers_tree(headers: Headers) -> Any:
    mapping = dict(headers)
    return mapping if len(mapping) == len(headers) else [{name: value} for name, value in headers]


def _body_tree(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    found = json_body.parse_exact(body)
    if found is not None:
        tree: dict[str, Any] = {}
        if str(found.style):
            tree["json_style"] = str(found.style)
        if found.literals:
            tree["json_literals"] = dict(found.literals)
        return tree | {"json": found.value}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _events(folded: Folded) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    if folded.crlf:
        tree["newline"] = "crlf"
    if folded.shared:
        tree["shared"] = dict(folded.shared)
    if folded.templates:
        tree["templates"] = dict(folded.templates)
    return tree | {"events": folded.events}


def _chunks(chunks: tuple[RecordedChunk, ...]) -> Number:
    """``at:size`` for each chunk; the last one takes the rest."""
    items = [f"{chunk.at}:{len(chunk.data)}" for chunk in chunks[:-1]]
    return Number(" ".join([*items, str(chunks[-1].at)]))

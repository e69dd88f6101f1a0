"""Writes interactions as YAML: decides the keys, their values, and their order.

If many tests record into one cassette, each of them writes the whole file. So the latest texts are kept in a memo.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

from aquila.cassettes.answers import answer_text
from aquila.cassettes.body_file import BodyFile, StoredChunks, StoredRequest
from aquila.cassettes.codecs import json_body
from aquila.cassettes.codecs.event_streams.stream_writer import write_chunk_list, write_sizes, write_table
from aquila.cassettes.codecs.yaml import emitter, frame_writer
from aquila.cassettes.codecs.yaml.emitter import LONG_KEY
from aquila.cassettes.codecs.yaml.tree import Number, OneLine
from aquila.cassettes.model import (
    SWITCHED,
    Headers,
    Interaction,
    RecordedChunk,
    RecordedRequest,
    RecordedResponse,
    check_status_is_writable,
)
from aquila.cassettes.object_memo import ObjectMemo
from aquila.cassettes.redaction.response_headers import differs_each_time
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks

_texts: ObjectMemo[Interaction, str] = ObjectMemo(limit=32 * 1024 * 1024)
"""The texts that were written last, for the whole process. The limit is in characters."""

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def write_item(interaction: Interaction) -> str:
    """Return an interaction as an item of the list, from the memo if it is there. Raises CassetteWriteError."""
    text = _texts.find(interaction)
    if text is None:
        text = write_interaction(interaction)
        _texts.add(interaction, text, len(text))
    return text


def write_interaction(interaction: Interaction) -> str:
    """Write an interaction as an item of the list. Raises CassetteWriteError."""
    check_status_is_writable(interaction.response.status, interaction.response.end)
    tree: dict[str, Any] = {"kind": interaction.kind} if interaction.kind != "http" else {}
    tree["request"] = _request_tree(interaction.request)
    response, recorded = _response_tree(interaction.response, is_conversation=interaction.kind == "websocket")
    if interaction.recorded:
        # `Number` is written without quotes. Any other text, from a foreign recorder for example, needs them.
        plain = _MOMENT.fullmatch(interaction.recorded)
        recorded = {"at": Number(interaction.recorded) if plain else interaction.recorded} | recorded
    if recorded:
        tree["recorded"] = OneLine(recorded)
    if interaction.upstream:
        tree["upstream"] = interaction.upstream
    if interaction.model:
        tree["model"] = interaction.model
    tree["response"] = response
    return emitter.write_item(tree, 0)


def _request_tree(request: RecordedRequest) -> dict[str, Any]:
    tree: dict[str, Any] = {"method": request.method, "url": request.url}
    if request.headers:
        tree["headers"] = _headers_tree(request.headers)
    if isinstance(request, StoredRequest):
        return tree | _file_tree(request.file)
    value = json_body.parse_by_value(request)
    return tree | ({"json": value} if value is not None else _bytes_tree(request.body))


def _response_tree(response: RecordedResponse, *, is_conversation: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of ``response``, the answer, and of ``recorded``, the values that differ in each recording."""
    chunks = response.chunks
    if isinstance(chunks, SoundChunks):
        said_apart = replace(response, chunks=chunks.templates)
        rest, when = _response_tree(said_apart, is_conversation=is_conversation)
        sounds = [OneLine({"file": sound.name, "size": Number(str(sound.size))}) for sound in chunks.sounds]
        return {"status": rest.pop("status"), "sounds": sounds} | rest, when
    stored = chunks if isinstance(chunks, StoredChunks) else None
    body = b"" if stored is not None else response.body
    recorded = {name: Number(at) for name, at in (("started", response.started), ("ended", response.ended)) if at}
    headers, passing = _split_headers(response.headers)
    tree: dict[str, Any] = {"status": response.status} if response.has_begun else {}
    said = (
        frame_writer.write_frames(chunks)
        if is_conversation and stored is None and response.status == SWITCHED
        else None
    )
    text = answer_text.summary_of_stream(body) if said is None else ""
    if text:  # only people read it, so it has no blanks at the ends of lines, which would make it a quoted text
        tree["text"] = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    if headers:
        tree["headers"] = _headers_tree(headers)
    if response.end != "complete":
        tree["end"] = response.end
    if response.error:
        tree["error"] = response.error
    if response.attempts:
        tree["attempts"] = response.attempts
    if response.retried:
        tree["retried"] = True
    if stored is not None:
        body_tree, chunk_list = _stored_tree(stored, is_conversation=is_conversation)
    elif said is not None:
        body_tree, chunk_list = said.tree, said.times or None
    else:
        body_tree, chunk_list = _body_tree(response, body)
    if chunk_list is not None:
        recorded["chunks"] = Number(chunk_list)
    return tree | body_tree, recorded | ({"headers": dict(passing)} if passing else {})


def _stored_tree(stored: StoredChunks, *, is_conversation: bool) -> tuple[dict[str, Any], str | None]:
    """Return the keys of a body that lies in a file, and its chunk list, or None without chunks."""
    transcript = frame_writer.write_stored_transcript(stored) if is_conversation else ""
    tree = {"said": transcript} if transcript else {}
    return tree | _file_tree(stored.file), write_sizes(stored.sizes(), stored.times()) if stored else None


def _body_tree(response: RecordedResponse, body: bytes) -> tuple[dict[str, Any], str | None]:
    """Return the keys of a body, with a table if it is an event stream, and its chunk list or None."""
    written = write_table(response.chunks)
    if written is None:
        return _answer_tree(body), _needed_chunk_list(response, body, write_chunk_list(response.chunks, [len(body)]))
    table, chunk_list = written
    tree: dict[str, Any] = {"newline": "crlf"} if table.crlf else {}
    if table.layouts:
        tree["layouts"] = dict(table.layouts)
    return {**tree, "events": table.events}, _needed_chunk_list(response, body, chunk_list)


def _split_headers(headers: Headers) -> tuple[Headers, Headers]:
    """Split off the last fields that differ in each recording. A field that occurs twice stays with the others."""
    count = len(headers)
    names = [name for name, _ in headers]
    while count and differs_each_time(names[count - 1]) and len(names[count - 1]) <= LONG_KEY:
        if names.count(names[count - 1]) > 1:
            break  # `recorded` has a mapping of fields, with each name only once
        count -= 1
    return headers[:count], headers[count:]


def _file_tree(file: BodyFile) -> dict[str, Any]:
    return {"body_size": file.size, "body_file": file.name}


def _headers_tree(headers: Headers) -> Any:
    mapping = dict(headers)
    return mapping if len(mapping) == len(headers) else [{name: value} for name, value in headers]


def _needed_chunk_list(response: RecordedResponse, body: bytes, chunk_list: str) -> str | None:
    """Return the chunk list, or None for a body in one chunk at the end, and for one without chunks."""
    came_whole = body and response.chunks == (RecordedChunk(body, response.ended),)
    return chunk_list if response.chunks and not came_whole else None


def _answer_tree(body: bytes) -> dict[str, Any]:
    found = json_body.parse_exact(body)
    if found is None:
        return _bytes_tree(body)
    tree: dict[str, Any] = {}
    if str(found.style):
        tree["json_style"] = str(found.style)
    if found.literals:
        tree["json_literals"] = dict(found.literals)
    return tree | {"json": found.value}


def _bytes_tree(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}

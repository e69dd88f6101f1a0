"""Which ids a request names for a provider to look up, and which ids an answer gives.

If a live request names an id that was recorded on another day, the provider looks it up and answers with an error.
Whether a provider looks an id up depends on its place in the request. The table of these places is here. It does not
have the ids of tool calls: a client sends the whole history, with each call beside its result, so the provider pairs
the two within the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.errors import CassetteCorrupt


class Protocol(NamedTuple):
    """Where the requests of one protocol name ids.

    - ``fields``: names of fields in a JSON body, at any depth. Their value is an id, a list of ids, or an object with
      an ``id``.
    - ``items``: types of objects that refer, by their ``id``, to something that the provider keeps. Each type has the
      names of the fields that hold the content itself. An object with one of these fields refers to nothing.
    - ``headers``: names of header fields.
    """

    name: str
    fields: tuple[str, ...] = ()
    items: Mapping[str, tuple[str, ...]] = {}
    headers: tuple[str, ...] = ()


PROTOCOLS = (
    Protocol(
        "OpenAI Responses and Conversations",
        fields=("previous_response_id", "conversation"),
        items={
            "item_reference": (),
            "reasoning": ("encrypted_content", "content"),
            "image_generation_call": ("result",),
        },
    ),
    Protocol("OpenAI Chat Completions", fields=("audio",)),
    Protocol(
        "OpenAI Files, Uploads, Batches, Fine-tuning and Evals",
        fields=("file_id", "file_ids", "part_ids", "input_file_id", "training_file", "validation_file", "eval_id"),
    ),
    Protocol("OpenAI Containers and Vector stores", fields=("container_id", "vector_store_id", "vector_store_ids")),
    Protocol("OpenAI Assistants", fields=("assistant_id", "thread_id", "run_id")),
    Protocol("Anthropic", fields=("container", "file_id", "skill_id")),
    Protocol(
        "Gemini",
        fields=("cachedContent", "cached_content", "fileUri", "file_uri", "previous_interaction_id"),
    ),
    Protocol("Mistral", fields=("agent_id", "conversation_id", "library_ids")),
    Protocol("AssemblyAI and others that take uploads", fields=("audio_url", "upload_id", "upload_url")),
    Protocol("MCP", headers=("mcp-session-id",)),
)
"""The table. It does not name paths and queries: an id in a URL is always looked up."""

_FIELDS = frozenset(name for protocol in PROTOCOLS for name in protocol.fields)
_ITEMS = {kind: whole for protocol in PROTOCOLS for kind, whole in protocol.items.items()}
_HEADERS = frozenset(name for protocol in PROTOCOLS for name in protocol.headers)

_WRITTEN_FREELY = frozenset(
    {
        *("annotations", "args", "arguments", "citations", "input_schema", "metadata", "parameters", "properties"),
        *("response", "schema"),
    }
)
"""Fields whose content a model, a tool or the author of a program wrote. A provider looks up nothing in them."""

_BEFORE_MODELS = frozenset({"models", "model", "engines", "deployments"})
"""Parts of a path that the name of a model follows. Such a name is not an id that an answer gave."""

_GIVING_HEADERS = frozenset({*_HEADERS, "content-location", "location", "operation-location", "x-goog-upload-url"})
"""Header fields of an answer that give an id, or a URL with one."""

_RESOURCE_FIELDS = frozenset(
    {"name", "uri", "fileUri", "file_uri", "upload_url", "uploadUrl", "next_page", "nextPageToken", "next_cursor"}
)
"""Fields of an answer that give an id, besides those whose names end in ``id`` or ``ids``."""

_LARGEST = 16 * 1024 * 1024
"""The most bytes of a body that is searched for ids. A larger body is an uploaded file, which names none."""

_MAY_BE_JSON = re.compile(rb"\s*[{\[]|(?:data|event|id|retry)?:")


def ids_named_by(request: RecordedRequest) -> dict[str, str]:
    """Return the values that a request names for its provider to look up, each with its place, for messages.

    All parts of the path are among them. Only the answers that gave them tell which of these parts are ids.
    """
    named: dict[str, str] = {}
    parts = urlsplit(request.url)
    before = ""
    for part in map(unquote, parts.path.replace(":", "/").split("/")):
        if part and before not in _BEFORE_MODELS:
            named.setdefault(part, "the path")
        before = part
    for name, value in parse_qsl(parts.query):
        if not value.isdecimal():  # a number of entries, or of a page
            named.setdefault(value, f"query {name}")
    for name, value in request.headers:
        if name in _HEADERS:
            named.setdefault(value, f"header {name}")
    for body in _read_json(_body_of(request)):
        for value, where in _named_in(body):
            named.setdefault(value, where)
    return named


def _named_in(body: Any) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[Any, str]] = [(body, "")]
    while waiting:
        value, path = waiting.pop()
        if isinstance(value, list):
            waiting += [(each, f"{path}[{at}]") for at, each in reversed(list(enumerate(value)))]
        if not isinstance(value, dict):
            continue
        kind, id = value.get("type"), value.get("id")
        if isinstance(id, str) and (_is_reference(value) if kind else _is_bare_reference(value, path)):
            yield id, f"{path}.id".removeprefix(".")
        for name, child in value.items():
            where = f"{path}.{name}".removeprefix(".")
            if name in _FIELDS:
                yield from _ids_of_field(child, where)
            if not _is_written_freely(name, child, kind):
                waiting.append((child, where))


def _is_reference(item: Mapping[str, Any]) -> bool:
    """Whether an object refers to something that the provider keeps, and does not hold its content."""
    whole = _ITEMS.get(str(item["type"]))
    return whole is not None and not any(item.get(name) for name in whole)


def _is_bare_reference(item: Mapping[str, Any], path: str) -> bool:
    """Whether an object without a type is an ``item_reference`` of the Responses API."""
    return item.keys() <= {"id", "type"} and path.partition("[")[0] in ("input", "items")


def _ids_of_field(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        value, where = value.get("id"), f"{where}.id"
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, str):
            yield each, where


def _is_written_freely(name: str, value: Any, kind: Any) -> bool:
    # `input` of a tool call is an object, and `input` of a request is a text or a list. The results of the provider's
    # own tools come back in the history, for example as `code_execution_tool_result`.
    tool_input = name == "input" and isinstance(value, dict)
    tool_output = name == "content" and isinstance(kind, str) and kind.endswith("_tool_result")
    return name in _WRITTEN_FREELY or tool_input or tool_output


def ids_given_by(interaction: Interaction) -> frozenset[str]:
    """Return the ids that an answer gives."""
    response = interaction.response
    given: set[str] = set()
    for name, value in response.headers:
        if name in _GIVING_HEADERS:
            given.add(value)
            given.update(ids_in_url(value))
    chunks = response.chunks
    if not (isinstance(chunks, StoredChunks) and chunks.file.size > _LARGEST):
        with suppress(CassetteCorrupt):
            for body in _read_json(response.body):
                given.update(_given_in(body))
    return frozenset(given)


def _given_in(body: Any) -> Iterator[str]:
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict) and value.get("object") != "model" and value.get("type") != "model":
            for name, child in value.items():
                if isinstance(child, dict | list):
                    waiting.append(child)
                if _gives_id(name):
                    for each in child if isinstance(child, list) else (child,):
                        yield from _spellings_of(name, each)


def _gives_id(name: str) -> bool:
    return name in ("id", "ids") or name.endswith(("_id", "_ids", "Id", "Ids")) or name in _RESOURCE_FIELDS


def _spellings_of(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield str(value)  # a path has it as text
    elif isinstance(value, str) and value and not (name == "name" and "/" not in value):
        yield value
        if name in ("name", "id"):  # of a resource: `files/abc`
            yield value.rpartition("/")[2]


def ids_in_url(url: str) -> Iterator[str]:
    """Yield the parts of a URL, or of a name such as ``files/abc``, that may be ids: the last one, and the query's."""
    with suppress(ValueError):
        parts = urlsplit(url)
        yield unquote(parts.path.rpartition("/")[2])
        yield from (value for _, value in parse_qsl(parts.query))


def values_in(request: RecordedRequest) -> frozenset[str]:
    """Return all texts and numbers of a request. Its sender knew these values before the answer came."""
    parts = urlsplit(request.url)
    found = {request.url, *map(unquote, parts.path.replace(":", "/").split("/"))}
    found.update(value for _, value in parse_qsl(parts.query))
    found.update(value for name, value in request.headers if name in _HEADERS)
    waiting = list(_read_json(_body_of(request)))
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str | int):
            found.add(str(value))
    return frozenset(found)


def _body_of(request: RecordedRequest) -> bytes:
    # A body whose file is missing gives no ids here. The replay of the body reports the missing file.
    with suppress(CassetteCorrupt):
        return request.body if request.size <= _LARGEST else b""
    return b""


def _read_json(body: bytes) -> Iterator[Any]:
    """Yield the JSON values of a body: one, or one for each line or event."""
    if not _MAY_BE_JSON.match(body):  # an upload may be large
        return
    with suppress(ValueError, RecursionError):
        yield json.loads(body)
        return
    for line in body.splitlines():
        text = line.removeprefix(b"data:").strip()
        if text[:1] in (b"{", b"["):
            with suppress(ValueError, RecursionError):
                yield json.loads(text)

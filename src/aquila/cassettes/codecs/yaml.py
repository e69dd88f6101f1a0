"""The YAML codec: version 1 of the format that docs/cassette-format.md describes."""

from __future__ import annotations

import base64
import re
from typing import Any

from aquila.cassettes.codecs import emit, glance, jsontext, ownyaml, reading, safeyaml, vcrpy
from aquila.cassettes.codecs._gc import collector_paused
from aquila.cassettes.codecs.tree import Number
from aquila.cassettes.fold import fold
from aquila.cassettes.model import Cassette, Chunk, Headers, Interaction, Request, Response
from aquila.cassettes.unfold import Folded
from aquila.errors import CassetteCorrupt, CassetteTooNew

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class YamlCodec:
    """Cassettes for people: readable in a review, exact to the byte. Reads the cassettes of vcrpy, too."""

    suffix = ".yaml"

    def dumps(self, cassette: Cassette) -> bytes:
        """Return the file's content."""
        with collector_paused():
            if not cassette.interactions:
                return ownyaml.HEAD[:-1] + b" []" + ownyaml.TAIL
            return ownyaml.HEAD + "".join(map(_interaction, cassette.interactions)).encode() + ownyaml.END

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt, CassetteTooNew."""
        with collector_paused():
            try:
                return Cassette(reading.interactions(ownyaml.interactions(data)))
            except ownyaml.NotOurs:
                pass
            except reading.Mistake as mistake:
                raise _error(mistake, data, source) from None
            tree = safeyaml.load(data, source=source)
            try:
                if vcrpy.is_one(tree):
                    return vcrpy.cassette(tree)
                cassette = reading.cassette(tree)
            except reading.Mistake as mistake:
                raise _error(mistake, data, source) from None
        if not data.rstrip().endswith(ownyaml.TAIL.rstrip()):
            line = data.count(b"\n") + 1
            raise CassetteCorrupt(
                f"{source}, line {line}: the file is cut off: its last line, '...', is missing. {safeyaml.ADVICE}"
            )
        return cassette


def _error(found: reading.Mistake, data: bytes, source: str) -> CassetteCorrupt:
    line = safeyaml.line_of(data, found.path) + found.below
    if found.newer:
        return CassetteTooNew(
            f"{source}, line {line}: written by a newer Aquila ({found.what}). "
            "Upgrade with: pip install --upgrade pytest-aquila"
        )
    return CassetteCorrupt(f"{source}, line {line}: {found.what}. {safeyaml.ADVICE}")


def _interaction(interaction: Interaction) -> str:
    tree: dict[str, Any] = {"request": _request(interaction.request)}
    if interaction.recorded:
        plain = _MOMENT.fullmatch(interaction.recorded)
        tree["recorded"] = Number(interaction.recorded) if plain else interaction.recorded
    tree["response"] = _response(interaction.response)
    return emit.item(tree, 0)


def _request(request: Request) -> dict[str, Any]:
    tree: dict[str, Any] = {"method": request.method, "url": request.url}
    if request.headers:
        tree["headers"] = _headers(request.headers)
    return tree | _body(request.body)


def _response(response: Response) -> dict[str, Any]:
    body = response.body
    tree: dict[str, Any] = {"status": response.status}
    text = glance.text_of(body)
    if text:
        tree["text"] = text
    if response.headers:
        tree["headers"] = _headers(response.headers)
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
    return tree | _body(body)


def _headers(headers: Headers) -> Any:
    mapping = dict(headers)
    return mapping if len(mapping) == len(headers) else [{name: value} for name, value in headers]


def _body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    found = jsontext.read(body)
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


def _chunks(chunks: tuple[Chunk, ...]) -> Number:
    """``at:size`` for each chunk; the last one takes the rest."""
    items = [f"{chunk.at}:{len(chunk.data)}" for chunk in chunks[:-1]]
    return Number(" ".join([*items, str(chunks[-1].at)]))

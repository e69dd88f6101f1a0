"""Recognises files of other tools, and reads the fields that the cassettes of several recorders have in common.

Unknown parts are never ignored. If a file has a key or a kind of body that a reader does not know, the reader refuses
the whole file, because that part would be lost when the file is converted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import ClassVar

from aquila.cassettes.codecs import MAX_BYTES
from aquila.cassettes.codecs.yaml.tree import FOREIGN_ADVICE, FormatError, Number, Tree, TreePath, is_ours, shorten_name
from aquila.cassettes.model import STATUSES, Cassette, Headers
from aquila.cassettes.redaction.request_headers import is_secret_header
from aquila.errors import CassetteCorrupt, CassetteWriteError


class ReadOnlyCodec(ABC):
    """A codec for cassettes of another recorder in a format that Aquila reads and does not write."""

    suffix: str
    format: ClassVar[str]
    """The name of the format, for messages."""

    @abstractmethod
    def read_document(self, data: bytes) -> Cassette:
        """Read a file's content. Raises FormatError, and ValueError for what is no cassette of that recorder."""

    def dumps(self, cassette: Cassette) -> bytes:
        """Raise CassetteWriteError."""
        raise CassetteWriteError(
            f"a cassette in {self.format} is only read; to make it Aquila's: "
            "aquila cassettes convert FILE --to yaml --replace"
        )

    def loads(self, data: bytes, *, source: str) -> Cassette:
        """Read a file's content. Raises CassetteCorrupt."""
        try:
            if len(data) > MAX_BYTES:
                raise ValueError(f"it has {len(data)} bytes; a cassette may have {MAX_BYTES}")
            return self.read_document(data)
        except FormatError as mistake:
            what = describe_mistake(mistake)
        except RecursionError:
            what = "nested too deeply to be read"
        except ValueError as error:
            what = str(error)
        raise CassetteCorrupt(f"{source}: {what}. {FOREIGN_ADVICE}")


def describe_foreign_file(tree: Tree) -> str:
    """Return what a document of another tool looks like, such as ``a contract of Pact``; empty if that is not known.

    The text quotes neither keys nor values, because they may be secrets.
    """
    if type(tree) is list:
        return "a list"
    if type(tree) is not dict:
        return "a text or a number" if isinstance(tree, str) else ""
    return next((what for looks_so, what in _FOREIGN_FILES if looks_so(tree)), "")


def _first_request(tree: dict[str, Tree]) -> dict[str, Tree]:
    """Return the request of the first interaction; an empty mapping if there is none, or if it has a ``uri``."""
    items = tree.get("interactions")
    first = items[0] if type(items) is list and items else None
    request = first.get("request") if type(first) is dict else None
    return request if type(request) is dict and "uri" not in request else {}


_FOREIGN_FILES: tuple[tuple[Callable[[dict[str, Tree]], bool], str], ...] = (
    (lambda tree: "http_interactions" in tree, "a cassette of VCR for Ruby, or of Betamax"),
    (
        lambda tree: type(tree.get("log")) is dict and "entries" in tree["log"],
        "an HTTP archive (HAR), as browsers and Polly.JS write it",
    ),
    (lambda tree: {"consumer", "provider"} <= tree.keys(), "a contract of Pact"),
    (lambda tree: "mappings" in tree or {"request", "response"} <= tree.keys(), "a stub of WireMock"),
    (lambda tree: bool(_first_request(tree).keys() & {"form", "proto"}), "a cassette of go-vcr"),
    (lambda tree: "url" in _first_request(tree), "a cassette of Aquila that has lost this line"),
    (
        lambda tree: bool(tree) and all(isinstance(value, str) for value in tree.values()),
        "a mapping of names to texts, of settings or tokens for example",
    ),
)
"""Tests for documents of other tools, each with what the document is. The first test that is true counts."""


def describe_mistake(mistake: FormatError) -> str:
    """Return what is wrong in a file, and its place there, such as ``interactions[0].request``, for formats without
    the numbers of lines."""
    place = "".join([f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake.path])
    return f"{place.lstrip('.') or 'top'}: {mistake.what}"


def is_foreign(path: Path, data: bytes) -> bool:
    """Say whether another recorder wrote ``data``, the content of a cassette: it is text without Aquila's version."""
    return bool(data) and path.suffix != ".msgpack" and not is_ours(data)


def is_cassetter(tree: Tree) -> bool:
    """Say whether a document is a cassette of cassetter: its bodies have a type, or it has more than HTTP."""
    if type(tree) is not dict or "aquila" in tree:
        return False
    if tree.keys() & {"grpc_interactions", "ws_interactions", "observed_requests"}:
        return True
    items = tree.get("interactions")
    for item in items if type(items) is list else ():
        for part in (item.get("request"), item.get("response")) if type(item) is dict else ():
            if type(part) is dict and (
                "body_type" in part or (type(part.get("body")) is dict and "type" in part["body"])
            ):
                return True
    return False


def check_keys(tree: dict[str, Tree], known: Collection[str], path: TreePath, recorder: str) -> None:
    """Raise FormatError for a key that a recorder is not known to write."""
    for name in tree:
        if name not in known:
            what = f"unknown key {shorten_name(name)}, which no cassette of {recorder} is known to have"
            raise FormatError(what, (*path, name))


def require_mapping(tree: Tree, name: str, path: TreePath) -> dict[str, Tree]:
    """Return the mapping under a name. Raises FormatError if there is none."""
    if type(tree) is not dict or type(tree.get(name)) is not dict:
        raise FormatError(f"{name!r} must be a mapping", path)
    found: dict[str, Tree] = tree[name]
    return found


def require_text(tree: dict[str, Tree], name: str, path: TreePath) -> str:
    """Return the text under a name. Raises FormatError if there is none."""
    value = tree.get(name)
    if not isinstance(value, str):
        raise FormatError(f"{name!r} must be text", path)
    return str(value)


def parse_status(value: Tree, path: TreePath) -> int:
    """Return a status code. Raises FormatError."""
    if type(value) is not Number or not value.isdigit() or len(value) > 3 or int(value) not in STATUSES:
        raise FormatError(f"'status' must have a code from {STATUSES[0]} to {STATUSES[-1]}", path)
    return int(value)


def read_headers(tree: Tree, path: TreePath, *, with_credentials: bool) -> Headers:
    """Return header fields. Raises FormatError.

    Those of an answer are read with their cookies, without which many programs cannot sign in. Converting the file
    keeps only the fields that a recording would keep.
    """
    if tree is None:
        return ()
    if type(tree) is not dict:
        raise FormatError("'headers' must be a mapping", path)
    pairs: list[tuple[str, str]] = []
    for name, values in tree.items():
        if with_credentials or not is_secret_header(name):
            for value in values if type(values) is list else [values]:
                pairs.append((name.lower(), _header_text(value, (*path, name))))
    return tuple(pairs)


def _header_text(value: Tree, path: TreePath) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return str(value)
    raise FormatError("a header must be text", path)


def first_header(tree: Tree, name: str) -> str:
    """Return the first value of a header, in lower case; an empty string if there is none."""
    for key, values in tree.items() if type(tree) is dict else ():
        if key.lower() == name:
            value = values[0] if type(values) is list and values else values
            return value.strip().lower() if isinstance(value, str) else ""
    return ""

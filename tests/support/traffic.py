"""Recorded traffic, read without any code of the project.

``tests/recorded`` has the traffic that this project has recorded. Traffic of real providers, recorded by vcrpy, is used
too if its folder exists.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("AQUILA_CORPUS") or ROOT.parent / "shared" / "corpus") / "vcrpy"
RECORDED = Path(__file__).parents[1] / "recorded"
needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the recorded traffic (AQUILA_CORPUS) is not here")


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    method: str
    path: str
    request: Any
    status: int
    content_type: str
    body: bytes

    @property
    def endpoint(self) -> str | None:
        """``"chat"``, ``"responses"``, or None for other requests."""
        if self.method != "POST":
            return None
        return {"completions": "chat", "responses": "responses"}.get(self.path.rpartition("/")[2])

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON values of a stream, or the single value of a plain response."""
        if "event-stream" not in self.content_type:
            return [json.loads(self.body)]
        lines = (
            line.removeprefix("data:").strip() for line in self.body.decode().splitlines() if line.startswith("data:")
        )
        return [json.loads(line) for line in lines if line != "[DONE]"]


@functools.cache
def exchanges(name: str) -> list[Exchange]:
    """Return the exchanges of the cassette ``name``: ``suite/test``, without the suffix."""
    with path_of(name).open(encoding="utf-8") as file:
        loaded = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [_exchange(each["request"], each["response"]) for each in loaded["interactions"]]


def names() -> list[str]:
    """Return the names of all vcrpy cassettes. The cassettes of this project come first."""
    folders = (RECORDED / "vcrpy", CORPUS)
    return [
        str(path.relative_to(folder).with_suffix("")) for folder in folders for path in sorted(folder.glob("*/*.yaml"))
    ]


def path_of(name: str) -> Path:
    """Return the file of the vcrpy cassette ``name``: ``suite/test``, without the suffix."""
    return (RECORDED / "vcrpy" if name.startswith("own/") else CORPUS) / f"{name}.yaml"


def recorded_files() -> list[Path]:
    """Return every recorded file of vcrpy and of Aquila."""
    return [*map(path_of, names()), *sorted((RECORDED / "local").glob("*.yaml"))]


def _exchange(request: dict[str, Any], response: dict[str, Any]) -> Exchange:
    headers = {name.lower(): values for name, values in response["headers"].items()}
    content_type = (headers.get("content-type") or [""])[0]
    return Exchange(
        method=request["method"],
        path=urlsplit(request["uri"]).path,
        request=request.get("parsed_body"),
        status=response["status"]["code"],
        content_type=content_type,
        body=_bytes(response),
    )


def _bytes(message: dict[str, Any]) -> bytes:
    if "parsed_body" in message:
        return json.dumps(message["parsed_body"]).encode()
    text = (message.get("body") or {}).get("string") or ""
    return text if isinstance(text, bytes) else text.encode()

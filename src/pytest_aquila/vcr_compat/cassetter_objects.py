"""A cassette with the attributes that test suites of cassetter use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aquila.vcr import Cassette

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Body:
    """A body: ``json`` with its value, ``text``, ``binary`` with its bytes, or ``none``."""

    body_type: str
    content: Any = None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A recorded request."""

    method: str
    uri: str
    headers: Mapping[str, list[str]]
    body: Body


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A recorded response."""

    status: int
    headers: Mapping[str, list[str]]
    body: Body


@dataclass(frozen=True, slots=True)
class HttpInteraction:
    """A recorded request with its response, and when it was recorded, if that is known."""

    request: HttpRequest
    response: HttpResponse
    recorded_at: str = ""


class CassetterCassette(Cassette):
    """A cassette in use, with the further attributes of cassetter's."""

    @property
    def interactions(self) -> list[HttpInteraction]:
        """The recordings of the file, then those made now."""
        return [
            HttpInteraction(
                HttpRequest(asked.method, asked.uri, headers := _listed(asked.headers), _body_of(asked.body, headers)),
                HttpResponse(
                    answer["status"]["code"],
                    dict(answer["headers"]),
                    _body_of(answer["body"]["string"], answer["headers"]),
                ),
            )
            for asked, answer in self.data
        ]

    @property
    def played_indices(self) -> Sequence[bool]:
        """Whether each recording was played, by position. One that was made now counts as played."""
        held = len(self) - self.used.record_count
        return [number >= held or self.play_counts[number] > 0 for number in range(len(self))]

    @property
    def can_record(self) -> bool:
        """Whether a request without a recording is recorded."""
        return not self.write_protected

    def __bool__(self) -> bool:
        return True


def _listed(headers: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [value] for name, value in headers.items()}


def _body_of(body: bytes | None, headers: Mapping[str, Sequence[str]]) -> Body:
    if not body:
        return Body("none")
    kind = next((values[0] for name, values in headers.items() if name.lower() == "content-type" and values), "")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Body("binary", body)
    if "json" in kind:
        try:
            return Body("json", json.loads(text))
        except ValueError:
            pass
    return Body("text", text)

"""A cassette with the attributes that test suites of cassetter use."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aquila.vcr import Cassette


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


class CassetterCassette:
    """A cassette in use, with cassetter's attribute names."""

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette
        self.used = cassette.used
        """The same cassette in the form of Aquila's own fixtures."""

    @property
    def path(self) -> str:
        """The file of the cassette."""
        return self._cassette.path

    @property
    def record_mode(self) -> Any:
        """The record mode that the test or the run chose."""
        return self._cassette.record_mode

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
            for asked, answer in self._cassette.data
        ]

    @property
    def requests(self) -> list[Any]:
        """The requests of the interactions, with the attributes of vcrpy's."""
        return self._cassette.requests

    @property
    def play_count(self) -> int:
        """How many requests were answered from recordings."""
        return self._cassette.play_count

    @property
    def play_counts(self) -> Counter[int]:
        """How often each recording was played, by its position."""
        return self._cassette.play_counts

    @property
    def played_indices(self) -> Sequence[bool]:
        """Whether each recording was played, by position. One that was made now counts as played."""
        held = len(self._cassette) - self.used.record_count
        return [number >= held or self.play_counts[number] > 0 for number in range(len(self._cassette))]

    @property
    def all_played(self) -> bool:
        """Whether every recording of the file was played."""
        return self._cassette.all_played

    @property
    def can_record(self) -> bool:
        """Whether a request without a recording is recorded."""
        return not self._cassette.write_protected

    def __len__(self) -> int:
        return len(self._cassette)

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

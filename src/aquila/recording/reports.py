"""What a scope did, in numbers and names, for summaries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.model import Interaction
from aquila.recording.drift_watch import DriftedRequest

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

_TOTAL = re.compile(rb'"total_tokens"\s*:\s*(\d{1,12})')
_PARTS = re.compile(rb'"(?:input|output)_tokens"\s*:\s*(\d{1,12})')


@dataclass(frozen=True, slots=True)
class StoredRecordings:
    """What became of a scope's recordings: how many were recorded, which files were written."""

    recorded: int = 0
    written: tuple[Path, ...] = ()
    pending: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeReport:
    """What one scope did, and the blocks within it.

    ``seconds`` and ``tokens`` are what the replayed answers took when they were recorded. ``unplayed`` counts, per
    cassette that the scope owns, recordings it did not play. ``oldest`` is the earliest recording date that was played.
    """

    name: str
    replayed: int = 0
    recorded: int = 0
    missed: int = 0
    seconds: float = 0.0
    tokens: int = 0
    unplayed: tuple[tuple[str, int], ...] = ()
    pending: tuple[str, ...] = ()
    cassettes: tuple[str, ...] = ()
    oldest: str = ""
    misses: tuple[str, ...] = field(default=(), repr=False)
    drifted: tuple[DriftedRequest, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, scope: Scope, stored: StoredRecordings | None) -> ScopeReport:
        """Sum up a scope that is closed."""
        played = [interaction for session in scope.sessions.values() for interaction in session.played_interactions]
        inner = scope.block_reports
        owned = [s for s in scope.sessions.values() if scope.owns_cassette and s.name == scope.default_cassette]
        return cls(
            name=scope.name,
            replayed=len(played) + sum(block.replayed for block in inner),
            recorded=(stored.recorded if stored else 0) + sum(block.recorded for block in inner),
            missed=len(scope.misses),
            seconds=sum(i.response.ended for i in played) / 1000 + sum(block.seconds for block in inner),
            tokens=sum(map(count_tokens, played)) + sum(block.tokens for block in inner),
            unplayed=tuple(
                (s.name, len(s.unplayed_recordings)) for s in owned if s.mode == "replay" and s.unplayed_recordings
            ),
            pending=(
                *(map(str, stored.pending) if stored else ()),
                *(path for block in inner for path in block.pending),
            ),
            cassettes=tuple(
                sorted({name for name, _ in scope.sessions} | {name for block in inner for name in block.cassettes})
            ),
            oldest=min(
                (*(i.recorded for i in played if i.recorded), *(block.oldest for block in inner if block.oldest)),
                default="",
            ),
            misses=tuple(map(str, scope.misses)),
            drifted=tuple(scope.drift_watch.drifted_requests) if scope.drift_watch is not None else (),
        )


def count_tokens(interaction: Interaction) -> int:
    """The tokens that an answer reports as used, or 0. Only the end of the body is read: usage comes last."""
    tail = b"".join(chunk.data for chunk in interaction.response.chunks[-8:])[-20_000:]
    total = _last_number(_TOTAL.findall(tail))
    return total or sum(map(int, _PARTS.findall(tail)[-2:]))


def _last_number(found: Sequence[bytes]) -> int:
    return int(found[-1]) if found else 0

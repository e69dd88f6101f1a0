"""What a test or a ``with`` block holds of the cassette that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import CassetteMiss, CassetteRequired
from aquila.recording.scope import Scope
from aquila.recording.session import Session


class UsedCassette:
    """A cassette in use: what was played and recorded so far. It answers the requests of any client in its scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @property
    def name(self) -> str:
        """The name of the cassette."""
        name = self._scope.default_cassette
        if name is None:
            raise CassetteRequired(f"{self._scope.describe()} has no cassette of its own")
        return name

    @property
    def path(self) -> Path:
        """The file of the cassette; it need not exist."""
        return cassette_path(self._scope.settings.cassette_root(), self.name)

    @property
    def play_count(self) -> int:
        """How many requests were answered from recordings."""
        return sum(session.play_count for session in self._sessions())

    @property
    def record_count(self) -> int:
        """How many answers were recorded."""
        return sum(len(session.new_recordings) for session in self._sessions())

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """The requests that were answered, as they are stored: first the replayed ones, then the recorded ones."""
        played = [interaction.request for session in self._sessions() for interaction in session.played_interactions]
        return [*played, *(row.interaction.request for session in self._sessions() for row in session.new_recordings)]

    @property
    def unplayed(self) -> Sequence[Interaction]:
        """The recordings that were not played. Opens the cassette if nothing has used it yet."""
        return [interaction for session in self._sessions() for _, interaction in session.unplayed_recordings]

    @property
    def all_played(self) -> bool:
        """Whether every recording was played; always true without a cassette (live)."""
        return not self.unplayed

    @property
    def misses(self) -> Sequence[CassetteMiss]:
        """The misses of the scope, oldest first. A test that has any fails, even if its code swallowed them."""
        return tuple(self._scope.misses)

    def forget_misses(self) -> None:
        """Say that the misses so far were expected: they no longer make the test fail."""
        forgotten = self.misses
        for scope in self._scope.enclosing():
            scope.misses.forget(forgotten)

    def _sessions(self) -> Sequence[Session]:
        settings = self._scope.settings
        if not self._scope.closed and settings.transport in ("replay", "record"):
            mode = settings.record if settings.transport == "record" else "replay"
            self._scope.sessions.session_for(self.name, mode)
        return self._scope.sessions.opened_for(self.name)

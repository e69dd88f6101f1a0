"""The cassette of a test or a ``with`` block, as the fixture or ``use_cassette`` gives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.names import cassette_path
from aquila.errors import CassetteMiss, CassetteRequired
from aquila.lazy_imports import lazy_modules
from aquila.recording.scope import Scope
from aquila.recording.sessions.session import Session

if TYPE_CHECKING:
    from aquila.cassettes.storage import large_bodies
    from aquila.wire_forms import table as wire_forms
    from aquila.wire_forms.sent import SentRequest
else:
    lazy_modules(globals(), "aquila.cassettes.storage: large_bodies", "aquila.wire_forms: table as wire_forms")


class UsedCassette:
    """A cassette in use: what was played and recorded so far. It answers the requests of any client in its scope.

    What it tells of recordings and requests opens the cassette, if nothing has used it yet, and raises what that
    raises. Without a cassette it raises ``CassetteRequired``.

    Examples:
        >>> with aquila.use_cassette("eagles", transport="record") as cassette:
        ...     answer = aquila.ask("How do eagles fly so far?").text
        >>> cassette.name, cassette.record_count, cassette.path.name
        ('eagles', 1, 'eagles.yaml')
        >>> with aquila.use_cassette("eagles", transport="replay") as cassette:
        ...     assert aquila.ask("How do eagles fly so far?").text == answer
        >>> cassette.play_count, cassette.all_played, cassette.requests[0].messages[-1].text
        (1, True, 'How do eagles fly so far?')
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __repr__(self) -> str:
        """Return a short text for the report of a failed test. Opens nothing."""
        name = self._scope.default_cassette
        return "<no cassette of its own>" if name is None else f"<cassette {name}>"

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
        return sum(session.plays.count for session in self._sessions())

    @property
    def record_count(self) -> int:
        """How many answers were recorded."""
        return sum(len(session.new_recordings) for session in self._sessions())

    @property
    def requests(self) -> Sequence[SentRequest]:
        """The requests that were answered, as they are stored: first the replayed ones, then the recorded ones.

        What each asks is in one form for all providers: ``model``, ``messages``, ``tools``. ``raw`` is its own JSON.
        """
        played = [interaction.request for session in self._sessions() for interaction in session.plays.in_order()]
        recorded = [interaction.request for interaction in recorded_in(self._sessions(), self.path)]
        return [wire_forms.read_sent(request) for request in (*played, *recorded)]

    @property
    def unplayed(self) -> Sequence[Interaction]:
        """The recordings that were not played."""
        return [interaction for session in self._sessions() for _, interaction in session.plays.unplayed]

    @property
    def all_played(self) -> bool:
        """Whether every recording was played; always true where the cassette is not used (live)."""
        return not self.unplayed

    @property
    def misses(self) -> Sequence[CassetteMiss]:
        """The misses of the scope, oldest first. A test that has any fails, even if its code swallowed them."""
        return tuple(self._scope.misses.hear())

    def forget_misses(self) -> None:
        """Say that the misses so far were expected: they no longer make the test fail."""
        forgotten = self.misses
        # `ScopeMisses.remember` has told the scopes around, too.
        for scope in (self._scope, *self._scope.around):
            scope.misses.hear().forget(forgotten)

    def _sessions(self) -> Sequence[Session]:
        return open_sessions(self._scope, self.name)


def open_sessions(scope: Scope, cassette: str) -> Sequence[Session]:
    """Return the sessions of a cassette in a scope. One is opened if nothing has used it yet."""
    settings = scope.settings
    if not scope.closed and settings.transport in ("replay", "record"):
        mode = settings.record if settings.transport == "record" else "replay"
        scope.sessions.session_for(cassette, mode)
    return scope.sessions.opened_for(cassette)


def recorded_in(sessions: Iterable[Session], path: Path) -> list[Interaction]:
    """Return the new recordings of sessions of the cassette ``path``."""
    rows = [row for session in sessions for row in session.new_recordings]
    return [large_bodies.with_stored_bodies(row.interaction, path) for row in rows]

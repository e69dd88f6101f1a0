"""How many of the recorded messages of each conversation a program has sent."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from aquila.cassettes.model import Interaction
from aquila.fork_locks import renewed_in_child


class ConversationPlay:
    """One play of a conversation: of ``count`` recorded messages of the client, ``sent`` were sent."""

    __slots__ = ("count", "sent")

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0

    @property
    def rest(self) -> int:
        """How many were not."""
        return self.count - self.sent


class PlayedConversations:
    """The plays of one session, and which connection has which recording.

    The session owns this object, and nothing is removed before it ends. Recordings are found by identity, which is safe
    because the session keeps its cassette alive. Whoever plays a conversation increases ``ConversationPlay.sent``.
    """

    def __init__(self) -> None:
        self._plays: dict[int, list[ConversationPlay]] = {}
        self._holders: dict[int, object] = {}
        """The connections that have a recording, by the identity of the recording. Guarded by ``lock``."""
        self.lock = renewed_in_child(threading.RLock())
        """Held by each connection that may still get another recording, whenever something is said there."""

    def begin_play(self, interaction: Interaction, count: int) -> ConversationPlay:
        """Begin the play of a recording of the session, in which the client had sent ``count`` messages."""
        play = ConversationPlay(count)
        self._plays.setdefault(id(interaction), []).append(play)
        return play

    @property
    def have_begun(self) -> bool:
        """Whether any recording of a conversation was played."""
        return bool(self._plays)

    def holder_of(self, interaction: Interaction) -> Any:
        """Return the connection that has a recording, None if none has it."""
        return self._holders.get(id(interaction))

    def hand_over(self, interaction: Interaction, holder: object, *, instead_of: Interaction | None = None) -> None:
        """Give a recording to a connection, in place of another one that it had."""
        if instead_of is not None and self.holder_of(instead_of) is holder:
            del self._holders[id(instead_of)]
        self._holders[id(interaction)] = holder

    def is_unplayed(self, interaction: Interaction, count: int) -> bool:
        """Whether a recording was not played, or not to its end. ``count`` is how often it was given to somebody."""
        if not (count or id(interaction) in self._plays):
            return True
        return self.find_rest(interaction) is not None

    def find_rest(self, interaction: Interaction) -> ConversationPlay | None:
        """Return the play that went furthest with a recording; None if one was whole, or if there was none."""
        furthest = min(self._plays.get(id(interaction), ()), key=lambda play: play.rest, default=None)
        return furthest if furthest is not None and furthest.rest else None


def describe_unplayed(
    unplayed: Iterable[tuple[int, Interaction]], plays: PlayedConversations
) -> tuple[list[int], list[str]]:
    """Return the numbers of the recordings that were not played, and what of others was not, in words."""
    whole: list[int] = []
    parts: list[str] = []
    for number, interaction in unplayed:
        play = plays.find_rest(interaction)
        if play is None or not play.sent:
            whole.append(number)
        else:
            parts.append(f"{play.rest} of {play.count} messages of recording {number}")
    return whole, parts

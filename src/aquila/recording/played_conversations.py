"""How much of the conversations that it was given a program has said: less than was recorded is a part of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aquila.cassettes.model import Interaction


@dataclass(slots=True)
class ConversationPlay:
    """One play of a conversation: of ``count`` recorded messages of the client, ``sent`` were sent."""

    count: int
    sent: int = 0

    @property
    def rest(self) -> int:
        """How many were not."""
        return self.count - self.sent


class PlayedConversations:
    """The plays of one session. Whoever plays a conversation counts what is sent."""

    def __init__(self) -> None:
        self._plays: dict[int, list[ConversationPlay]] = {}

    def begin_play(self, interaction: Interaction, count: int) -> ConversationPlay:
        """Begin the play of a recording of the session, in which the client had sent ``count`` messages."""
        play = ConversationPlay(count)
        self._plays.setdefault(id(interaction), []).append(play)
        return play

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
        if play is None:
            whole.append(number)
        else:
            parts.append(f"{play.rest} of {play.count} messages of recording {number}")
    return whole, parts

"""How much of the conversations that it was given a program has said: less than was recorded is a part of one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
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
    """The plays of one session. Whoever plays a conversation counts what is sent. Thread-safe."""

    def __init__(self) -> None:
        self._plays: dict[int, list[ConversationPlay]] = {}
        self._claimed: set[int] = set()
        # Held while somebody looks for a recording that nobody has claimed.
        self._lock = threading.Lock()

    def begin_play(self, interaction: Interaction, count: int) -> ConversationPlay:
        """Begin the play of a recording of the session, in which the client had sent ``count`` messages."""
        play = ConversationPlay(count)
        self._plays.setdefault(id(interaction), []).append(play)
        return play

    def claim(self, candidates: Iterable[Interaction], fits: Callable[[Interaction], bool]) -> Interaction | None:
        """Claim the first of some recordings that nobody has claimed, and that ``fits``. None if there is none."""
        with self._lock:
            found = self._find_unclaimed(candidates, fits)
            if found is not None:
                self._claimed.add(id(found))
            return found

    def find_unclaimed(
        self, candidates: Iterable[Interaction], fits: Callable[[Interaction], bool]
    ) -> Interaction | None:
        """Return what ``claim`` would claim."""
        with self._lock:
            return self._find_unclaimed(candidates, fits)

    def _find_unclaimed(
        self, candidates: Iterable[Interaction], fits: Callable[[Interaction], bool]
    ) -> Interaction | None:
        return next((each for each in candidates if id(each) not in self._claimed and fits(each)), None)

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

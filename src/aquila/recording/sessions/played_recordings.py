"""What of a cassette was played in a session: its recordings, and the messages of each conversation."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from aquila.cassettes.model import Interaction
from aquila.fork_locks import renewed_in_child

_ELSEWHERE = -1  # stands for the order of a play in another process, which is not known


class ConversationPlay:
    """One play of a conversation: of ``count`` recorded messages of the client, ``sent`` were sent."""

    __slots__ = ("count", "sent")

    def __init__(self, count: int) -> None:
        self.count = count
        self.sent = 0

    @property
    def rest(self) -> int:
        """How many messages of the client were not sent."""
        return self.count - self.sent


class PlayedConversations:
    """The plays of the conversations of one session, and which connection plays which recording.

    The session owns this object, and nothing is removed before it ends. Recordings are found by identity, which is safe
    because the session keeps its cassette alive. Whoever plays a conversation increases ``ConversationPlay.sent``.
    """

    def __init__(self) -> None:
        self._plays: dict[int, list[ConversationPlay]] = {}
        self._holders: dict[int, object] = {}
        """The connections that play a recording, by the identity of the recording. Guarded by ``lock``."""
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
        """Return the connection that plays a recording, or None."""
        return self._holders.get(id(interaction))

    def hand_over(self, interaction: Interaction, holder: object, *, instead_of: Interaction | None = None) -> None:
        """Give a recording to a connection, ``instead_of`` another one that it played until now."""
        if instead_of is not None and self.holder_of(instead_of) is holder:
            del self._holders[id(instead_of)]
        self._holders[id(interaction)] = holder

    def is_unplayed(self, interaction: Interaction, count: int) -> bool:
        """Whether a recording was not played, or not to its end. ``count`` says how often it answered a handshake."""
        if not (count or id(interaction) in self._plays):
            return True
        return self.find_rest(interaction) is not None

    def find_rest(self, interaction: Interaction) -> ConversationPlay | None:
        """Return the play that went furthest with a recording; None if one was whole, or if there was none."""
        furthest = min(self._plays.get(id(interaction), ()), key=lambda play: play.rest, default=None)
        return furthest if furthest is not None and furthest.rest else None


class PlayedRecordings:
    """How often each recording of a session was played, and in which order. Recordings have numbers, from 0.

    The session owns this object. ``lock`` is its lock; it adds plays to ``counts`` and ``order`` while it holds it.
    """

    def __init__(self, interactions: Sequence[Interaction], lock: AbstractContextManager[object]) -> None:
        self._interactions = interactions
        self._lock = lock
        self._conversations: PlayedConversations | None = None
        self.counts: list[int] = [0] * len(interactions)
        self.order: list[tuple[int, int]] = []
        """For each play the order of its request in this process, and the number of the recording."""
        self.spoilt: set[int] = set()
        """Recordings that faults replaced: neither played nor unplayed."""

    @property
    def conversations(self) -> PlayedConversations:
        """The plays of conversations over WebSockets. Made when something asks for them: most sessions have none."""
        if self._conversations is None:
            with self._lock:  # of two threads that ask first, both get the one that was stored first
                self._conversations = self._conversations or PlayedConversations()
        return self._conversations

    def add_plays_elsewhere(self, numbers: Iterable[int]) -> None:
        """Mark recordings as played that another process has played."""
        with self._lock:
            for number in numbers:
                if not self.counts[number]:
                    self.counts[number] += 1
                    self.order.append((_ELSEWHERE, number))

    @property
    def count(self) -> int:
        """How many requests were answered from the cassette."""
        with self._lock:
            return len(self.order)

    def was_played(self, number: int) -> bool:
        """Whether the recording with a number was played."""
        return bool(self.counts[number])

    def in_order(self, *, here: bool = False) -> Sequence[Interaction]:
        """Return the recordings that were played, one entry per play, in order; with ``here`` only by this process."""
        interactions = self._interactions
        with self._lock:
            return [interactions[number] for place, number in self.order if not here or place != _ELSEWHERE]

    @property
    def unplayed(self) -> Sequence[tuple[int, Interaction]]:
        """The recordings that were never played, or not to their end, with their numbers in the cassette (from 1)."""
        with self._lock:
            counts = tuple(self.counts)
        if 0 not in counts and (self._conversations is None or not self._conversations.have_begun):
            return ()
        rows = enumerate(zip(counts, self._interactions, strict=True))
        unplayed = ((n, each) for n, (count, each) in rows if self.conversations.is_unplayed(each, count))
        return tuple((n + 1, each) for n, each in unplayed if n not in self.spoilt)


MESSAGES_OF = "messages of recording"
"""How ``describe_unplayed`` names the rest of a conversation: only ``--aquila-record=all`` records that anew."""


def describe_unplayed(
    unplayed: Iterable[tuple[int, Interaction]], plays: PlayedConversations
) -> tuple[list[int], list[str]]:
    """Return the numbers of recordings that were not played at all, and in words the rests of those played in part."""
    whole: list[int] = []
    parts: list[str] = []
    for number, interaction in unplayed:
        play = plays.find_rest(interaction)
        if play is None or not play.sent:
            whole.append(number)
        else:
            parts.append(f"{play.rest} of {play.count} {MESSAGES_OF} {number}")
    return whole, parts

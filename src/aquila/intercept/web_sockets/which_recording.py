"""Chooses the recording that answers a connection, where several recordings begin in the same way.

A program may open its connections in any order. A connection first gets the next recording of its handshake. If it then
sends a message that only another recording has, it switches to that recording. If another connection holds that
recording, but fits a different one as well, the other connection switches too.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aquila.cassettes.model import Interaction
from aquila.cassettes.web_socket_frames.alike import same_but_for_ids
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.cassettes.web_socket_frames.replay import ConversationReplay

_MOST_SENT = 64
"""After so many messages of the client a connection keeps its recording."""

_LONGEST = 4096
"""After so many messages of both sides it keeps its recording too."""


class SaidMessage(NamedTuple):
    """A message that the client has sent, or, if not ``sent``, that was delivered to it."""

    data: bytes
    sent: bool
    is_text: bool = True


class Fitting(NamedTuple):
    """A recording that fits all messages so far, its replay, and the frames that it delivers next."""

    interaction: Interaction
    replay: ConversationReplay
    unsaid: list[Frame]


class History:
    """The messages of a connection so far. They are dropped once the connection keeps its recording."""

    def __init__(self, replay_of: Callable[[Interaction], ConversationReplay]) -> None:
        self._replay_of = replay_of
        # None once the connection keeps its recording. Until then `PlayedConversations.lock` of the session guards it.
        self._said: list[SaidMessage] | None = []

    @property
    def is_open(self) -> bool:
        """Whether the connection may still switch to another recording."""
        return self._said is not None

    @property
    def has_asked(self) -> bool:
        """Whether the client has sent a message."""
        return self._said is None or any(each.sent for each in self._said)

    def add(self, said: Iterable[SaidMessage]) -> None:
        """Add messages."""
        if self._said is not None:
            self._said += said
            if len(self._said) > _LONGEST or sum(each.sent for each in self._said) > _MOST_SENT:
                self.close()

    def close(self) -> None:
        """Keep the recording from now on."""
        self._said = None

    def fit(self, interaction: Interaction, *more: SaidMessage) -> Fitting | None:
        """Return ``interaction`` replayed up to now and through ``more``; None if it does not fit these messages.

        Messages of the provider may differ in their ids. The replay goes on with the ids that the client has received.
        """
        replay = self._replay_of(interaction)
        waiting: deque[Frame] = deque(replay.deliverable())
        for said in (*(self._said or ()), *more):
            if said.sent:
                if replay.take_sent(said.data, said.is_text) is not None:
                    return None
            elif not waiting:
                return None
            else:
                ids = same_but_for_ids(waiting.popleft().data, said.data)
                if ids is None:
                    return None
                replay.rename(ids)
            waiting.extend(replay.deliverable())
        return Fitting(interaction, replay, list(map(replay.with_ids_of_now, waiting)))


class Holder:
    """A connection of a session, and the recording that it holds. ``move`` switches it to another recording."""

    def __init__(self, interaction: Interaction, history: History, move: Callable[[Fitting], None]) -> None:
        self.interaction = interaction
        self.history = history
        self.move = move


def find_place(
    asking: Holder, others: Sequence[Interaction], holder_of: Callable[[Interaction], Holder | None], said: SaidMessage
) -> tuple[Fitting, Callable[[], None]] | None:
    """Find another recording for a connection that sends ``said``, which its own does not have; None if there is none.

    The second value is a function that moves another connection off that recording, if one holds it.
    """
    taken: list[tuple[Fitting, Holder]] = []
    for other in others:
        fitting = asking.history.fit(other, said)
        if fitting is None:
            continue
        holder = holder_of(other)
        if holder is None:
            return fitting, lambda: None
        taken.append((fitting, holder))
    # Every fitting recording is taken. A holder may fit a free recording instead, or that of the asking connection.
    for fitting, holder in taken:
        if not holder.history.is_open:
            continue
        for other in (asking.interaction, *others):
            current = holder_of(other)
            if other is fitting.interaction or not (current is None or current is asking):
                continue
            place = holder.history.fit(other)
            if place is not None:
                return fitting, functools.partial(holder.move, place)
    return None

"""How far a replay has come in a recorded conversation, and which frames of the provider may be delivered.

A frame of the provider is delivered after all frames, of either side, that were recorded before it. If frames name a
stream (``stream_id`` at the top of their JSON), each stream is a lane. Frames of a lane wait only for frames of the
same lane and for frames that name no stream. Frames that name no stream wait for all.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from aquila.cassettes.web_socket_frames.frame import Frame, parse_object

_STREAM_ID = b'"stream_id"'


class Lane:
    """The frames of one stream, or all that name no stream, and how many of them each side has sent in this replay.

    ``Lanes`` owns its lanes; only ``Lanes.take`` and ``Lanes.deliver`` change them.
    """

    __slots__ = ("ahead", "delivered", "name", "received", "sent", "taken")

    def __init__(self, name: str | None) -> None:
        self.name = name
        # Places among all frames, in rising order. Arrays: a conversation may have a million frames.
        self.sent = array("Q")
        self.received = array("Q")
        self.taken = 0
        """How many frames the client has sent without a gap: the number, from 0, of the first that is missing."""
        self.ahead: set[int] = set()
        """The numbers, from 0, of the frames behind that one that the client has sent already."""
        self.delivered = 0
        """How many frames of the provider were delivered."""

    @property
    def is_taken(self) -> bool:
        """Whether the client has sent all."""
        return self.taken == len(self.sent)

    @property
    def next_sent(self) -> int | None:
        """The place of the next frame that the client is to send; None if it has sent all."""
        return None if self.is_taken else self.sent[self.taken]


class Senders(NamedTuple):
    """Who has sent each frame of a conversation: 1 is the client, 0 the provider.

    ``streams`` has the names of streams, by the places of the frames that name one.
    """

    by_client: bytearray
    streams: Mapping[int, str]


def read_senders(frames: Sequence[Frame]) -> Senders:
    """Read the frames of a conversation for ``Lanes``."""
    by_client = bytearray([frame.sent for frame in frames])
    names = ((place, read_stream_id(frame.data)) for place, frame in enumerate(frames) if _STREAM_ID in frame.data)
    return Senders(by_client, {place: name for place, name in names if name is not None})


class Lanes:
    """The lanes of a conversation. ``senders`` says who sent its frames, in the order in which they were recorded.

    Belongs to one ``ConversationReplay`` and is never reset: each replay has new lanes.
    """

    def __init__(self, senders: Senders) -> None:
        by_client, streams = senders
        self._end = len(by_client)
        self.without_name = Lane(None)
        """The frames that name no stream."""
        # A stream that only the provider names is no lane: nothing says which frames it waits for.
        self._by_name = {name: Lane(name) for place, name in streams.items() if by_client[place]}
        self._sent = array("Q", itertools.compress(range(self._end), by_client))
        if self._by_name:
            for place, is_sent in enumerate(by_client):
                lane = self._by_name.get(streams.get(place, ""), self.without_name)
                (lane.sent if is_sent else lane.received).append(place)
        else:
            self.without_name.sent.extend(self._sent)
            is_received = map(operator.not_, by_client)
            self.without_name.received.extend(itertools.compress(range(self._end), is_received))
        self._was_taken = bytearray(self._end)  # by place, whether the client has sent the frame
        self._first_untaken = 0  # index in `_sent` of the first frame that the client has not sent
        self.taken_count = 0
        """How many frames the client has sent."""
        self._unopened = dict(self._by_name)
        """Streams of which the client has sent nothing."""
        self._opened: dict[str, Lane] = {}
        """The lanes of the others, by the names that the streams have in this run."""
        self._unfinished = {lane for lane in (self.without_name, *self._by_name.values()) if lane.received}
        self._to_check = set(self._unfinished)
        """Lanes in which a frame may have become deliverable. ``take`` adds to them, ``deliver`` clears them."""

    def candidates(self, stream_id: str | None) -> Iterator[Lane]:
        """Yield the lanes to which a message that the client sends now may belong.

        ``stream_id`` is the stream that it names, or None. A stream with a new name may correspond to any recorded one
        that the client has not opened yet; one with the same name is tried first.
        """
        if stream_id is None or stream_id in self._opened:
            yield self.without_name if stream_id is None else self._opened[stream_id]
            return
        namesake = self._unopened.get(stream_id)
        if namesake is not None:
            yield namesake
        yield from (lane for lane in self._unopened.values() if lane is not namesake)

    def open(self, stream_id: str | None, lane: Lane) -> None:
        """Remember that a stream of this run corresponds to a lane. Nothing is remembered without a stream."""
        if stream_id is not None and lane.name is not None:
            self._opened[stream_id] = lane
            self._unopened.pop(lane.name, None)

    @property
    def has_streams(self) -> bool:
        """Whether the client had named streams."""
        return bool(self._by_name)

    @property
    def awaited(self) -> int | None:
        """The place of the first frame that the client has not sent; None if it has sent all."""
        return self._sent[self._first_untaken] if self._first_untaken < len(self._sent) else None

    @property
    def is_played_out(self) -> bool:
        """Whether all was sent and delivered."""
        return self.awaited is None and not self._unfinished

    @property
    def sent_count(self) -> int:
        """How many frames the client had sent."""
        return len(self._sent)

    def count_sent(self, place: int) -> int:
        """Return the number, from 1, that a frame has among those of the client."""
        return bisect.bisect_right(self._sent, place)

    def take(self, lane: Lane, number: int) -> None:
        """Note that the client has sent a frame: number ``number``, from 0, of its frames in a lane."""
        self._was_taken[lane.sent[number]] = True
        self.taken_count += 1
        if number == lane.taken and not lane.ahead:  # in order, as nearly always
            lane.taken += 1
        else:
            lane.ahead.add(number)
        while lane.taken in lane.ahead:
            lane.ahead.discard(lane.taken)
            lane.taken += 1
        while self._first_untaken < len(self._sent) and self._was_taken[self._sent[self._first_untaken]]:
            self._first_untaken += 1
        if lane.name is None:
            self._to_check |= self._unfinished
        else:
            self._to_check.update((lane, self.without_name))

    def deliver(self) -> list[int]:
        """Return the places of the frames that may be delivered now, in their order, each once."""
        if not self._to_check:  # asked again before the client has sent anything
            return []
        places: list[int] = []
        for lane in self._to_check:
            until = bisect.bisect_left(lane.received, self._gate_of(lane), lane.delivered)
            places += lane.received[lane.delivered : until]
            lane.delivered = until
            if until == len(lane.received):
                self._unfinished.discard(lane)
        self._to_check.clear()
        return sorted(places)

    def _gate_of(self, lane: Lane) -> int:
        """Return the place of the first frame of the client that a lane waits for. The frames behind it must wait."""
        if lane.name is None:
            return self._end if self.awaited is None else self.awaited
        return min(self._place_of_next(lane), self._place_of_next(self.without_name))

    def _place_of_next(self, lane: Lane) -> int:
        return self._end if lane.next_sent is None else lane.next_sent


def read_stream_id(data: bytes) -> str | None:
    """Return the ``stream_id`` at the top of a message that is JSON; None if it has none."""
    if _STREAM_ID not in data:  # most messages are not even parsed
        return None
    name = (parse_object(data) or {}).get("stream_id")
    return name if isinstance(name, str) and name else None

"""Replays a conversation: what the client sends must be what was recorded, and what the provider sent follows it.

No I/O happens here. Whoever holds the connection says what the client sends, delivers what may be delivered, and ends
the conversation as it had ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from aquila.cassettes.frames.frame import Close, Frame, read_frames
from aquila.cassettes.frames.lanes import Lane, Lanes, read_stream_id
from aquila.cassettes.frames.messages import Message, MessageReader
from aquila.cassettes.frames.misses import FrameMiss, explain_difference, explain_played_out
from aquila.cassettes.matching.difference import clip_around
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import End, RecordedChunk

__all__ = ["ConversationReplay", "Ending", "FrameMiss"]

_WIDTH = 60
"""Characters of the line that says what a replay waits for."""

Ending: TypeAlias = Close | Literal["broken", "left"]
"""How a conversation ends: closed by one side; broken off without a close; or the client had left it here."""


class ConversationReplay:
    """One replay of one conversation. Not thread-safe: its owner holds a lock.

    ``chunks`` and ``response_end`` are those of the recorded response, ``rules`` say what of a message is compared, and
    ``redact`` takes secrets out of one. ``name`` says in misses where the conversation is recorded. Raises
    ``NotAFrame`` for chunks that are no frames.
    """

    def __init__(
        self,
        chunks: Iterable[RecordedChunk],
        response_end: End,
        *,
        rules: MatchRules,
        redact: Callable[[bytes], bytes],
        name: str = "",
    ) -> None:
        self._frames: list[Frame] = []
        close: Close | None = None
        for each in read_frames(chunks):
            if isinstance(each, Close):
                close = each
            else:
                self._frames.append(each)
        self._ending = _ending_of(close, response_end)
        self._closed_by_client: Close | None = None
        self._lanes = Lanes(self._frames)
        self._reader = MessageReader(rules, redact)
        self._name = name

    def take_sent(self, data: bytes, is_text: bool) -> FrameMiss | None:
        """Take a message that the client sends. Return why it is not the one that was recorded, or None if it is."""
        now = self._reader.read(data, is_text)
        lane = self._lanes.find(read_stream_id(data))
        if lane is None:
            return self._explain_other_lane(now)
        if lane.is_taken:
            return self._explain_played_out(now)
        recorded = self._read_recorded(lane)
        if not self._reader.are_equal(recorded, now):
            return self._explain_difference(recorded, now, lane.sent[lane.taken])
        self._lanes.take_next(lane)
        return None

    def _read_recorded(self, lane: Lane) -> Message:
        frame = self._frames[lane.sent[lane.taken]]
        return self._reader.read(frame.data, frame.is_text)

    def take_close(self, code: int, reason: str) -> None:
        """Take that the client closes the conversation. Nothing is delivered any more; it may leave at any time."""
        self._closed_by_client = Close("client", code, reason)

    def deliverable(self) -> list[Frame]:
        """Return the frames of the provider that may be delivered now, in order. Each is returned once."""
        if self._closed_by_client is not None:
            return []
        return [self._frames[place] for place in self._lanes.deliver()]

    @property
    def ended(self) -> Ending | None:
        """How it ends, once all that was recorded before was sent and delivered; None before that.

        A close by the client is the client's to make: it is named here when it may be awaited, or has been made.
        """
        if self._closed_by_client is not None:
            return self._closed_by_client
        return self._ending if self._lanes.is_played_out else None

    @property
    def awaited(self) -> str | None:
        """Which message of the client the recording waits for, in one line; None if it has sent all."""
        place = self._lanes.awaited
        return None if place is None else f"> {_describe_message(self._frames[place])}"

    def _explain_other_lane(self, now: Message) -> FrameMiss:
        """Say how a message of a stream that was not recorded differs from what the recording waits for."""
        place = self._lanes.awaited
        if place is None:
            return self._explain_played_out(now)
        frame = self._frames[place]
        return self._explain_difference(self._reader.read(frame.data, frame.is_text), now, place)

    def _explain_difference(self, recorded: Message, now: Message, place: int) -> FrameMiss:
        number = self._lanes.count_sent(place)
        return explain_difference(
            recorded, now, self._reader, number=number, count=self._lanes.sent_count, name=self._name
        )

    def _explain_played_out(self, now: Message) -> FrameMiss:
        count = self._lanes.sent_count
        return explain_played_out(now, self._reader, number=count + 1, count=count, name=self._name)


def _ending_of(close: Close | None, end: End) -> Ending:
    if close is not None:
        return close
    if end == "complete":  # written by hand: nobody said how
        return Close("provider", 1000)
    return "broken" if end == "broken" else "left"


def _describe_message(frame: Frame) -> str:
    """Say what a message is in a few words: its ``type``, or the first key of its JSON, or how it begins."""
    try:
        value = json.loads(frame.data)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value:
        kind = value.get("type")
        return clip_around(kind if isinstance(kind, str) else ", ".join(value), 0, _WIDTH)
    if frame.is_text:
        return clip_around(frame.data[:1000].decode("utf-8", "replace"), 0, _WIDTH)
    return f"{len(frame.data):,} bytes"

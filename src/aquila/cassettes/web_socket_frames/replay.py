"""Replays a conversation: compares what the client sends with the recording, and says which frames it gets.

No I/O happens here. The owner of the connection passes in what the client sends, delivers the frames that may be
delivered, and ends the conversation as the recorded one ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

from aquila.cassettes.matching.difference import clip_around
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.model import End, RecordedChunk
from aquila.cassettes.web_socket_frames.client_ids import ClientIds
from aquila.cassettes.web_socket_frames.frame import Close, Frame, parse_object
from aquila.cassettes.web_socket_frames.lane_matching import LaneMatcher, Mismatch
from aquila.cassettes.web_socket_frames.lanes import Lane, Lanes, read_stream_id
from aquila.cassettes.web_socket_frames.messages import FrameMessage, MessageReader
from aquila.cassettes.web_socket_frames.misses import FrameMiss, explain_difference, explain_played_out, explain_sound
from aquila.cassettes.web_socket_frames.stored_frames import open_frames, senders_of
from aquila.plurals import count_of

__all__ = ["AT_ONCE", "ConversationReplay", "Ending", "FrameMiss"]

AT_ONCE = 1000
"""The most frames that ``deliverable`` returns at once, so that a long conversation is not loaded as a whole."""

_WIDTH = 60
"""The most characters of the line that says what a replay waits for."""

Ending: TypeAlias = Close | Literal["broken", "left"]
"""How a conversation ends: closed by one side; broken off without a close; or left open by the client."""


class ConversationReplay:
    """One replay of one conversation. Not thread-safe: its owner holds a lock.

    ``chunks`` and ``response_end`` are those of the recorded response. ``rules`` say what of a message is compared.
    ``redact`` removes secrets from its bytes. ``name`` is how misses refer to the recorded conversation. Raises
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
        self._frames, close = open_frames(chunks)
        self._ending = _ending_of(close, response_end)
        self._closed_by_client: Close | None = None
        self._lanes = Lanes(senders_of(self._frames))
        self._due: deque[int] = deque()
        """The places of frames that may be delivered and were not, because ``deliverable`` returns only so many."""
        self._reader = MessageReader(rules, redact)
        self._ids = ClientIds(self._frames)
        self._matchers: dict[Lane, LaneMatcher] = {}  # made when a lane gets its first message
        self._refused: tuple[str | None, Lane] | None = None
        """Stream and lane of the message that was refused last, for ``pass_over``. The next message clears it."""
        self._name = name

    def take_sent(self, data: bytes, is_text: bool) -> FrameMiss | None:
        """Take a message that the client sends. Return None if it is as recorded, else why it is not.

        ``data`` is the whole message, in UTF-8 if it ``is_text``.
        """
        if self._matcher_of(self._lanes.without_name).take_same(data, is_text):
            self._refused = None
            return None
        now = self._reader.read(data, is_text)
        stream_id = read_stream_id(data)
        misses: list[Callable[[], FrameMiss]] = []
        self._refused = None
        for lane in self._lanes.candidates(stream_id):
            mismatch = self._matcher_of(lane).take(now)
            if mismatch is None:
                self._lanes.open(stream_id, lane)
                return None
            misses.append(partial(self._explain, mismatch, lane, now))
            self._refused = self._refused or (stream_id, lane)
        if misses:
            return misses[0]()
        return self._explain_played_out(None, now) if self._lanes.has_streams else self._explain_unawaited(now)

    def comes_early(self, data: bytes, is_text: bool) -> bool:
        """Return whether a message that was refused is recorded soon after the one that is expected.

        A client that sends from several threads or tasks does not always send in the same order.
        """
        now = self._reader.read(data, is_text)
        lanes = self._lanes.candidates(read_stream_id(data))
        return self._reader.compares and any(self._matcher_of(lane).comes_early(now) for lane in lanes)

    def pass_over(self) -> None:
        """Go on as if the message that was refused last had been the recorded one. For a run that looks for drift."""
        if self._refused is not None:
            self._lanes.open(*self._refused)
            self._matcher_of(self._refused[1]).pass_over()
            self._refused = None

    def _matcher_of(self, lane: Lane) -> LaneMatcher:
        matcher = self._matchers.get(lane)
        if matcher is None:
            matcher = self._matchers[lane] = LaneMatcher(lane, self._lanes, self._frames, self._reader, self._ids)
        return matcher

    def take_close(self, code: int, reason: str) -> None:
        """Note that the client closes the conversation, which it may do at any time. Nothing is delivered after that.

        ``code`` and ``reason`` are those of its close frame.
        """
        self._closed_by_client = Close("client", code, reason)

    def deliverable(self) -> list[Frame]:
        """Return the frames of the provider that may be delivered now, in order. Each is returned once.

        At most ``AT_ONCE`` are returned; the next call returns those that follow.
        """
        if self._closed_by_client is not None:
            return []
        places: Sequence[int] = self._lanes.deliver()
        if self._due or len(places) > AT_ONCE:
            self._due.extend(places)
            places = [self._due.popleft() for _ in range(min(len(self._due), AT_ONCE))]
        if not places:  # asked again before the client has sent anything
            return []
        frames = [self._frames[place] for place in places]
        return list(map(self.with_ids_of_now, frames)) if self._ids.has_changes else frames

    def rename(self, ids: Mapping[str, str]) -> None:
        """Replace ids of the provider. ``ids`` maps recorded ids to those that the client was sent instead."""
        self._ids.rename(ids)

    def with_ids_of_now(self, frame: Frame) -> Frame:
        """Return a frame of the provider with the ids of this run in place of the recorded ones."""
        data = self._ids.put_back(frame.data) if frame.is_text or frame.data[:1] == b"{" else frame.data
        return frame if data is frame.data else frame._replace(data=data)

    @property
    def ended(self) -> Ending | None:
        """How the conversation ends, once everything recorded before its end was sent and delivered; None until then.

        A recorded close by the client is returned when only that is missing; the owner then waits for the client.
        """
        if self._closed_by_client is not None:
            return self._closed_by_client
        return self._ending if self._lanes.is_played_out and not self._due else None

    @property
    def sent_count(self) -> int:
        """How many messages the client had sent when it was recorded."""
        return self._lanes.sent_count

    @property
    def taken_count(self) -> int:
        """How many of them it has sent now."""
        return self._lanes.taken_count

    @property
    def awaited(self) -> str | None:
        """A line that describes the next message that the client should send; None if it has sent all."""
        place = self._lanes.awaited
        if place is None:
            return None
        message = f"> {_describe_message(self._frames[place])}"
        begun = (each for each in self._matchers.values() if each.awaited_bytes and each.lane.next_sent == place)
        sound = next((f", {count_of(each.awaited_bytes, 'more byte')} of sound" for each in begun), "")
        return message + sound

    @property
    def silence(self) -> tuple[int | None, int | None]:
        """When the client's next frame was recorded, and before it the time of the frame that precedes it.

        Both are in milliseconds since the request. The first time is None if no frame precedes, the second if the
        client has sent all its frames.
        """
        place = self._lanes.awaited
        count = len(self._frames) if place is None else place
        before = self._frames[count - 1].at if count else None
        return before, None if place is None else self._frames[place].at

    def _explain(self, mismatch: Mismatch, lane: Lane, now: FrameMessage) -> FrameMiss:
        place, count = mismatch.place, self._lanes.sent_count
        if place is None:
            return self._explain_played_out(lane, now) if lane.sent else self._explain_unawaited(now)
        number = self._lanes.count_sent(place)
        if mismatch.expected is None or mismatch.sound:
            return explain_sound(mismatch.sound, number=number, count=count, name=self._name)
        return explain_difference(mismatch.expected, now, self._reader, number=number, count=count, name=self._name)

    def _explain_unawaited(self, now: FrameMessage) -> FrameMiss:
        """Explain a message that names a stream although no recorded message does, or none although all do."""
        place = self._lanes.awaited
        if place is None:
            return self._explain_played_out(None, now)
        frame = self._frames[place]
        return self._explain(Mismatch(place, self._reader.read(frame.data, frame.is_text)), Lane(None), now)

    def _explain_played_out(self, lane: Lane | None, now: FrameMessage) -> FrameMiss:
        stream = lane.name if lane else None
        count = len(lane.sent) if lane and stream else self._lanes.sent_count
        return explain_played_out(now, self._reader, count=count, stream=stream, name=self._name)


def _ending_of(close: Close | None, end: End) -> Ending:
    if close is not None:
        return close
    if end == "complete":  # a cassette written by hand, without the event of a close
        return Close("provider", 1000)
    return "broken" if end == "broken" else "left"


def _describe_message(frame: Frame) -> str:
    """Describe a message in a few words: its ``type``, or the keys of its JSON, or how its text begins."""
    value = parse_object(frame.data)
    if value:
        kind = value.get("type")
        return clip_around(kind if isinstance(kind, str) else ", ".join(value), 0, _WIDTH)
    if frame.is_text:
        return clip_around(frame.data[:1000].decode("utf-8", "replace"), 0, _WIDTH)
    return f"{len(frame.data):,} bytes"

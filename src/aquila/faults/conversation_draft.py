"""A conversation whose messages are being changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from aquila.cassettes.model import SWITCHED, End, Interaction, RecordedChunk, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame, NotAFrame, store_close, store_frame
from aquila.cassettes.web_socket_frames.lanes import read_stream_id
from aquila.cassettes.web_socket_frames.stored_frames import open_frames
from aquila.faults.events import read_events
from aquila.faults.fault import ImpossibleFault
from aquila.plurals import count_of
from aquila.wire_forms.conversations.protocol_table import open_conversation
from aquila.wire_forms.form import SSE_TYPE

BROKEN_OFF = "RemoteProtocolError: the connection was lost"
"""The recorded error of a conversation whose connection broke; the text is that of httpx2."""


class ConversationDraft:
    """The messages of a conversation in which the provider sends at least one.

    It never changes its ``frames``: each method returns a new response.
    """

    def __init__(self, interaction: Interaction) -> None:
        """Read a conversation. Raises ``ImpossibleFault`` if the provider sends no message in it."""
        self._response = interaction.response
        try:
            frames, self._close = open_frames(self._response.chunks if self._response.status == SWITCHED else ())
            self.frames = list(frames)
        except NotAFrame as error:
            raise ImpossibleFault(f"the conversation cannot be read: {error}") from error
        self._places = [at for at, frame in enumerate(self.frames) if not frame.sent]
        if not self._places:
            raise ImpossibleFault("the provider sends no message")

    def place_after(self, after: int | None) -> int:
        """Return the index of the frame that follows ``after`` messages of the provider; None for half of them."""
        count = len(self._places)
        after = count // 2 if after is None else after
        if not 0 <= after < count:
            raise ImpossibleFault(f"the provider sends {count_of(count, 'message')}, so nothing is left after {after}")
        return self._places[after]

    def place_of(self, number: int | None, *, is_followed: bool = False) -> int:
        """Return the index of the provider's message ``number``, from 1; None for one in the middle.

        ``is_followed``: in the middle, prefer a message after which the provider directly sends another one.
        """
        places = self._places
        if number is not None:
            if not 1 <= number <= len(places):
                raise ImpossibleFault(f"there is no message {number}: the provider sends {len(places)}")
            return places[number - 1]
        if is_followed:
            places = [place for place in places if place + 1 in self._places] or places
        return places[(len(places) - 1) // 2]

    def count_before(self, passed: int) -> int:
        """Return how many messages of the provider arrive within so many milliseconds."""
        return sum(self.frames[place].at < passed for place in self._places)

    def end_after(
        self, after: int | None, close: Close | None = None, *, end: End = "complete", error: str = ""
    ) -> RecordedResponse:
        """Return the conversation with an end after so many messages of the provider; None for the middle."""
        kept = self.frames[: self.place_after(after)]
        at = kept[-1].at if kept else self._response.started
        response = self._write(kept, None if close is None else close._replace(at=at))
        return replace(response, end=end, error=error, ended=at)

    def finish(
        self, frames: Sequence[Frame], *, started: int | None = None, ended: int | None = None
    ) -> RecordedResponse:
        """Return the conversation with other frames and its original end. Times are in milliseconds."""
        response = self._response
        started = response.started if started is None else started
        ended = response.ended if ended is None else ended
        close = None if self._close is None else self._close._replace(at=ended)
        return replace(self._write(frames, close), started=started, ended=ended)

    def _write(self, frames: Sequence[Frame], close: Close | None) -> RecordedResponse:
        chunks = [store_frame(frame) for frame in frames]
        return replace(self._response, chunks=(*chunks, *([] if close is None else [store_close(close)])))


@dataclass(frozen=True, slots=True)
class DraftTurn:
    """The provider's frames between a message of the client and its next one: from ``begin`` up to ``end``.

    ``stream_id`` is the stream id of these messages, None where they have none.
    """

    begin: int
    end: int
    stream_id: str | None = None

    @classmethod
    def at(cls, frames: Sequence[Frame], begin: int) -> DraftTurn:
        """Return the turn that begins at frame ``begin``, or behind it if the client sent it."""
        begin += begin < len(frames) and frames[begin].sent
        end = next((at for at in range(begin, len(frames)) if frames[at].sent), len(frames))
        found = next(filter(None, (read_stream_id(frame.data) for frame in frames[begin:end])), None)
        return cls(begin, end, found)


def as_request(interaction: Interaction) -> Interaction:
    """Return the conversation as if it were the answer to a plain HTTP request of its provider."""
    form = open_conversation(interaction.request)
    request = replace(interaction.request, method="POST") if form is None else form.ask({})
    return replace(interaction, request=request)


def change_turn(interaction: Interaction, change: Callable[[Interaction], RecordedResponse]) -> RecordedResponse:
    """Return a conversation in which ``change`` was applied to an answer, as if that were a stream of events.

    The first answer that can be changed is. Raises ``ImpossibleFault`` if none can.
    """
    draft = ConversationDraft(interaction)
    form = open_conversation(interaction.request)
    if form is None or not form.answers_in_events:
        raise ImpossibleFault("this fault does not apply to this protocol")
    frames, problem = draft.frames, ImpossibleFault("the provider answers nothing")
    for turn in _find_turns(frames):
        said = frames[turn.begin : turn.end]
        chunks = tuple(RecordedChunk(b"data: %b\n\n" % frame.data, frame.at) for frame in said)
        answer = RecordedResponse(200, (SSE_TYPE,), chunks, ended=said[-1].at)
        try:
            changed = change(replace(as_request(interaction), response=answer))
        except ImpossibleFault as error:
            problem = error
            continue
        changed_frames = [_as_frame(event.data, event.at, turn.stream_id) for event in read_events(changed)]
        return draft.finish([*frames[: turn.begin], *changed_frames, *frames[turn.end :]])
    raise problem


def _find_turns(frames: Sequence[Frame]) -> Iterator[DraftTurn]:
    """Yield the turns that hold the whole answer to one question."""
    # Answers of several stream ids overlap. Such a turn is left out: changing one answer would change the others.
    begin = 0
    while begin < len(frames):
        turn = DraftTurn.at(frames, begin)
        said = frames[turn.begin : turn.end]
        if said and len({read_stream_id(frame.data) for frame in said}) == 1:
            yield turn
        begin = max(turn.end, begin + 1)


def _as_frame(event: bytes, at: int, stream_id: str | None) -> Frame:
    data = event.partition(b"data: ")[2].strip()
    if stream_id is not None and b'"stream_id"' not in data:
        data = b"%b,%b}" % (data[:-1], b'"stream_id":' + json.dumps(stream_id).encode())
    return Frame(data, sent=False, at=at)

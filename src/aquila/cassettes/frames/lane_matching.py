"""Compares what a client sends in one lane with what is recorded there: messages, and the bytes of sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aquila.cassettes.frames.client_ids import ClientIds, Expected
from aquila.cassettes.frames.frame import Frame
from aquila.cassettes.frames.lanes import Lane, Lanes
from aquila.cassettes.frames.messages import Message, MessageReader
from aquila.cassettes.frames.sounds import Piece, cut_piece, find_piece
from aquila.cassettes.matching.body_lines import count_of

_LONGEST_EMPTY = 1000
"""Bytes of a message without sound that would be a piece of it."""


class Mismatch(NamedTuple):
    """Why a message is not what a lane expects.

    ``place`` is that of the recorded one, and ``expected`` what it says with ids of now; both None if the lane has no
    further one. For sound, ``sound`` says what is wrong with it.
    """

    place: int | None
    expected: Message | None = None
    sound: str = ""


class LaneMatcher:
    """The messages of a client in one lane, and how far it has sent them."""

    def __init__(
        self, lane: Lane, lanes: Lanes, frames: Sequence[Frame], reader: MessageReader, ids: ClientIds
    ) -> None:
        self.lane = lane
        self._lanes = lanes
        self._frames = frames
        self._reader = reader
        self._ids = ids
        self._heard = 0
        """How many bytes were sent of the sound in the next message."""
        self._last_heard: Piece | None = None
        """The last piece that was sent now, if no other message followed it."""
        self._passed_over: Piece | None = None
        self._refused: tuple[Expected, Message, Message] | None = None
        """What was expected, as it is now and as it was recorded, and the message that came in its place."""
        self._messages: dict[int, Message] = {}
        self._pieces: dict[int, Piece | None] = {}
        """The recorded messages that were read, and the sound that they are, by number, from the next one on."""

    def take(self, now: Message) -> Mismatch | None:
        """Take a message that the client sends. Return why it is not the one that is expected, or None if it is."""
        self._refused = None
        if self._adds_nothing(now) or self._is_passed_over(now):
            return None
        number = self.lane.taken
        while number < len(self.lane.sent):
            piece = self._piece_at(number)
            if piece is None:
                return self._compare(number, now)
            piece_of_now = cut_piece(now, piece.place)
            if piece_of_now is not None:
                expected = self._ids.expect(piece.around, piece_of_now.around, self.lane.sent[number])
                if self._reader.are_equal(expected.message, piece_of_now.around):
                    return self._hear(number, piece, piece_of_now, expected)
            if self._heard < len(piece.data):
                return self._compare(number, now)
            number += 1  # a piece of no bytes, which need not be sent
        return Mismatch(None)

    def _adds_nothing(self, now: Message) -> bool:
        """Say whether a message is a piece of no bytes, of the sound that was sent last."""
        last = self._last_heard
        if last is None or len(now.data) > _LONGEST_EMPTY:
            return False
        piece = cut_piece(now, last.place)
        return piece is not None and not piece.data and self._reader.are_equal(last.around, piece.around)

    def _compare(self, number: int, now: Message) -> Mismatch | None:
        place, recorded = self.lane.sent[number], self._message_at(number)
        expected = self._ids.expect(recorded, now, place)
        if self._heard:
            return Mismatch(place, expected.message, f"it ends {count_of(self.awaited_bytes, 'byte')} earlier")
        if not self._reader.are_equal(expected.message, now):
            self._refused = expected, recorded, now
            return Mismatch(place, expected.message)
        self._ids.keep(expected, recorded, now)
        self._advance(number + 1)
        self._last_heard = self._passed_over = None
        return None

    def _hear(self, number: int, piece: Piece, now: Piece, expected: Expected) -> Mismatch | None:
        """Compare the bytes of a piece of now with what is left of the recorded sound, which begins in ``piece``."""
        first, data, at, heard = piece, memoryview(now.data), 0, self._heard
        while True:
            taken = min(len(piece.data) - heard, len(data) - at)
            if memoryview(piece.data)[heard : heard + taken] != data[at : at + taken]:
                return Mismatch(self.lane.sent[number], None, "its bytes are others")
            heard, at = heard + taken, at + taken
            if heard < len(piece.data):
                break
            number, heard = number + 1, 0
            following = self._continuation_of(piece, number)
            if following is None:
                if at < len(data):
                    return Mismatch(self.lane.sent[number - 1], None, "it goes on where the recorded one ends")
                break
            self._pieces[number] = piece = following
            if at == len(data) and piece.data:
                break
        self._ids.keep(expected, first.around, now.around)
        self._advance(number)
        self._heard = heard
        self._last_heard = now
        return None

    def pass_over(self) -> None:
        """Go on as if the message that was refused last had been the expected one. Of sound, as if all of it had."""
        if self.lane.is_taken:
            return
        if self._refused is not None:
            self._ids.keep(*self._refused)
        number = self.lane.taken
        piece = self._piece_at(number)
        if piece is None or self._refused is None or cut_piece(self._refused[2], piece.place) is not None:
            self._passed_over = piece
        while True:
            number += 1
            piece = piece and self._continuation_of(piece, number)
            if piece is None:
                break
        self._advance(number)

    def _is_passed_over(self, now: Message) -> bool:
        """Say whether a message is a piece of sound that was passed over."""
        passed = self._passed_over
        piece = cut_piece(now, passed.place) if passed is not None else None
        return bool(passed and piece and self._reader.are_equal(passed.around, piece.around))

    def _advance(self, number: int) -> None:
        """Go on to a message: those before it are sent."""
        while self.lane.taken < number:
            self._messages.pop(self.lane.taken, None)
            self._pieces.pop(self.lane.taken, None)
            self._lanes.take_next(self.lane)
        self._heard = 0

    def _message_at(self, number: int) -> Message:
        if number not in self._messages:
            frame = self._frames[self.lane.sent[number]]
            self._messages[number] = self._reader.read(frame.data, frame.is_text)
        return self._messages[number]

    def _piece_at(self, number: int) -> Piece | None:
        if number not in self._pieces:
            piece = find_piece(self._message_at(number)) if self._reader.compares else None
            if piece is not None and not piece.is_known and self._continuation_of(piece, number + 1) is None:
                piece = None
            self._pieces[number] = piece
        return self._pieces[number]

    def _continuation_of(self, piece: Piece, number: int) -> Piece | None:
        """Return the piece of sound that a message is, if it belongs to the same sound as the one before it."""
        if number == len(self.lane.sent):
            return None
        following = cut_piece(self._message_at(number), piece.place)
        return following if following and self._reader.are_equal(piece.around, following.around) else None

    @property
    def awaited_bytes(self) -> int:
        """How many bytes are missing of a sound that has begun."""
        if not self._heard:
            return 0
        number = self.lane.taken
        piece, left = self._piece_at(number), -self._heard
        while piece is not None:
            left += len(piece.data)
            number += 1
            piece = self._continuation_of(piece, number)
        return left

"""Compares what a client sends in one lane with what is recorded there: messages, and the bytes of sound."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from aquila.cassettes.web_socket_frames.client_ids import ClientIds, Expected, has_made_id
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.cassettes.web_socket_frames.lanes import Lane, Lanes
from aquila.cassettes.web_socket_frames.messages import FrameMessage, MessageReader
from aquila.cassettes.web_socket_frames.sounds import SoundPiece, cut_piece, find_piece, may_be_piece, may_come_among
from aquila.plurals import count_of

_SOON = 8
"""How many messages ahead ``comes_early`` looks: a program that sends from several threads may change their order."""


class Mismatch(NamedTuple):
    """Why a message is not what a lane expects.

    ``place`` is that of the recorded message, and ``expected`` is that message with the ids of this run. Both are None
    if the lane has no further message. For sound, ``sound`` says in words what differs.
    """

    place: int | None
    expected: FrameMessage | None = None
    sound: str = ""


class LaneMatcher:
    """The messages of a client in one lane, and how many of them it has sent.

    Messages must come in their recorded order, with one exception: among the pieces of a sound, a message that has
    nothing to do with the sound may come earlier or later. Belongs to one ``ConversationReplay``, whose owner holds a
    lock. The attributes below describe the sound that is being sent; they are reset when something ends that sound.
    """

    def __init__(
        self, lane: Lane, lanes: Lanes, frames: Sequence[Frame], reader: MessageReader, ids: ClientIds
    ) -> None:
        self.lane = lane
        self._lanes = lanes
        self._frames = frames
        self._reader = reader
        self._ids = ids
        self._sound: SoundPiece | None = None
        """The recorded piece that was sent last, in whole or in part. None when no sound is being sent."""
        self._sound_of_now = FrameMessage(b"", is_text=True)
        """The message around the last piece that the client sent, without its sound."""
        self._next_piece = 0
        """The number of the recorded message that has the next piece, or at which the search for it begins."""
        self._bytes_sent = 0
        """How many bytes of the next piece were sent."""
        self._next_other = 0
        """The number at which the search begins for a message that may come among the pieces of a sound."""
        self._passed_over: SoundPiece | None = None
        """A recorded sound that ``pass_over`` has skipped. Its pieces are ignored until another message is taken."""
        self._refused: tuple[Expected, FrameMessage, FrameMessage] | None = None
        """The arguments of ``ClientIds.keep`` for the message that was refused last, for ``pass_over``."""
        self._messages: dict[int, FrameMessage] = {}
        self._pieces: dict[int, SoundPiece | None] = {}
        """Recorded messages that were read, and the pieces of sound in them, by number. ``_take`` removes both."""

    def take(self, now: FrameMessage) -> Mismatch | None:
        """Take a message that the client sends. Return None if it was expected, else why it was not."""
        self._refused = None
        if self._is_passed_over(now):
            return None
        if self._sound is not None:
            piece = cut_piece(now, self._sound.place)
            if piece is not None and self._reader.are_equal(self._sound_of_now, piece.around):
                following = self._follow(self._sound, self._next_piece)
                if following is not None:
                    return self._take_sound(*following, piece, Expected(following[1].around, {}))
                if not piece.data:
                    return None
            other = self._find_other(self._sound)
            if other is not None and self._compare(other, now) is None:
                return None
        return self._take_in_order(now)

    def take_same(self, data: bytes, is_text: bool) -> bool:
        """Take a message that equals the recorded one byte by byte, without parsing and redacting it. The fast path.

        Return False, and change nothing, if ``take`` has to decide: if the bytes differ, if the message may name an id
        that the client made, if it may be sound, or if a sound is being sent.
        """
        if self.lane.is_taken or self._sound is not None or self._passed_over is not None or self._bytes_sent:
            return False
        frame = self._frames[self.lane.sent[self.lane.taken]]
        if frame.data != data or frame.is_text != is_text or has_made_id(data) or may_be_piece(data, is_text):
            return False
        self._refused = None
        self._take(self.lane.taken)
        return True

    def comes_early(self, now: FrameMessage) -> bool:
        """Return whether a message that was refused is one of those that are recorded soon after the expected one.

        Returns False for a piece of a sound that is expected: that the bytes differ is no question of order.
        """
        expected = self._sound or (None if self.lane.is_taken else self._piece_at(self.lane.taken))
        if expected is not None:
            piece = cut_piece(now, expected.place)
            if piece is not None and self._reader.are_equal(expected.around, piece.around):
                return False
        behind = (each for each in range(self.lane.taken + 1, len(self.lane.sent)) if each not in self.lane.ahead)
        for number in itertools.islice(behind, _SOON):
            recorded, said, piece = self._message_at(number), now, self._piece_at(number)
            piece_of_now = cut_piece(now, piece.place) if piece is not None else None
            if piece is not None and piece_of_now is not None:
                recorded, said = piece.around, piece_of_now.around
            if self._reader.are_equal(self._ids.expect(recorded, said, self.lane.sent[number]).message, said):
                return True
        return False

    def _take_in_order(self, now: FrameMessage) -> Mismatch | None:
        first = number = self.lane.taken
        mismatch: Mismatch | None = Mismatch(None)
        while number < len(self.lane.sent):
            piece = self._piece_at(number)
            piece_of_now = cut_piece(now, piece.place) if piece is not None else None
            if piece is not None and piece_of_now is not None:
                expected = self._ids.expect(piece.around, piece_of_now.around, self.lane.sent[number])
                if self._reader.are_equal(expected.message, piece_of_now.around):
                    mismatch = self._take_sound(number, piece, piece_of_now, expected)
                    break
            if piece is None or piece.data:
                mismatch = self._compare(number, now)
                break
            number += 1  # an empty piece of sound, which the client need not send
        if mismatch is None:
            for skipped in range(first, number):
                self._take(skipped)
        return mismatch

    def _compare(self, number: int, now: FrameMessage) -> Mismatch | None:
        place, recorded = self.lane.sent[number], self._message_at(number)
        expected = self._ids.expect(recorded, now, place)
        if self._bytes_sent and number == self._next_piece:
            return Mismatch(place, expected.message, f"it ends {count_of(self.awaited_bytes, 'byte')} earlier")
        if not self._reader.are_equal(expected.message, now):
            self._refused = expected, recorded, now
            return Mismatch(place, expected.message)
        self._ids.keep(expected, recorded, now)
        self._take(number)
        self._passed_over = None
        if self._sound is not None and not may_come_among(recorded, self._sound):
            self._sound = None
        return None

    def _take_sound(self, number: int, piece: SoundPiece, now: SoundPiece, expected: Expected) -> Mismatch | None:
        """Compare the bytes of a piece that the client sent with what is left of the recorded sound.

        ``number`` and ``piece`` are the recorded piece at which the comparison begins.
        """
        # Nothing of `self` changes before the whole piece has been compared, so a mismatch leaves the lane as it was.
        first = piece.around
        data, at = memoryview(now.data), 0
        sent = self._bytes_sent if number == self._next_piece else 0
        done: list[int] = []
        while True:
            taken = min(len(piece.data) - sent, len(data) - at)
            if memoryview(piece.data)[sent : sent + taken] != data[at : at + taken]:
                return Mismatch(self.lane.sent[number], None, "its bytes differ")
            sent, at = sent + taken, at + taken
            if sent < len(piece.data):
                break
            done.append(number)
            following = self._follow(piece, number + 1)
            number, sent = number + 1, 0
            if following is None:
                if at < len(data):
                    return Mismatch(self.lane.sent[done[-1]], None, "it goes on where the recorded one ends")
                break
            number, piece = following
            if at == len(data) and piece.data:
                break
        self._ids.keep(expected, first, now.around)
        self._sound, self._sound_of_now = piece, now.around
        self._next_piece, self._bytes_sent = number, sent
        for each in done:
            self._take(each)
        return None

    def pass_over(self) -> None:
        """Go on as if the message that was refused last had been the expected one, or, for sound, all of that sound."""
        if self.lane.is_taken:
            return
        if self._refused is not None:
            self._ids.keep(*self._refused)
        number = self.lane.taken
        piece = self._piece_at(number)
        if piece is None or self._refused is None or cut_piece(self._refused[2], piece.place) is not None:
            self._passed_over = piece
        following = (number, piece) if piece is not None else None
        self._take(number)
        while following is not None:
            number, piece = following
            following = self._follow(piece, number + 1)
            if number not in self.lane.ahead and number >= self.lane.taken:
                self._take(number)
        self._sound, self._bytes_sent = None, 0

    def _is_passed_over(self, now: FrameMessage) -> bool:
        """Return whether a message is a piece of the sound that ``pass_over`` has skipped."""
        passed = self._passed_over
        piece = cut_piece(now, passed.place) if passed is not None else None
        return bool(passed and piece and self._reader.are_equal(passed.around, piece.around))

    def _take(self, number: int) -> None:
        """Note that a message was sent."""
        self._messages.pop(number, None)
        self._pieces.pop(number, None)
        self._lanes.take(self.lane, number)

    def _message_at(self, number: int) -> FrameMessage:
        if number not in self._messages:
            self._messages[number] = self._read(number)
        return self._messages[number]

    def _read(self, number: int) -> FrameMessage:
        frame = self._frames[self.lane.sent[number]]
        return self._reader.read(frame.data, frame.is_text)

    def _piece_at(self, number: int) -> SoundPiece | None:
        if number not in self._pieces:
            piece = find_piece(self._message_at(number)) if self._reader.compares else None
            if piece is not None and not piece.is_known and self._follow(piece, number + 1) is None:
                piece = None
            self._pieces[number] = piece
        return self._pieces[number]

    def _follow(self, piece: SoundPiece, start: int) -> tuple[int, SoundPiece] | None:
        """Return the number and the next piece of a sound, from a number on. Messages among its pieces are skipped."""
        for number in range(start, len(self.lane.sent)):
            if number in self.lane.ahead:
                continue
            message = self._message_at(number)
            following = self._cut_same(piece, message)
            if following is not None:
                self._pieces[number] = following
                return number, following
            if not may_come_among(message, piece):
                break
        return None

    def _cut_same(self, piece: SoundPiece, message: FrameMessage) -> SoundPiece | None:
        """Return the piece of the same sound that a recorded message is, if it is one."""
        following = cut_piece(message, piece.place)
        if following is None or not self._reader.are_equal(piece.around, following.around):
            return None
        return following._replace(is_known=piece.is_known)

    def _find_other(self, sound: SoundPiece) -> int | None:
        """Return the number of the next message if it may come among the pieces of a sound, else None."""
        number = max(self._next_other, self.lane.taken)
        message: FrameMessage | None = None
        while number < len(self.lane.sent):
            if number not in self.lane.ahead:
                message = self._messages.get(number) or self._read(number)  # pieces far ahead are not kept
                if self._cut_same(sound, message) is None:
                    self._messages[number] = message
                    break
            number += 1
        self._next_other = number
        if number == len(self.lane.sent) or message is None or not may_come_among(message, sound):
            return None
        return number

    @property
    def awaited_bytes(self) -> int:
        """How many bytes of a sound that the client has begun to send are still missing."""
        if not self._bytes_sent or self._sound is None:
            return 0
        left = -self._bytes_sent
        following = self._follow(self._sound, self._next_piece)
        while following is not None:
            number, piece = following
            left += len(piece.data)
            following = self._follow(piece, number + 1)
        return max(left, 0)

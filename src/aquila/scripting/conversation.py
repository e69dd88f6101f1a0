"""A conversation over a WebSocket whose answers are written by hand. No I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aquila.cassettes.frames.frame import Close, Frame
from aquila.cassettes.frames.replay import Ending
from aquila.wire_forms.conversations.conversation_form import ConversationForm, Question, read_message


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """What is told in answer to a question.

    ``ending`` says how the conversation ends behind it: ``left`` for a silence in which nothing more is said. None for
    one that goes on.
    """

    frames: Sequence[Frame]
    ending: Ending | None = None


class ScriptedConversation:
    """Takes the messages of a client, and gives those of the provider, which ``answer`` tells. Not thread-safe.

    The times of frames are milliseconds since their question. ``clock`` gives seconds; it may stand still, as it does
    in some tests: then what was delivered says how late it is at least.
    """

    def __init__(
        self,
        form: ConversationForm,
        answer: Callable[[Question], ScriptedTurn],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._began = clock()
        self._form = form
        self._answer = answer
        self._lanes: dict[str | None, deque[Frame]] = {}
        self.frame_count = 0
        """How many messages of the provider there are so far, also those that are not delivered yet."""
        self._now = 0  # in milliseconds since it has begun
        self._due = 0  # when the last frame that was given away is to be delivered
        self._ending: Ending | None = None
        self._closed_by_client: Close | None = None
        self._add(None, form.greet())

    def take_sent(self, data: bytes) -> None:
        """Take a message that the client sends. Raises ``NotUnderstood``, and what ``answer`` raises."""
        if self._ending is not None:
            return  # nobody listens any more
        message = read_message(data)
        if self._form.cancels(message):
            self._cancel(message)
            return
        taken = self._form.take(message)
        if not isinstance(taken, Question):
            self._add(None, taken)
            return
        turn = self._answer(taken)
        self._form.note_answer(turn.frames)
        self._add(taken.lane, turn.frames)
        self._ending = turn.ending

    def _cancel(self, message: dict[str, object]) -> None:
        self._look_at_clock()
        left = self._lanes.pop(None, ())
        self.frame_count -= len(left)
        self._add(None, self._form.cancel(message, [each._replace(at=max(0, each.at - self._now)) for each in left]))

    def _add(self, lane: str | None, frames: Sequence[Frame]) -> None:
        self.frame_count += len(frames)
        self._look_at_clock()
        waiting = self._lanes.setdefault(lane, deque())
        since = max(waiting[-1].at if waiting else 0, self._now)
        waiting.extend(frame._replace(at=since + frame.at) for frame in frames)

    def _look_at_clock(self) -> None:
        self._now = max(self._now, round((self._clock() - self._began) * 1000))

    def take_close(self, code: int, reason: str) -> None:
        """Take that the client closes. Nothing more is said."""
        self._closed_by_client = Close("client", code, reason)
        self._lanes.clear()

    def deliverable(self) -> list[tuple[float, Frame]]:
        """Return what may be delivered now, each with the seconds to wait before it. Each comes once.

        Behind a frame that has to wait nothing is given away, for the client may cancel it meanwhile. Lanes take turns.
        """
        self._look_at_clock()
        self._now = max(self._now, self._due)
        given: list[tuple[float, Frame]] = []
        while waiting := [lane for lane, frames in self._lanes.items() if frames]:
            lane = min(waiting, key=lambda each: self._lanes[each][0].at)
            frames = self._lanes.pop(lane)
            self._lanes[lane] = frames  # the last of those that are as early
            frame = frames.popleft()
            pause = max(0, frame.at - self._now) / 1000
            given.append((pause, frame))
            if pause:
                self._due = frame.at
                break
        return given

    @property
    def ended(self) -> Ending | None:
        """How it ends, once all before was delivered; None before that."""
        if self._closed_by_client is not None:
            return self._closed_by_client
        return None if any(self._lanes.values()) else self._ending

"""A conversation over a WebSocket with scripted answers, without I/O."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.cassettes.web_socket_frames.replay import Ending
from aquila.wire_forms.conversations.conversation_form import ConversationForm, Question, read_message


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """The provider's answer to one question.

    ``ending``: how the conversation ends after the answer, such as ``left`` for a silence; None if it continues.
    """

    frames: Sequence[Frame]
    ending: Ending | None = None


class ScriptedConversation:
    """Takes the messages of a client and returns those of the provider, which come from ``answer``. Not thread-safe.

    The times of frames are milliseconds since their question. ``clock`` returns seconds. If it stands still, as in some
    tests, the time of the latest delivered frame counts as the present.
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
        # The frames that wait for delivery, by lane: answers in different lanes may overlap. Emptied when the client
        # closes.
        self._lanes: dict[str | None, deque[Frame]] = {}
        self.frame_count = 0
        """How many messages of the provider there are so far, including those that are not delivered yet."""
        self._now = 0  # in milliseconds since the conversation began; it never goes back
        self._due = 0  # when the latest frame that ``deliverable`` returned must be delivered, in the same unit
        self._ending: Ending | None = None
        self._closed_by_client: Close | None = None
        self._add(None, form.greet())

    def take_sent(self, data: bytes) -> None:
        """Read a message of the client.

        Raises ``NotUnderstood`` for a message that has no meaning here, and what ``answer`` raises.
        """
        if self._ending is not None:
            return  # the provider's side has ended
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
        """Note that the client has closed. What waits for delivery is dropped."""
        self._closed_by_client = Close("client", code, reason)
        self._lanes.clear()

    def deliverable(self) -> list[tuple[float, Frame]]:
        """Return the frames that may be delivered now, each once, with the seconds to wait before it.

        Nothing is returned behind a frame that must wait, because the client may cancel the answer meanwhile. Lanes
        with frames for the same time take turns.
        """
        self._look_at_clock()
        self._now = max(self._now, self._due)
        given: list[tuple[float, Frame]] = []
        while waiting := [lane for lane, frames in self._lanes.items() if frames]:
            lane = min(waiting, key=lambda each: self._lanes[each][0].at)
            frames = self._lanes.pop(lane)
            self._lanes[lane] = frames  # to the end of the dict, so that another lane of the same time comes next
            frame = frames.popleft()
            pause = max(0, frame.at - self._now) / 1000
            given.append((pause, frame))
            if pause:
                self._due = frame.at
                break
        return given

    @property
    def ended(self) -> Ending | None:
        """How the conversation ends, once everything before was delivered; None until then."""
        if self._closed_by_client is not None:
            return self._closed_by_client
        return None if any(self._lanes.values()) else self._ending

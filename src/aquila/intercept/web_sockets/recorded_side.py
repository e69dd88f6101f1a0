"""The provider's side of a recorded conversation, and the messages of its misses."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from aquila.cassettes.matching import cures
from aquila.cassettes.model import SWITCHED, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.names import cassette_path
from aquila.cassettes.web_socket_frames.frame import Close, Frame, is_from_provider
from aquila.cassettes.web_socket_frames.replay import ConversationReplay, Ending, FrameMiss
from aquila.errors import CassetteMiss, ConversationDrifted, PlayedOut, RecordingTooShort
from aquila.intercept.web_sockets.watched_readings import Readings
from aquila.intercept.web_sockets.which_recording import Fitting, History, Holder, SaidMessage, find_place
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting import drift_watch
from aquila.recording.scope import Scope
from aquila.recording.sessions import drifted_conversations, miss_explanation
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.settings import Settings
from aquila.transports.silence import unended_silence

if TYPE_CHECKING:
    from aquila.faults import fault
else:
    lazy_modules(globals(), "aquila.faults: fault")


class RecordedSide:
    """Replays the provider's messages at the pace of the settings, to the client whose ``handshake`` it answers."""

    def __init__(
        self, scope: Scope, settings: Settings, session: Session, decision: ReplayDecision, handshake: RecordedRequest
    ) -> None:
        self._scope = scope
        self._settings = settings
        self._session = session
        self._decision = decision
        self._handshake = handshake
        response = decision.interaction.response
        # Faults that are about time keep their pauses, whatever `replay_timing` says.
        self._timing = 1.0 if decision.fault and decision.fault.startswith(fault.PACED) else settings.replay_timing
        self._unsaid: list[Frame] = []
        self._holder = Holder(decision.interaction, History(self._replay_of), self._move)
        self._begin_replay(decision.interaction, self._replay_of(decision.interaction))
        if decision.fault or not self._others():  # a conversation that has met a fault keeps its recording
            self._holder.history.close()
        self.may_fall_silent = bool(decision.fault) and response.end == "silent"
        self._passed = -1  # the recorded time of the last frame whose pause has passed, in milliseconds
        self.readings = Readings(scope.run.wire_watch)
        if self.readings.is_watched:
            is_cut = bool(decision.fault) and response.end in ("broken", "silent")
            until = None if is_cut else _count_messages(response)
            self.readings.begin(decision, decision.interaction.request, until)

    def _replay_of(self, interaction: Interaction) -> ConversationReplay:
        response = interaction.response
        return ConversationReplay(
            response.chunks if response.status == SWITCHED else (),
            response.end,
            rules=self._session.rules,
            redact=self._session.redactor.redact_message,
            name=self._session.name,
        )

    def _move(self, place: Fitting) -> None:
        """Switch to another recording, which fits all that was said so far."""
        before = self._holder.interaction
        self._play.sent = 0  # the recording before counts as not played, unless another connection plays it
        self._begin_replay(place.interaction, place.replay)
        self._unsaid = place.unsaid
        if self.readings.is_watched:
            self.readings.expect(_count_messages(place.interaction.response))
        self._session.plays.conversations.hand_over(place.interaction, self._holder, instead_of=before)

    def _begin_replay(self, interaction: Interaction, replay: ConversationReplay) -> None:
        self._holder.interaction = interaction
        self._response = interaction.response
        self._times = sorted(chunk.at for chunk in interaction.response.chunks) if self._timing else []
        self._replay = replay
        self._play = self._session.plays.conversations.begin_play(interaction, replay.sent_count)
        self._play.sent = replay.taken_count

    def _take(self, data: bytes, is_text: bool, *, may_wait: bool) -> FrameMiss | Literal["early"] | None:
        """Take a message. While several recordings fit, choose the one that has this message."""
        history, plays = self._holder.history, self._session.plays.conversations
        if not history.is_open:
            return self._replay.take_sent(data, is_text)
        said = SaidMessage(data, True, is_text)
        miss: FrameMiss | None = None
        if plays.holder_of(self._holder.interaction) in (None, self._holder):
            miss = self._replay.take_sent(data, is_text)
            if miss is None:
                plays.hand_over(self._holder.interaction, self._holder)
                history.add([said])
                return None
            if may_wait and history.has_asked and self._replay.comes_early(data, is_text):
                return "early"
        found = find_place(self._holder, self._others(), plays.holder_of, said)
        if found is not None:
            place, make_room = found
            make_room()
            self._move(place)
            history.add([said])
            return None
        if miss is None:  # another connection holds the recording of this one
            if self._settings.repeat == "error":  # show the difference to a recording that no connection holds
                free = (history.fit(each) for each in self._others() if plays.holder_of(each) is None)
                beside = next(filter(None, free), None)
                if beside is not None:
                    self._move(beside)
            miss = self._replay.take_sent(data, is_text)
            if miss is None:
                history.add([said])
        return miss

    def _others(self) -> list[Interaction]:
        """Return the other recordings that answer the handshake."""
        numbers = self._session.numbers_of(self._decision.played.key)
        found = [self._session.cassette.interactions[number] for number in numbers]
        return [each for each in found if each is not self._holder.interaction]

    def _deciding(self) -> AbstractContextManager[object]:
        """Return the lock under which connections exchange recordings, while this one still may."""
        return self._session.plays.conversations.lock if self._holder.history.is_open else _FREELY

    @property
    def handshake_answer(self) -> RecordedResponse:
        return self._response

    def take_sent(
        self, data: bytes, is_text: bool, *, may_wait: bool = False
    ) -> CassetteMiss | Literal["early"] | None:
        with self._deciding():
            taken = self._take(data, is_text, may_wait=may_wait)
            refused = self._explain_or_pass(taken, data, is_text, may_wait) if isinstance(taken, FrameMiss) else taken
            self._play.sent = self._replay.taken_count
            return refused

    def _explain_or_pass(
        self, miss: FrameMiss, data: bytes, is_text: bool, may_wait: bool
    ) -> CassetteMiss | Literal["early"] | None:
        if miss.played_out and self._decision.fault:
            return None  # messages after a fault are not compared
        if may_wait and self._replay.comes_early(data, is_text):
            return "early"
        error = self._make_miss(miss)
        if error is None:
            self._replay.pass_over()
            self._holder.history.close()
        return error

    def take_close(self, code: int, reason: str) -> None:
        self._replay.take_close(code, reason)

    def deliverable(self) -> list[tuple[float, Frame]]:
        with self._deciding():
            frames = self._replay.deliverable()
            if not frames and not self._unsaid:
                return []
            if self._unsaid:
                frames, self._unsaid = [*self._unsaid, *frames], []
            if self._holder.history.is_open:
                self._holder.history.add([SaidMessage(frame.data, sent=False) for frame in frames])
        if not self._timing:
            return [(0.0, frame) for frame in frames]
        return [(self._take_pause(frame.at), frame) for frame in frames]

    @property
    def ended(self) -> Ending | None:
        return self._replay.ended

    def pause_before_end(self) -> float:
        ended = self._replay.ended
        return self._pause_before(ended.at if isinstance(ended, Close) else self._response.ended)

    def longest_silence(self) -> float:
        """Return the seconds of the recorded silence plus the ``silence`` of the settings.

        While one part of the program waits for a message, another may be preparing the next one.
        """
        if self._decision.fault:
            return self._settings.silence
        since, until = self._replay.silence
        since = self._response.started if since is None else since
        until = self._response.ended if until is None else until
        return max(0, until - since) / 1000 + self._settings.silence

    def explain_silence(self) -> CassetteMiss:
        awaited = self._replay.awaited
        if not awaited and self._decision.fault:
            return unended_silence(self._address, self._decision.fault, self._settings.silence)
        if awaited:
            details = (
                "  The recording goes on when the client sends this (aquila_silence says how much longer to wait):\n"
                f"\n    {awaited}"
            )
        else:
            details = (
                "  In the recording, the client left here. Look for what ended its wait then (aquila_silence says\n"
                "  how much longer to wait)."
            )
        title = f"the program waits for a message, and none comes in {self._session.name}"
        return RecordingTooShort(self._explain(title, details, self._record_advice(everything=True)))

    @property
    def is_silenced(self) -> bool:
        return self.may_fall_silent and self._replay.ended == "left"

    def _take_pause(self, at: int) -> float:
        pause = self._pause_before(at)
        self._passed = at
        return pause

    def _pause_before(self, at: int) -> float:
        if not self._timing or at == self._passed:
            return 0.0
        before = bisect_left(self._times, at) - 1
        return (at - self._times[before]) / 1000 * self._timing if before >= 0 else at / 1000 * self._timing

    def _make_miss(self, miss: FrameMiss) -> CassetteMiss | None:
        """Return the error for a message that differs from the recorded one; None if it may pass."""
        layers = self._scope.run.layers
        settings_file = miss_explanation.name_settings_file(self._scope.run)
        details = miss.describe(settings_file)
        if layers.finds_drift:
            text = self._explain(miss.title, details, ())
            request = self._decision.interaction.request
            drift_watch.note_message(self._scope, self._session, request, miss, text)
            return None
        setting = cures.short_setting(miss.cure, settings_file)
        options = {"difference": miss.difference, "group": miss.group, "cure": setting}
        if self._session.mode == "replay":
            kind = PlayedOut if miss.played_out else CassetteMiss
            advice = self._record_advice(everything=not drifted_conversations.repeats_conversations(self._scope))
            return kind(self._explain(miss.title, details, advice), **options)
        keys, advice = drifted_conversations.drift_within(self._scope, self._session, self._decision.played.key)
        drifted = ConversationDrifted(self._explain(miss.title, details, advice), **options)
        drifted.conversation = keys
        return drifted

    def _record_advice(self, *, everything: bool) -> list[str]:
        command = self._scope.record_command(everything=everything)
        return ["If the change is meant, record the conversation again:", "", f"  {command}"]

    @property
    def _address(self) -> str:
        """The method and redacted URL of the handshake, for messages."""
        return f"GET {self._session.redactor.redact_request(self._handshake).url}"

    def _explain(self, title: str, details: str, advice: Sequence[str]) -> str:
        path = cassette_path(self._settings.cassette_root(), self._session.name)
        path = self._scope.run.layers.shown_path(path)
        head = [title, "", f"  cassette   {path}", f"  requested  {self._address}"]
        body = ["", details] if details else []
        return self._session.redactor.redact_text("\n".join([*head, *body, "", *advice]))


_FREELY = nullcontext()  # holds no state, so all conversations share it


def _count_messages(response: RecordedResponse) -> int:
    return sum(is_from_provider(chunk) for chunk in response.chunks)

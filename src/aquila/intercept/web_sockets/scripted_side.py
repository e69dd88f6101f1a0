"""The provider's side of a conversation that a script answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from aquila.cassettes.model import SWITCHED, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames, store_close, store_frame
from aquila.cassettes.web_socket_frames.replay import Ending
from aquila.errors import CassetteMiss, UnscriptedRequest
from aquila.intercept.web_sockets.watched_readings import Readings
from aquila.recording.scope import Scope
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.recording.sessions.session_factory import redactor_of
from aquila.scripting.conversation import ScriptedConversation, ScriptedTurn
from aquila.scripting.shared_script import AnswersRequests
from aquila.settings import Settings
from aquila.transports.routes.scope_route import ScopeRoute, meet_fault
from aquila.transports.routes.script_route import ask_script, explain_unscripted
from aquila.transports.silence import unended_silence
from aquila.transports.upstreams import SCRIPT
from aquila.wire_forms.conversations.conversation_form import ConversationForm, NotUnderstood, Question


class ScriptedSide:
    """Speaks the protocol ``form``. ``script`` answers the questions to the model."""

    def __init__(self, scope: Scope, settings: Settings, script: AnswersRequests, form: ConversationForm) -> None:
        self._scope = scope
        self._settings = settings
        self._script = script
        self._form = form
        self._conversation = ScriptedConversation(form, self._answer)
        self._silenced_by = ""  # the fault that ended an answer in silence, if one did
        self.readings = Readings(scope.run.wire_watch)
        decision = self._open(form.handshake)
        self.handshake_answer, self.fault = decision.interaction.response, decision.fault
        """How the handshake is answered, and the fault that it has met."""

    def _open(self, handshake: RecordedRequest) -> ReplayDecision:
        key = ScopeRoute.key_of(handshake)
        good = Interaction(handshake, RecordedResponse(SWITCHED), upstream=SCRIPT)
        met = meet_fault(self._scope, key, good, "handshake") if self._scope.faults.plan is not None else None
        decision = met or ReplayDecision(good, RecordingPlayed(key, 0, 0), last=False)
        self.readings.begin(decision, handshake, 0)
        if met is None:
            self.readings.note_read(0)
        return decision

    def take_sent(self, data: bytes, is_text: bool, *, may_wait: bool = False) -> CassetteMiss | None:
        try:
            self._conversation.take_sent(data)
        except UnscriptedRequest as miss:
            return miss
        except NotUnderstood as error:
            said = self._redact(data.decode("utf-8", "replace"))
            return UnscriptedRequest(f"{self._form.name}: {self._redact(str(error))}\n\n  message    {_shorten(said)}")
        return None

    def take_close(self, code: int, reason: str) -> None:
        self._conversation.take_close(code, reason)

    def deliverable(self) -> list[tuple[float, Frame]]:
        return self._conversation.deliverable()

    @property
    def ended(self) -> Ending | None:
        return self._conversation.ended

    def pause_before_end(self) -> float:
        return 0.0

    def longest_silence(self) -> float:
        return self._settings.silence

    def explain_silence(self) -> CassetteMiss:
        if self._silenced_by:
            return unended_silence(self._form.name, self._silenced_by, self._settings.silence)
        return UnscriptedRequest(
            f"{self._form.name}: the program waits for a message, but the script has answered all its questions. A "
            "script only answers (aquila_silence says how long to wait)"
        )

    @property
    def may_fall_silent(self) -> bool:
        return self._scope.faults.plan is not None

    @property
    def is_silenced(self) -> bool:
        return bool(self._silenced_by) and self._conversation.ended == "left"

    def _answer(self, question: Question) -> ScriptedTurn:
        asked = question.request
        with self._script.deciding:
            met = self._meet_fault(question) if self._scope.faults.plan is not None else None
            answer = None if met is not None else ask_script(self._script.decide, asked, self._settings, _refuse)
        if met is not None:
            return self._tell(met, asked)
        if answer is None:
            raise explain_unscripted(asked, self._script, self._settings)
        good = self._as_conversation(asked, question.write(answer.response))
        return self._tell(ReplayDecision(good, RecordingPlayed(SCRIPT, 0, 0), last=answer.last), asked)

    def _meet_fault(self, question: Question) -> ReplayDecision | None:
        """Return the fault that a question meets, applied to the answer that it would get; None if it meets none."""
        asked = question.request
        answer = ask_script(self._script.peek, asked, self._settings, _refuse)
        if answer is None:
            return None
        good = self._as_conversation(asked, question.write(answer))
        met = meet_fault(self._scope, ScopeRoute.key_of(asked), good, "messages")
        if met is not None:
            self._script.note_fault(asked, gives=met.gives, met=met.interaction, fault=met.fault)
        return met

    def _as_conversation(self, asked: RecordedRequest, frames: Sequence[Frame | Close]) -> Interaction:
        """Return a question and its answer in the form of a recorded conversation."""
        said = (Frame(asked.body, sent=True), *frames)
        chunks = [store_close(each) if isinstance(each, Close) else store_frame(each) for each in said]
        ended = frames[-1].at if frames else 0
        return Interaction(self._form.handshake, RecordedResponse(SWITCHED, (), tuple(chunks), ended=ended))

    def _tell(self, decision: ReplayDecision, asked: RecordedRequest) -> ScriptedTurn:
        """Return the frames of an answer, up to the next question of the client."""
        response = decision.interaction.response
        frames: list[Frame] = []
        ending: Ending | None = {"broken": "broken", "silent": "left"}.get(response.end)  # type: ignore[assignment]
        for each in list(read_frames(response.chunks))[1:]:
            if isinstance(each, Close):
                ending = each
            elif each.sent:
                break
            else:
                frames.append(each)
        if ending == "left":
            self._silenced_by = decision.fault
        is_cut = response.end in ("broken", "silent")
        self.readings.begin(decision, asked, None if is_cut else self._conversation.frame_count + len(frames))
        return ScriptedTurn(frames, ending)

    def _redact(self, text: str) -> str:
        return redactor_of(self._settings).redact_text(text)


def _refuse(missed: UnscriptedRequest) -> NoReturn:
    raise missed


def _shorten(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"

"""The provider's side of a conversation that a script answers."""

from __future__ import annotations

from typing import NoReturn

from aquila.cassettes.frames.frame import SWITCHED, Close, Frame
from aquila.cassettes.frames.replay import Ending
from aquila.cassettes.model import RecordedResponse
from aquila.config import Settings
from aquila.errors import CassetteMiss, UnscriptedRequest
from aquila.recording import redactors
from aquila.recording.session_factory import match_rules_of
from aquila.scripting.conversation import ScriptedConversation, Turn
from aquila.scripting.shared_script import AnswersRequests
from aquila.transports.script_route import ask_script, explain_unscripted
from aquila.wire_forms.conversations.conversation_form import ConversationForm, NotUnderstood, Question


class ScriptedSide:
    """Speaks the protocol ``form``, in which ``script`` answers what the model is asked."""

    def __init__(self, settings: Settings, script: AnswersRequests, form: ConversationForm) -> None:
        self._settings = settings
        self._script = script
        self._form = form
        self._conversation = ScriptedConversation(form, self._answer)

    @property
    def opening(self) -> RecordedResponse:
        return RecordedResponse(SWITCHED)

    def take_sent(self, data: bytes, is_text: bool) -> CassetteMiss | None:
        try:
            self._conversation.take_sent(data)
        except UnscriptedRequest as miss:
            return miss
        except NotUnderstood as error:
            return UnscriptedRequest(self._redact(f"{self._form.name}: {error}\n\n  message    {_show(data)}"))
        return None

    def take_close(self, code: int, reason: str) -> None:
        self._conversation.take_close(code, reason)

    def deliverable(self) -> list[tuple[float, Frame]]:
        return self._conversation.deliverable()

    @property
    def ended(self) -> Ending | None:
        return self._conversation.ended

    def pause_before_end(self) -> float:
        ended = self._conversation.ended
        return ended.at / 1000 if isinstance(ended, Close) else 0.0

    def longest_silence(self) -> float:
        return self._settings.silence

    def explain_silence(self) -> CassetteMiss:
        return UnscriptedRequest(
            f"{self._form.name}: the program waits for a message, and has asked for none that is left. A script speaks "
            "when it is asked (aquila_silence says how long to wait)"
        )

    def _answer(self, question: Question) -> Turn:
        answer = ask_script(self._script.decide, question.request, self._settings, _refuse)
        if answer is None:
            raise explain_unscripted(question.request, self._script, self._settings)
        return Turn(question.write(answer.response))

    def _redact(self, text: str) -> str:
        settings = self._settings
        return redactors.redactor_for(match_rules_of(settings), settings.keep_headers).redact_text(text)


def _refuse(missed: UnscriptedRequest) -> NoReturn:
    raise missed


def _show(data: bytes) -> str:
    text = data[:200].decode("utf-8", "replace")
    return text if len(data) <= 200 else f"{text}…"

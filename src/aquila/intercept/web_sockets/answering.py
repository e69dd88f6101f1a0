"""What becomes of the handshake of a WebSocket: it is answered by a recording, recorded, let through, or refused."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import anyio.to_thread

from aquila.cassettes.frames.frame import SWITCHED
from aquila.cassettes.frames.replay import ConversationReplay, FrameMiss
from aquila.cassettes.model import RecordedRequest
from aquila.cassettes.redaction.found_secrets import without_numbers
from aquila.cassettes.storage.names import cassette_path
from aquila.config import Settings
from aquila.errors import CassetteMiss, CassetteRequired, ConversationDrifted, PlayedOut
from aquila.intercept import policy
from aquila.intercept.policy import AnsweringScope
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.lazy_imports import lazy_modules
from aquila.recording import askers, conversations, drift_watch, guard
from aquila.recording.decisions import PASS_ON, RefuseDecision, ReplayDecision
from aquila.recording.frame_recorder import FrameRecorder
from aquila.recording.model_hosts import asks_model
from aquila.recording.no_network import fail_unasked
from aquila.recording.scope import Scope
from aquila.recording.session import Session
from aquila.transports.scope_route import refuse
from aquila.transports.scope_routes import session_mode

if TYPE_CHECKING:
    from aquila.transports import http_client_answers
else:
    lazy_modules(globals(), http_client_answers="aquila.transports.http_client_answers")

Answer: TypeAlias = ReplayedConversation | FrameRecorder | None
"""A replay, or a recording of what the provider says. None lets the client go its own way."""


def answer_handshake(request: RecordedRequest) -> Answer:
    """Say what becomes of a handshake, which is about to be sent.

    Raises ``CassetteMiss`` and ``LiveCallRefused``, ``NoNetwork`` for what nothing asked for, and ``OSError`` where no
    connection was made when it was recorded.
    """
    answering = _find_cassette(request)
    return None if answering is None else _decide(request, *answering, _open_session(*answering))


async def answer_handshake_async(request: RecordedRequest) -> Answer:
    """``answer_handshake`` without blocking the event loop: a cassette is read in a thread."""
    answering = _find_cassette(request)
    if answering is None:
        return None
    scope, settings = answering
    if scope.sessions.has_session(scope.default_cassette or "", session_mode(settings.transport, settings)):
        return _decide(request, scope, settings, _open_session(scope, settings))
    session = await anyio.to_thread.run_sync(functools.partial(_open_session, scope, settings))
    return _decide(request, scope, settings, session)


def _find_cassette(request: RecordedRequest) -> AnsweringScope | None:
    address = _Address.of(request.url)
    answering = policy.find_answering_scope(request.method, *address)
    if answering is None:
        return None
    scope, settings = answering
    if scope.default_cassette is None and scope.has_script:
        raise _no_answer(address, "a script answers here, and scripts answer no WebSockets")
    if settings.transport == "live":
        return None
    if settings.transport not in ("replay", "record"):
        raise _no_answer(address, f"aquila_transport is {settings.transport!r}, which answers no WebSockets")
    if scope.default_cassette is None:
        raise CassetteRequired(f"{scope.describe()}: no cassette answers this WebSocket")
    if settings.transport == "record" and settings.upstream != "live":
        raise _no_answer(address, f"aquila_upstream is {settings.upstream!r}, and WebSockets are recorded live alone")
    return answering


def _open_session(scope: Scope, settings: Settings) -> Session:
    return scope.sessions.session_for(scope.default_cassette or "", session_mode(settings.transport, settings))


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int | None
    path: str

    @classmethod
    def of(cls, url: str) -> _Address:
        parts = urlsplit(url)
        path = parts.path or "/"
        return cls(parts.scheme, parts.hostname or "", parts.port, f"{path}?{parts.query}" if parts.query else path)

    def __str__(self) -> str:
        return f"GET {self.scheme}://{guard.format_address(self.host, self.port)}{self.path.partition('?')[0]}"


def _no_answer(address: _Address, why: str) -> BaseException:
    help = "Give the test a cassette to be recorded from the provider, or mark it @pytest.mark.aquila_live."
    return guard.make_refusal(str(address), f"{address} was refused: {why}\n\n{help}")


def _decide(request: RecordedRequest, scope: Scope, settings: Settings, session: Session) -> Answer:
    address = _Address.of(request.url)
    if session.script is not None:
        raise _no_answer(address, "a script answers here, and scripts answer no WebSockets")
    decision = session.decide(request)
    if decision is PASS_ON:
        guard.check_unanswered(request.method, *address, scope, settings)
        return None
    if isinstance(decision, RefuseDecision):
        if askers.is_unasked() and not asks_model(address.host, address.port, address.path, settings):
            raise fail_unasked(session.redactor.redact_text(str(address)))
        refuse(scope, decision.error, decision.key)
    if isinstance(decision, ReplayDecision):
        if settings.transport != "replay":
            scope.recording.note_play(session, decision)
        return _Replay(scope, settings, session, decision, str(address)).start()
    refused = scope.recording.take_request(decision)
    if refused is not None:
        refuse(scope, refused, decision.key)
    return FrameRecorder(scope.recording, session, decision)


class _Replay:
    """Opens the replay of one recording, and says what its misses say."""

    def __init__(
        self, scope: Scope, settings: Settings, session: Session, decision: ReplayDecision, address: str
    ) -> None:
        self._scope = scope
        self._settings = settings
        self._session = session
        self._decision = decision
        self._address = address

    def start(self) -> ReplayedConversation:
        response = self._decision.interaction.response
        if not response.has_begun and response.error.startswith("ConnectError: "):
            raise http_client_answers.os_error_from_text(response.error.removeprefix("ConnectError: "))
        key = self._decision.played.key
        accepted = response.status == SWITCHED
        replay = ConversationReplay(
            response.chunks if accepted else (),
            response.end,
            rules=self._session.rules,
            redact=self._redact,
            name=self._session.name,
        )
        return ReplayedConversation(
            response,
            replay,
            make_miss=self._make_miss,
            make_silence_miss=self._make_silence_miss,
            refuse=lambda miss: refuse(self._scope, miss, key),
            is_over=lambda: self._scope.closed,
            silence=self._settings.silence,
            timing=self._settings.replay_timing,
        )

    def _redact(self, data: bytes) -> bytes:
        text = data.decode("utf-8", "surrogateescape")
        return without_numbers(self._session.redactor.redact_text(text)).encode("utf-8", "surrogateescape")

    def _make_miss(self, miss: FrameMiss) -> CassetteMiss | None:
        if self._scope.run.layers.finds_drift:
            text = self._explain(miss.title, miss.details, ())
            request = self._decision.interaction.request
            drift_watch.note_message(self._scope, self._session, request, miss, text)
            return None
        options = {"difference": miss.difference, "group": miss.group}
        if self._session.mode == "replay":
            kind = PlayedOut if miss.played_out else CassetteMiss
            return kind(self._explain(miss.title, miss.details, self._record_advice()), **options)
        keys, advice = conversations.drift_within(self._scope, self._session, self._decision.played.key)
        drifted = ConversationDrifted(self._explain(miss.title, miss.details, advice), **options)
        drifted.conversation = keys
        return drifted

    def _make_silence_miss(self, awaited: str) -> CassetteMiss:
        if awaited:
            details = f"  The recording goes on when the client sends this:\n\n    {awaited}"
        else:
            details = "  When it was recorded, the client left here. Look for what ended its wait then."
        details += "\n  The setting aquila_silence says how much longer to wait."
        title = f"the program waits for a message, and none comes in {self._session.name}"
        return CassetteMiss(self._explain(title, details, self._record_advice()))

    def _record_advice(self) -> list[str]:
        return ["If the change is meant, record the conversation again:", "", f"  {self._scope.record_command()}"]

    def _explain(self, title: str, details: str, advice: Sequence[str]) -> str:
        path = cassette_path(self._settings.cassette_root(), self._session.name)
        with suppress(ValueError, OSError):  # the working directory may have been deleted
            path = path.relative_to(Path.cwd())
        head = [title, "", f"  cassette   {path}", f"  requested  {self._address}"]
        body = ["", details] if details else []
        return self._session.redactor.redact_text("\n".join([*head, *body, "", *advice]))

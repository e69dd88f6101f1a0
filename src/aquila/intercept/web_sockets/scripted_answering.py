"""Chooses the script that answers a handshake."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.intercept.web_sockets.conversation_start import open_conversation
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.scripted_side import ScriptedSide
from aquila.recording import askers
from aquila.recording.network import guard
from aquila.recording.scope import Scope
from aquila.scripting.script import ScriptedAnswer
from aquila.scripting.shared_script import AnswersRequests
from aquila.settings import Settings
from aquila.transports.routes.scope_route import ScopeRoute, refuse
from aquila.transports.routes.script_route import as_decision, explain_left_behind
from aquila.transports.script_transport import script_of_run
from aquila.transports.upstreams import CASSETTE_MODES, SCRIPT
from aquila.wire_forms.conversations import protocol_table as protocols


def answer_by_hand(
    request: RecordedRequest, scope: Scope, settings: Settings, cassette: str | None
) -> ReplayedConversation | None:
    """Let a script answer a handshake. Return None if there is none, or if a cassette or transport may answer instead.

    ``cassette`` is the name of the cassette in the scope, which may be a script in a file.

    The messages of the client are not known yet. The first script that has an answer left for this protocol takes the
    conversation.
    """
    scripts = _find_scripts(scope, settings, cassette)
    leaves_some = _is_left_to_another(scope, settings, cassette)
    return answer_from(scripts, request, scope, settings, leaves_some=leaves_some)


def answer_from(
    scripts: Sequence[AnswersRequests], request: RecordedRequest, scope: Scope, settings: Settings, *, leaves_some: bool
) -> ReplayedConversation | None:
    """Let the first script that may answer a handshake do so. None if none may and ``leaves_some``.

    ``leaves_some``: something else may answer. Without it the last script answers if no script may.
    """
    form = protocols.open_conversation(request)
    probe = None if form is None else form.ask({})
    chosen = next((script for script in scripts if probe is not None and script.may_answer(probe)), None)
    if chosen is None and (not scripts or leaves_some):
        return None
    if form is None:
        parts = urlsplit(request.url)
        known = ", ".join(f"…{end}" for end in protocols.CONVERSATION_FORMS)
        why = f"a script answers here, and the WebSockets that scripts speak are {known}"
        raise guard.refuse_web_socket(f"GET {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", why)
    key = ScopeRoute.key_of(request)
    test = askers.find_earlier_test(scope)
    if test is not None:
        refuse(scope, explain_left_behind(request, test, settings), key)
    side = ScriptedSide(scope, settings, chosen or scripts[-1], form)
    noted = None
    if scope.run.exchange_watch is not None:
        answer = ScriptedAnswer(side.handshake_answer, last=False)
        decision = as_decision(request, answer)._replace(fault=side.fault)
        noted = scope.run.exchange_watch.begin(scope, request, decision)
    return open_conversation(side, scope, key, fault=side.fault, noted=noted)


def _find_scripts(scope: Scope, settings: Settings, cassette: str | None) -> list[AnswersRequests]:
    """Return the scripts of a scope, in the order in which they are asked."""
    found = [scope.scripts.written]
    if cassette is not None and scope.scripts.names_script(cassette):
        found.append(scope.sessions.session_for(cassette, "replay").script)
    if settings.transport == SCRIPT:
        found.append(script_of_run())
    return [script for script in found if script is not None]


def _is_left_to_another(scope: Scope, settings: Settings, cassette: str | None) -> bool:
    """Whether a cassette or a transport answers handshakes that no script answers."""
    if settings.transport in CASSETTE_MODES:
        return cassette is not None and not scope.scripts.names_script(cassette)
    return settings.transport != SCRIPT

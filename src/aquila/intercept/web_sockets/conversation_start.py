"""Opens a conversation that a recording or a script answers in the place of the provider."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

from aquila.cassettes.model import SWITCHED
from aquila.intercept.web_sockets.open_conversations import OpenConversations
from aquila.intercept.web_sockets.opening_handshakes import CONNECT_ERROR, CONNECT_TIMEOUT
from aquila.intercept.web_sockets.provider_side import ProviderSide
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.lazy_imports import lazy_modules
from aquila.recording.scope import Scope
from aquila.transports.callers import system_errors
from aquila.transports.routes.scope_route import refuse

if TYPE_CHECKING:
    from aquila.errors import CassetteMiss
    from aquila.intercept.web_sockets import watched_side
    from aquila.recording.reporting.exchange_watch import WatchedExchange
else:
    lazy_modules(globals(), "aquila.intercept.web_sockets: watched_side")


def open_conversation(
    side: ProviderSide, scope: Scope, key: str, *, fault: str = "", noted: WatchedExchange | None = None
) -> ReplayedConversation:
    """Return the conversation that ``side`` answers. ``key`` is that of the handshake, for misses.

    ``fault`` is the one that the handshake has met. ``noted`` collects the messages for a report. Raises ``OSError`` if
    no connection is to be made. A fault that leaves the handshake unanswered raises ``TimeoutError`` at once, because
    the time limit of the client is not known here.
    """
    answer = side.handshake_answer
    if answer.status != SWITCHED:
        side.readings.end("read" if answer.has_begun else "raised")
    if not answer.has_begun and answer.error.startswith(CONNECT_ERROR):
        raise system_errors.os_error_from_text(answer.error.removeprefix(CONNECT_ERROR))
    if not answer.has_begun and answer.error.startswith(CONNECT_TIMEOUT):
        raise TimeoutError(answer.error.removeprefix(CONNECT_TIMEOUT))
    if not answer.has_begun and answer.end == "silent" and fault:
        raise TimeoutError("timed out during opening handshake")

    def refuse_here(miss: CassetteMiss) -> NoReturn:
        refuse(scope, miss, key)

    those_open = scope.run.state_of(OpenConversations)
    scope.run.watch_scopes(those_open)
    conversation = functools.partial(ReplayedConversation, scope_has_closed=lambda: scope.closed, those_open=those_open)
    if noted is None:
        return conversation(side, refuse=refuse_here)
    watched: Any = watched_side.WatchedSide(side, noted)
    return conversation(watched, refuse=watched_side.refuse_within(noted, refuse_here))

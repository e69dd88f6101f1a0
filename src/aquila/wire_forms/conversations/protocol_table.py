"""The table of protocols over WebSockets, and the choice of one for a handshake."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.wire_forms.conversations.conversation_form import ConversationForm
from aquila.wire_forms.conversations.gemini_live import GeminiLive
from aquila.wire_forms.conversations.openai_realtime import RealtimeConversation
from aquila.wire_forms.conversations.openai_responses import ResponsesConversation

CONVERSATION_FORMS: Mapping[str, type[ConversationForm]] = {
    "/responses": ResponsesConversation,
    "/realtime": RealtimeConversation,
    "BidiGenerateContent": GeminiLive,
    "BidiGenerateContentConstrained": GeminiLive,
}
"""The protocols by the end of the handshake's path."""


def open_conversation(handshake: RecordedRequest) -> ConversationForm | None:
    """Return the provider's side of the conversation that a handshake begins; None for an unknown protocol."""
    path = urlsplit(handshake.url).path.rstrip("/")
    return next((form(handshake) for end, form in CONVERSATION_FORMS.items() if path.endswith(end)), None)

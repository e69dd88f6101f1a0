"""Gemini Live, whose server sends its JSON in binary messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.wild.protocols.conversation import WORDS, Asked


def speak(connection: Any, mishap: Callable[[Any, str], None]) -> None:
    def say(**message: Any) -> None:
        connection.send(json.dumps(message).encode())

    setup: dict[str, Any] = {}
    said, sound = "", b""
    while True:
        text = connection.recv(60)
        message = json.loads(text)
        if "setup" in message:
            setup = message["setup"]
            if "refused" in setup["model"]:
                connection.close(1008, "the model is not found")
            say(setupComplete={"sessionId": "session-1"})
        elif "realtime_input" in message or "realtimeInput" in message:
            given = message.get("realtime_input") or message["realtimeInput"]
            sound += b"".join(base64.urlsafe_b64decode(part["data"]) for part in _sounds_of(given))
            if "audioStreamEnd" in given or "audio_stream_end" in given:
                back = base64.urlsafe_b64encode(sound[::-1]).decode()
                inline = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": back}}
                say(serverContent={"modelTurn": {"role": "model", "parts": [inline]}})
                say(serverContent={"turnComplete": True})
                sound = b""
        else:
            said += str(text)
            _answer(connection, say, setup, said, mishap)


def _sounds_of(given: dict[str, Any]) -> list[dict[str, Any]]:
    if "audio" in given:
        return [given["audio"]]
    return given.get("mediaChunks") or given.get("media_chunks") or []


def _answer(
    connection: Any, say: Callable[..., None], setup: dict[str, Any], said: str, mishap: Callable[[Any, str], None]
) -> None:
    declared = [one for tool in setup.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    call = Asked("", {}, said).call({one["name"]: one.get("parameters") or {} for one in declared})
    if call:
        say(toolCall={"functionCalls": [{"id": "call-1", "name": call.name, "args": call.arguments}]})
        return
    first, *others = WORDS
    say(serverContent={"modelTurn": {"role": "model", "parts": [{"text": first}]}})
    mishap(connection, said)
    for word in others:
        say(serverContent={"modelTurn": {"role": "model", "parts": [{"text": word}]}})
    usage = {"promptTokenCount": 5, "responseTokenCount": 3, "totalTokenCount": 8}
    say(serverContent={"turnComplete": True, "generationComplete": True}, usageMetadata=usage)

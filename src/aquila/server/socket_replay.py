"""Replays a recorded conversation to a client over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from aquila.cassettes.web_socket_frames.frame import BROKEN, Frame
from aquila.errors import CassetteMiss, SessionClosed
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.server.client_socket import ClientSocket, ConnectionClosed, closed_by_other
from aquila.transports.callers.failures import Failure, explain_failure

logger = logging.getLogger("aquila")

_POLICY = 1008


class ReplayToClient:
    """One replay: the client gets the recorded answers when it sends the recorded messages.

    ``fails_in_silence``: a client that sends nothing for too long counts as a miss. The server cannot know whether the
    client waits for a message, but in a test it is likely.
    """

    def __init__(self, socket: ClientSocket, conversation: ReplayedConversation, *, fails_in_silence: bool) -> None:
        self._fails_in_silence = fails_in_silence
        self._socket = socket
        self._conversation = conversation
        self._heard = 0
        self._has_news = asyncio.Event()
        self._has_ended = False  # Whether the provider has ended the conversation, as it did in the recording.
        # Set by the first text message in either direction; None before that.
        self._has_error_events: bool | None = None

    async def run(self) -> str:
        """Replay to the end. Returns words for the log that say how it ended; none if as recorded.

        Raises ``CassetteMiss`` if the client sent something else, after telling the client.
        """
        listening = asyncio.create_task(self._listen())
        speaking = asyncio.create_task(self._speak())
        try:
            return await self._end_with_first(listening, speaking)
        except asyncio.CancelledError:  # the server ends, while the client is told of a miss, or is about to be
            for task in (listening, speaking):
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error from None
            raise

    async def _end_with_first(self, listening: asyncio.Task[str], speaking: asyncio.Task[str]) -> str:
        try:
            await asyncio.wait((listening, speaking), return_when=asyncio.FIRST_COMPLETED)
            ended = listening if listening.done() else speaking
            return ended.result()
        except (CassetteMiss, SessionClosed) as error:
            await self._tell(explain_failure(error))
            raise
        finally:
            listening.cancel()
            speaking.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)

    async def _listen(self) -> str:
        try:
            while True:
                message = await self._socket.recv()
                is_text = isinstance(message, str)
                data = message.encode() if isinstance(message, str) else message
                self._look_at(data, is_text=is_text)
                self._conversation.send(data, is_text=is_text)
                self._heard += 1
                self._has_news.set()
        except ConnectionClosed:
            if self._has_ended:
                return ""
            close = closed_by_other(self._socket)
            if close is None:
                self._conversation.note_ending("left")
                return ", client left"
            self._conversation.take_close(close.code, close.reason)
            return ""

    async def _speak(self) -> str:
        conversation = self._conversation
        try:
            while True:
                self._has_news.clear()
                while said := conversation.deliverable(self._heard):
                    for pause, frame in said:
                        await asyncio.sleep(pause)
                        await self._say(frame)
                ending = conversation.provider_ending(self._heard)
                if ending is not None:
                    pause, close = ending
                    await asyncio.sleep(pause)
                    conversation.note_ending("raised")
                    self._has_ended = True
                    await self._socket.end(*((BROKEN,) if close is None else (close.code, close.reason)))
                    return ""
                await self._wait_for_news()
        except ConnectionClosed:
            await self._socket.wait_closed()  # the listening task returns the words for the log
            return ""

    async def _wait_for_news(self) -> None:
        conversation = self._conversation
        try:
            await asyncio.wait_for(self._has_news.wait(), conversation.longest_silence())
        except TimeoutError:
            if conversation.waits_for_client and self._fails_in_silence:
                conversation.end_silence()
                conversation.tell_failure()
            if conversation.waits_for_client:
                logger.warning("%s", conversation.explain_silence())
            await self._has_news.wait()

    async def _say(self, frame: Frame) -> None:
        self._look_at(frame.data, is_text=frame.is_text)
        if frame.is_text:
            async with self._socket.send_context():
                self._socket.protocol.send_text(frame.data)  # unchecked, because a fault may send invalid UTF-8
        else:
            await self._socket.send(frame.data)
        self._conversation.note_read()

    def _look_at(self, data: bytes, *, is_text: bool) -> None:
        """Learn from the first text whether messages are JSON events with a type, as in OpenAI's protocols."""
        if is_text and self._has_error_events is None:
            self._has_error_events = _is_event(data)

    async def _tell(self, failure: Failure) -> None:
        """Tell the client why the conversation ends: in an error event if its protocol has events, and in the close."""
        if self._has_error_events:
            event: dict[str, Any] = {"type": "error", "event_id": "event_aquila", "status": failure.status}
            try:
                await self._socket.send(json.dumps({**event, **failure.body}))
            except ConnectionClosed:
                return
        await self._socket.end(_POLICY, f"{failure.code}: {failure.message.partition(chr(10))[0]}")


def _is_event(data: bytes) -> bool:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(event, dict) and isinstance(event.get("type"), str)

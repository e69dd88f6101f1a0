"""Relays a conversation between a client and the upstream, message by message, and records it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aquila.cassettes.web_socket_frames.frame import BROKEN, WITHOUT_CODE, Close
from aquila.intercept.web_sockets.writing import write_due_async
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.server.client_socket import ClientSocket, ConnectionClosed, closed_by_other

_TOO_LARGE = 1009

_LAST_WORDS_SECONDS = 5
"""The seconds that the upstream may take to read what a client has sent before it left."""


class Relay:
    """One conversation between ``socket``, a client, and ``upstream``, a connection of the library ``websockets``.

    Neither side is read faster than the other side reads. ``recorder`` is None for a conversation that is not recorded.
    """

    def __init__(self, socket: ClientSocket, upstream: Any, recorder: FrameRecorder | None) -> None:
        self._socket = socket
        self._upstream = upstream
        self._recorder = recorder

    async def run(self) -> str:
        """Relay until one side ends, and end the other side in the same way. Returns words for the log that say how.

        The caller closes the upstream. If the client left without a close, the recording is not finished here.
        """
        up = asyncio.create_task(_pass_on(self._socket, self._upstream, self._note_sent))
        down = asyncio.create_task(_pass_on(self._upstream, self._socket, self._note_received))
        # While both tasks wait for the upstream, neither would notice that the client has left.
        leaving = asyncio.create_task(self._socket.wait_closed())
        tasks = (up, down, leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # A side to which sending failed may have sent more before it ended. These messages are still relayed.
            if not any(task.done() and task.result() for task in (up, down)):
                await (asyncio.wait((down,)) if up.done() else asyncio.wait((up,), timeout=_LAST_WORDS_SECONDS))
            if up.done() and up.result():
                return await self._end_upstream()
            if up.done() or (down.done() and down.result()):
                return await self._end_client()
            return self._leave_upstream()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _note_sent(self, message: str | bytes) -> None:
        if self._recorder is not None:
            data, is_text = _read(message)
            self._recorder.add_sent(data, is_text=is_text)

    async def _note_received(self, message: str | bytes) -> None:
        if self._recorder is not None:
            data, is_text = _read(message)
            self._recorder.add_received(data, is_text=is_text)
            await write_due_async(self._recorder)  # a turn is on disk before the client gets its last message

    async def _end_upstream(self) -> str:
        """End the upstream, because the client has ended the conversation. Returns words for the log."""
        outcome = self._leave_upstream()
        close = closed_by_other(self._socket)
        if close is not None:
            await self._upstream.close(*((int(close.code), close.reason) if close.code != WITHOUT_CODE else ()))
        return outcome

    def _leave_upstream(self) -> str:
        """Note the client's end, without closing the upstream, which may not read any more.

        Returns words for the log.
        """
        close = closed_by_other(self._socket)
        if close is None:
            return f", {_too_large_of(self._socket) or 'client left'}"
        if self._recorder is not None:
            self._recorder.finish_closed(Close("client", int(close.code), close.reason))
        return ""

    async def _end_client(self) -> str:
        """End the client, because the upstream has ended the conversation. Returns words for the log."""
        close = closed_by_other(self._upstream)
        recorder = self._recorder
        if close is not None:
            if recorder is not None:
                recorder.finish_closed(Close("provider", int(close.code), close.reason))
                await write_due_async(recorder)
            await self._socket.end(int(close.code), close.reason)
            return ""
        too_large = _too_large_of(self._upstream)
        if recorder is not None:
            recorder.finish_broken(f"RemoteProtocolError: {too_large or 'the connection was lost'}")
            await write_due_async(recorder)
        await (self._socket.end(_TOO_LARGE, too_large) if too_large else self._socket.end(BROKEN))
        return f", {too_large or 'broke off'}"


async def _pass_on(source: Any, target: Any, note: Callable[[str | bytes], Awaitable[None]]) -> bool:
    """Relay messages until one side is closed. Returns whether that was the source."""
    while True:
        try:
            message = await source.recv()
        except ConnectionClosed:
            return True
        await note(message)
        try:
            await target.send(message)
        except ConnectionClosed:
            return False


def _read(message: str | bytes) -> tuple[bytes, bool]:
    return (message.encode(), True) if isinstance(message, str) else (message, False)


def _too_large_of(connection: Any) -> str:
    """Return a message if this server ended a connection for too large a message, else an empty text."""
    sent = connection.protocol.close_sent
    return "a message is too large for aquila serve (--max-body)" if sent and sent.code == _TOO_LARGE else ""

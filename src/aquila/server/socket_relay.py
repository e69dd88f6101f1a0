"""Passes a conversation on between a client and the upstream, message by message, and records it on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aquila.cassettes.frames.frame import BROKEN, WITHOUT_CODE, Close
from aquila.intercept.web_sockets.writing import write_due_async
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.server.client_socket import ClientSocket, ConnectionClosed, closed_by_other

_TOO_LARGE = 1009

_LAST_WORDS_SECONDS = 5
"""How long the upstream may take to take in what a client has said before it left."""


class Relay:
    """One conversation between ``socket`` and ``upstream``, a connection of ``websockets``.

    Neither side is read faster than the other one takes it in. ``recorder`` is None for what is only passed on.
    """

    def __init__(self, socket: ClientSocket, upstream: Any, recorder: FrameRecorder | None) -> None:
        self._socket = socket
        self._upstream = upstream
        self._recorder = recorder

    async def run(self) -> str:
        """Pass on until one side ends it, and end the other side in the same way. Return how, in words for the log.

        The caller closes the upstream. What is recorded has not ended where the client left without a close.
        """
        up = asyncio.create_task(_pass_on(self._socket, self._upstream, self._note_sent))
        down = asyncio.create_task(_pass_on(self._upstream, self._socket, self._note_received))
        # Neither hears of a client that has left while it waits for the upstream.
        leaving = asyncio.create_task(self._socket.wait_closed())
        tasks = (up, down, leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The side that could not be sent to may have said more before it ended: that is passed on.
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
            await write_due_async(self._recorder)  # a turn is on disk before the client has all of it

    async def _end_upstream(self) -> str:
        """The client has ended it."""
        outcome = self._leave_upstream()
        close = closed_by_other(self._socket)
        if close is not None:
            await self._upstream.close(*((int(close.code), close.reason) if close.code != WITHOUT_CODE else ()))
        return outcome

    def _leave_upstream(self) -> str:
        """The client has ended it, and the upstream may not read any more."""
        close = closed_by_other(self._socket)
        if close is None:
            return f", {_too_large_of(self._socket) or 'client left'}"
        if self._recorder is not None:
            self._recorder.finish_closed(Close("client", int(close.code), close.reason))
        return ""

    async def _end_client(self) -> str:
        """The upstream has ended it."""
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
    """Pass on messages until one side is closed. Return whether it was the source."""
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
    """Say so if a connection was ended for a message that is larger than this server takes."""
    sent = connection.protocol.close_sent
    return "a message is too large for aquila serve (--max-body)" if sent and sent.code == _TOO_LARGE else ""

"""Wraps methods of connections, so that the due part of a recording is written before the method returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from aquila.intercept.web_sockets.opening_handshakes import CONNECT_ERROR, NO_ANSWER
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.own_requests import own_request
from aquila.transports.own_threads import run_in_thread

_LIBRARIES = ("aiohttp.", "websocket.", "websockets.")
"""How the names of the modules begin in which the client libraries define their errors."""


def then_write(recorder: FrameRecorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls ``original``, and then writes the due part of the recording."""

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            recorder.write_due()

    return call


def then_write_async(recorder: FrameRecorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """``then_write`` for coroutines. The event loop does not wait for the disk."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await original(*args, **kwargs)
        finally:
            await write_due_async(recorder)

    return call


def receive_then_write(
    recorder: FrameRecorder, original: Callable[..., Any], *, by_message: bool = True
) -> Callable[..., Any]:
    """``then_write_async`` for a method that receives. A message whose caller was cancelled goes to the next caller.

    ``by_message``: each call returns one whole message (or the end), and not just the bytes that have arrived.
    """
    # Messages of this connection whose callers were cancelled during the writing.
    kept: deque[Any] = deque()

    async def call(*args: Any, **kwargs: Any) -> Any:
        if kept:
            message = kept.popleft()
            writing = run_in_thread(recorder.write_due)  # also waits for a thread that is writing already
        else:
            try:
                message = await original(*args, **kwargs)
            except BaseException as error:
                if by_message and isinstance(error, asyncio.CancelledError):
                    recorder.note_cancelled_reader()
                await write_due_async(recorder)
                raise
            writing = write_due_async(recorder)
        try:
            await writing
        except asyncio.CancelledError:  # only by asyncio: a cancellation by anyio does not reach the writing
            kept.appendleft(message)
            if by_message:
                recorder.note_cancelled_reader()
            raise
        if by_message:
            recorder.note_delivered()
        return message

    return call


async def write_due_async(recorder: FrameRecorder) -> None:
    """Write the due part of a recording in a thread, if there is one."""
    if recorder.is_due:
        await run_in_thread(recorder.write_due)


@contextlib.asynccontextmanager
async def being_connected(recorder: FrameRecorder) -> AsyncIterator[None]:
    """Let a recorded connection be made within the block. If that fails, the reason is stored."""
    try:
        with own_request():
            yield
    except Exception as error:
        # aiohttp's error has the error of the system as `os_error`.
        await run_in_thread(store_failure, recorder, getattr(error, "os_error", error))
        raise
    except asyncio.CancelledError:
        recorder.finish_unanswered()
        await write_due_async(recorder)
        raise


def store_failure(recorder: FrameRecorder, error: BaseException) -> None:
    """Store why a handshake got no answer, unless the recording has ended already.

    ``error`` is an ``OSError`` if no connection was made, or an error of the client library if the answer is missing or
    invalid. After a time limit of the client the handshake is stored as unanswered. Nothing is stored for other errors,
    such as a ``TypeError`` for a wrong argument, because they are mistakes of the program.
    """
    note_failure(recorder, error)
    recorder.write_due()


def note_failure(recorder: FrameRecorder, error: BaseException) -> None:
    """``store_failure`` without writing."""
    if is_time_limit(error):
        recorder.finish_unanswered()
    elif isinstance(error, OSError):
        recorder.finish_broken(f"{CONNECT_ERROR}{error}")
    elif _is_of_library(error):  # without the text of the error, which may hold a part of the answer
        recorder.finish_broken(NO_ANSWER)


def _is_of_library(error: BaseException) -> bool:
    # Versions of websockets raise the built-in ones for an answer that ends, and for one that they cannot read.
    return isinstance(error, (EOFError, NotImplementedError)) or type(error).__module__.startswith(_LIBRARIES)


def is_time_limit(error: BaseException) -> bool:
    """Whether a time limit of the client caused ``error``, and not one of the operating system."""
    return isinstance(error, TimeoutError) and error.errno is None

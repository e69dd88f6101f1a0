"""Wraps methods of connections so that what is due of a recording is written before the method returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from aquila.intercept.web_sockets.opening_handshakes import CONNECT_ERROR
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.own_requests import own_request
from aquila.transports.record import run_in_thread


def then_write(recorder: FrameRecorder, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does what ``original`` does, and then writes."""

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
    """``then_write_async`` for a method that receives: a message that a cancelled caller lost goes to the next one.

    ``by_message``: each call returns one message, or something that is none, and not what a connection happens to hold.
    """
    # Messages that were received while their caller was cancelled in the writing. Belongs to one connection.
    kept: deque[Any] = deque()

    async def call(*args: Any, **kwargs: Any) -> Any:
        if kept:
            message = kept.popleft()
            writing = run_in_thread(recorder.write_due)  # where another thread writes, this one waits for it
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
        except asyncio.CancelledError:  # of asyncio alone: anyio cancels nobody who writes
            kept.appendleft(message)
            if by_message:
                recorder.note_cancelled_reader()
            raise
        if by_message:
            recorder.note_delivered()
        return message

    return call


async def write_due_async(recorder: FrameRecorder) -> None:
    """Write, in a thread, if there is something to write."""
    if recorder.is_due:
        await run_in_thread(recorder.write_due)


@contextlib.asynccontextmanager
async def being_connected(recorder: FrameRecorder) -> AsyncIterator[None]:
    """Let a connection that is recorded be made within the block. Where none is made, why is stored."""
    try:
        with own_request():
            yield
    except OSError as error:
        await run_in_thread(store_failure, recorder, getattr(error, "os_error", error))  # aiohttp's wraps the system's
        raise
    except asyncio.CancelledError:
        recorder.finish_unanswered()
        await write_due_async(recorder)
        raise


def store_failure(recorder: FrameRecorder, error: BaseException) -> None:
    """Store that no connection was made, and why. Where a limit of the client's ended the wait, nobody had answered."""
    note_failure(recorder, error)
    recorder.write_due()


def note_failure(recorder: FrameRecorder, error: BaseException) -> None:
    """``store_failure`` without writing."""
    if is_time_limit(error):
        recorder.finish_unanswered()
    else:
        recorder.finish_broken(f"{CONNECT_ERROR}{error}")


def is_time_limit(error: BaseException) -> bool:
    """Say whether it was a limit of the client's that ended its wait, and not one of the operating system's."""
    return isinstance(error, TimeoutError) and error.errno is None

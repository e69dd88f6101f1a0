"""Writes down what a recorded conversation has to, before the program gets the result of what it has called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aquila.recording.frame_recorder import FrameRecorder
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


async def write_due_async(recorder: FrameRecorder) -> None:
    """Write, in a thread, if there is something to write."""
    if recorder.is_due:
        await run_in_thread(recorder.write_due)


def store_failure(recorder: FrameRecorder, reason: object) -> None:
    """Store that no connection was made, and why: an error, or its message."""
    recorder.finish_broken(f"ConnectError: {reason}")
    recorder.write_due()

"""Lets a test act between two steps of a recording."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from aquila.recording.storing.frame_recorder import FrameRecorder


@dataclass
class HeldWriting:
    """``is_writing`` is set before a turn is written. The writing waits until ``may_write`` is set."""

    is_writing: threading.Event = field(default_factory=threading.Event)
    may_write: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def held_writing(monkeypatch: pytest.MonkeyPatch) -> HeldWriting:
    held, write_due = HeldWriting(), FrameRecorder.write_due

    def write_slowly(recorder: FrameRecorder) -> None:
        if recorder.is_due:
            held.is_writing.set()
            held.may_write.wait(60)
        write_due(recorder)

    monkeypatch.setattr(FrameRecorder, "write_due", write_slowly)
    return held

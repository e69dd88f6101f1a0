"""When a silence at the end of a recorded answer ends, step by step, without waiting."""

from __future__ import annotations

import threading
from typing import NoReturn

import httpx2
import pytest

from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.errors import CassetteMiss
from aquila.transports.silence import Silence

RECORDED = 2.0
"""How many seconds the caller had waited behind the last chunk when this was recorded."""


class Waits(threading.Event):
    """Notes the waits and is over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        return self.is_set()


def refuse(miss: CassetteMiss) -> NoReturn:
    raise miss


def about(seconds: float) -> object:
    """So many seconds, or a step more: the steps are added up."""
    return pytest.approx(seconds, abs=0.06)


def meet(monkeypatch: pytest.MonkeyPatch, read: float | None, *, instant: bool, more: float = 1.0) -> tuple[str, float]:
    """Return the name of the error that ends the silence for a client with a limit for each read, and the wait."""
    chunks = (RecordedChunk(b"Eagles", at=100),)
    response = RecordedResponse(200, (), chunks, "silent", started=50, ended=100 + int(RECORDED * 1000))
    request = httpx2.Request("POST", "https://x.example/v1", extensions={"timeout": {"read": read}})
    waits = Waits()
    monkeypatch.setattr(threading, "Event", lambda: waits)
    silence = Silence(response, request, seconds=more, limits=(), instant=instant, is_over=lambda: False, refuse=refuse)
    with pytest.raises((httpx2.ReadTimeout, CassetteMiss)) as ended:
        silence.wait()
    return type(ended.value).__name__, waits.seconds


@pytest.mark.parametrize("read", [0.5, 1.9, RECORDED])
def test_at_the_instant_pace_a_limit_that_had_struck_strikes_at_once(
    read: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert meet(monkeypatch, read, instant=True) == ("ReadTimeout", 0.0)


def test_a_longer_limit_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert meet(monkeypatch, 2.5, instant=True) == ("ReadTimeout", about(2.5))


@pytest.mark.parametrize("read", [0.5, RECORDED, 2.5])
def test_at_the_recorded_pace_a_limit_strikes_when_it_is_over(read: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert meet(monkeypatch, read, instant=False) == ("ReadTimeout", about(read))


@pytest.mark.parametrize("read", [None, 60.0])
@pytest.mark.parametrize("instant", [True, False])
def test_without_a_limit_in_time_the_wait_is_that_of_the_recording_and_the_setting(
    instant: bool, read: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert meet(monkeypatch, read, instant=instant, more=1.5) == ("RecordingTooShort", about(RECORDED + 1.5))

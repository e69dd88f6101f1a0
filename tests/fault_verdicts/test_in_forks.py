"""The forked child that runs a test under a fault: skipped sleeps, thread pools, leaks, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from aquila.fault_verdicts.forked_process import ChildEnded, run_in_fork
from aquila.fault_verdicts.left_behind import LeftBehind
from aquila.fault_verdicts.skipped_sleeps import SkippedSleeps
from aquila.scripting.shared_script import ScriptServer

A_LONG_TIME = 600.0


def told_by(work: Callable[[], Any]) -> Any:
    return run_in_fork(lambda tell: tell(work()), A_LONG_TIME)


def test_consecutive_sleeps_add_up_and_concurrent_ones_do_not() -> None:
    def work() -> list[float]:
        sleeps = SkippedSleeps()
        sleeps.install()
        sleeps.skip_here()
        begun = time.monotonic()
        time.sleep(100)
        time.sleep(200)
        passed = [time.monotonic() - begun]

        async def wait(seconds: float) -> float:
            sleeps.skip_here()
            begun = sleeps.now()
            await asyncio.sleep(seconds)
            return sleeps.now() - begun

        async def wait_at_once() -> list[float]:
            begun = time.monotonic()
            waited = await asyncio.gather(wait(1000), wait(3000), wait(2000))
            return [*waited, time.monotonic() - begun]

        return passed + asyncio.run(wait_at_once())

    assert told_by(work) == [pytest.approx(seconds, abs=60) for seconds in (300, 1000, 3000, 2000, 3000)]


def test_threads_that_met_no_fault_really_sleep() -> None:
    def work() -> float:
        sleeps = SkippedSleeps()
        sleeps.install()
        threading.Thread(target=sleeps.skip_here).start()
        begun = time.monotonic()
        time.sleep(0.01)
        return time.monotonic() - begun

    assert told_by(work) >= 0.01


def test_a_sleep_that_the_test_replaces_is_detected() -> None:
    def work() -> list[bool]:
        sleeps = SkippedSleeps()
        sleeps.install()
        known = [sleeps.are_faked]
        time.sleep = lambda seconds: None
        return [*known, sleeps.are_faked]

    assert told_by(work) == [False, True]


def test_leaked_threads_tasks_and_sockets_are_found() -> None:
    kept: list[Any] = []

    def work() -> list[str]:
        left = LeftBehind()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        kept.append(socket.socket())
        loop = asyncio.new_event_loop()

        async def begin() -> None:
            kept.append(asyncio.ensure_future(asyncio.Event().wait()))

        loop.run_until_complete(begin())
        loop.close()
        return sorted(left.find())

    assert told_by(work) == ["socket", "task", "thread"]


def test_idle_pools_and_garbage_are_not_leaks() -> None:
    def work() -> list[str]:
        left = LeftBehind()
        kept = ThreadPoolExecutor(2)
        kept.submit(socket.socket).result().close()
        circle: list[Any] = [socket.socket()]
        circle.append(circle)
        del circle
        return left.find()

    assert told_by(work) == []


def test_the_thread_that_serves_scripts_is_not_waited_for() -> None:
    def work() -> list[str]:
        left = LeftBehind()
        kept.append(ScriptServer("key", lambda scope, cassette: None))
        return left.find()

    kept: list[Any] = []
    assert told_by(work) == ["socket"]


def test_a_pool_of_the_parent_works_on_in_the_child() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert told_by(lambda: pool.submit(int, "3").result()) == 3


def test_the_error_says_how_a_child_ended() -> None:
    def die(number: int) -> None:
        os.kill(os.getpid(), number)

    with pytest.raises(ChildEnded, match="ended by SIGKILL") as killed:
        told_by(lambda: die(signal.SIGKILL))
    assert killed.value.was_killed
    with pytest.raises(ChildEnded, match="exit code 3") as ended:
        told_by(lambda: os._exit(3))
    assert not ended.value.was_killed
    with pytest.raises(ChildEnded, match="outside the test something failed: ZeroDivisionError") as failed:
        told_by(lambda: 1 // 0)
    assert failed.value.was_killed


def test_a_child_does_not_ask_macos_for_its_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    parent, proxies = os.getpid(), {"https": "http://proxy.example:8080"}

    def _get_proxies() -> dict[str, str]:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGSEGV)  # as macOS does
        return dict(proxies)

    system: Any = ModuleType("_scproxy")
    system._get_proxies = system._get_proxy_settings = _get_proxies
    monkeypatch.setitem(sys.modules, "_scproxy", system)
    # Where Python is built for macOS, `urllib.request` has it by its name.
    requests: Any = urllib.request
    monkeypatch.setattr(requests, "_get_proxies", _get_proxies, raising=False)
    assert told_by(lambda: [requests._get_proxies(), system._get_proxies()]) == [proxies, proxies]

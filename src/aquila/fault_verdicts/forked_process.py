"""A forked child that does one thing, tells its parent what came of it, and can be ended at any time."""

from __future__ import annotations

import _thread  # not one of `threading`, which would count as one that is left behind
import json
import os
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

_SIZE = struct.Struct(">Q")
_GRACE = 5.0
"""So many seconds after its time limit a child may still tell what it was at."""

Tell = Callable[[Any], NoReturn]
"""Sends JSON values to the parent, and ends the process."""

can_fork = hasattr(os, "fork")


def run_in_fork(work: Callable[[Tell], object], seconds: float) -> Any | None:
    """Do ``work`` in a child. Return what it tells, None if it told nothing in time.

    It and what it has started end with this call, however that ends. ``work`` is to end by itself after ``seconds``,
    by telling what it was at, from any thread.
    """
    reading, writing = os.pipe()
    alive, parent = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child does without
        pid = os.fork()
    if pid == 0:
        _end_with_work(work, reading, writing, alive, parent)
    try:
        with suppress(OSError):
            os.setpgid(pid, pid)  # Ctrl-C is for the parent alone, which ends it
        os.close(writing)
        os.close(alive)
        return _read_message(reading, time.monotonic() + seconds + _GRACE)
    finally:
        for end in (os.killpg, os.kill):  # it may have no group of its own yet
            with suppress(OSError):
                end(pid, signal.SIGKILL)
        with suppress(OSError):
            os.waitpid(pid, 0)
        os.close(reading)
        os.close(parent)


def _end_with_work(work: Callable[[Tell], object], reading: int, writing: int, alive: int, parent: int) -> NoReturn:
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        os.close(reading)
        os.close(parent)
        _end_with_parent(alive)
        work(lambda told: _tell(writing, told))
    finally:
        os._exit(1)


def _tell(writing: int, told: Any) -> NoReturn:
    try:
        data = json.dumps(told).encode()
        data = _SIZE.pack(len(data)) + data
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _end_with_parent(alive: int) -> None:
    """End this process when its parent has ended: nothing else would, if that was killed."""

    def wait() -> None:
        with suppress(OSError):
            os.read(alive, 1)
        with suppress(OSError):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    _thread.start_new_thread(wait, ())


def _read_message(reading: int, until: float) -> Any | None:
    data, size = b"", _SIZE.size
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return None
        piece = os.read(reading, 1 << 20)
        if not piece:
            return None
        data += piece
        if len(data) >= _SIZE.size:
            size = _SIZE.size + _SIZE.unpack_from(data)[0]
    return json.loads(data[_SIZE.size :])

"""A forked child that does one thing, reports the result to its parent, and can be ended at any time."""

from __future__ import annotations

import _thread  # a thread of `threading` would count as left behind by the test
import importlib
import json
import os
import queue
import select
import signal
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import thread
from contextlib import suppress
from typing import Any, NoReturn

from aquila.signal_names import name_signal
from aquila.temporary_folders import remove_left_folders, remove_own_folders

if sys.platform == "win32":  # for type checkers; `pytest_aquila.options` has refused such a run before
    raise ImportError("Windows forks no process")

_SIZE = struct.Struct(">Q")
_GRACE = 5.0
"""How many seconds after its time limit a child may still report."""

_SENT_BY_OTHERS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")

Tell = Callable[[Any], NoReturn]
"""A function that sends JSON values to the parent and ends the process."""


class ChildEnded(Exception):
    """The child has ended without a report. The text says how.

    ``was_killed``: the end does not come from the program under test. The user or the system may have ended the child,
    or something outside the test, such as a plugin, may have failed in it.
    """

    was_killed: bool

    def __init__(self, text: str, *, was_killed: bool = False) -> None:
        super().__init__(text)
        self.was_killed = was_killed


def run_in_fork(work: Callable[[Tell], object], seconds: float) -> Any:
    """Do ``work`` in a forked child. Return the JSON values that it reports.

    Raises ``ChildEnded``, or ``TimeoutError`` if it reported nothing in time. The child and its processes end with this
    call, however that ends. ``work`` should end by itself after ``seconds`` by reporting, from any of its threads.
    """
    reading, writing = os.pipe()
    # The parent holds the writing end. When it ends, however that happens, the child's read of ``alive`` returns.
    alive, parent = os.pipe()
    pools, proxies = _find_pools(), read_system_proxies()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of threads, which do not exist in the child
        pid = os.fork()
    if pid == 0:
        _revive(pools)
        keep_system_proxies(proxies)
        _end_with_work(work, reading, writing, alive, parent)
    status = 0
    try:
        with suppress(OSError):
            # A group of its own, for killpg below. It also keeps Ctrl-C from the child; the parent ends it. Parent and
            # child both set it, because either may run first.
            os.setpgid(pid, pid)
        os.close(writing)
        os.close(alive)
        message = _read_message(reading, time.monotonic() + seconds + _GRACE)
    finally:
        for end in (os.killpg, os.kill):  # the child may not have its own group yet
            with suppress(OSError):
                end(pid, signal.SIGKILL)
        with suppress(OSError):
            _, status = os.waitpid(pid, 0)
        os.close(reading)
        os.close(parent)
        if os.WIFSIGNALED(status):
            remove_left_folders()
    if not message:
        raise _make_ended(status)
    if "failed" in message[0]:
        raise ChildEnded(f"outside the test something failed: {message[0]['failed']}", was_killed=True)
    return message[0]["told"]


def _make_ended(status: int) -> ChildEnded:
    if not os.WIFSIGNALED(status):
        return ChildEnded(f"its process ended with the exit code {os.waitstatus_to_exitcode(status)}")
    name = name_signal(os.WTERMSIG(status))
    return ChildEnded(f"its process was ended by {name}", was_killed=name in _SENT_BY_OTHERS)


def _end_with_work(work: Callable[[Tell], object], reading: int, writing: int, alive: int, parent: int) -> NoReturn:
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        os.close(reading)
        os.close(parent)
        _end_with_parent(alive)
        work(lambda told: _tell(writing, {"told": told}))
    except BaseException as error:  # noqa: BLE001 - nothing above this frame would report it
        _tell(writing, {"failed": traceback.format_exception_only(error)[-1].strip()})
    finally:
        # Not ``sys.exit``: exit handlers and the buffers that the fork copied belong to the parent.
        os._exit(1)


def _tell(writing: int, told: Any) -> NoReturn:
    try:
        remove_own_folders()  # before the parent has the report, and ends this process
        data = json.dumps(told).encode()
        data = _SIZE.pack(len(data)) + data
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _end_with_parent(alive: int) -> None:
    """End this process when its parent ends. Nothing else would end it if the parent was killed."""

    def wait() -> None:
        with suppress(OSError):
            os.read(alive, 1)
        with suppress(OSError):
            remove_own_folders()
        with suppress(OSError):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    # Not ``threading.Thread``: the test, and the search for threads that it leaves, must not see this one.
    _thread.start_new_thread(wait, ())


def _find_pools() -> list[Any]:
    """Return the thread pools of this process."""
    # ``_threads_queues`` is private to concurrent.futures. It maps each worker to its queue; the worker's first
    # argument is a weak reference to its pool. If a version of Python differs in this, no pool is found.
    found = []
    for worker in list(getattr(thread, "_threads_queues", ())):
        with suppress(AttributeError, IndexError, TypeError):
            found.append(worker._args[0]())
    return found


def _revive(pools: list[Any]) -> None:
    """Let pools start new threads in a child. The threads that they know exist only in the parent."""
    for pool in pools:
        with suppress(AttributeError):
            pool._threads.clear()
            pool._idle_semaphore = threading.Semaphore(0)
            pool._work_queue = queue.SimpleQueue()


def _read_message(reading: int, until: float) -> list[Any]:
    """Read one message, until ``until`` by ``time.monotonic()``. Raises ``TimeoutError``.

    Returns an empty list if the pipe was closed without a whole message.
    """
    data, size = b"", _SIZE.size
    while len(data) < size:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(reading, 1 << 20)
        if not piece:
            return []
        data += piece
        if len(data) >= _SIZE.size:
            size = _SIZE.size + _SIZE.unpack_from(data)[0]
    return [json.loads(data[_SIZE.size :])]


_READERS = ("_get_proxies", "_get_proxy_settings")
"""The functions of Python's module ``_scproxy``, which exists on macOS alone."""


def read_system_proxies() -> dict[str, dict[str, Any]]:
    """Return the results of ``_READERS``, by their names. Empty on other systems."""
    try:
        system = importlib.import_module("_scproxy")
    except ImportError:
        return {}
    return {name: getattr(system, name)() for name in _READERS}


def keep_system_proxies(known: Mapping[str, dict[str, Any]]) -> None:
    """Let ``_READERS`` return, in a child, what ``read_system_proxies`` returned in its parent.

    Each new client asks the system for its proxies, and the framework of macOS that answers may end a forked process by
    a signal.
    """
    if known:
        for module in (sys.modules["_scproxy"], sys.modules.get("urllib.request")):  # which imported them by name
            for name, value in known.items():
                if hasattr(module, name):
                    setattr(module, name, value.copy)

"""Starts pytest runs in processes that need not import pytest first, which takes longer than most of these runs.

A server process imports pytest, and nothing of Aquila, once. Each run is a fork of it, made to look like a new process
of ``python -m pytest``: with a main module, arguments, a folder, an environment and an import path of its own. This
file is also the program of the server.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import site
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_LIBRARIES = (
    "asyncio",
    "http.client",
    "multiprocessing",
    "pdb",
    "ssl",
    "trio",
    "unittest.mock",
    "xml.etree.ElementTree",
)
"""What most runs load, beside pytest. No client library, which Aquila may have to see being imported."""

_ONE_NUMBER = struct.Struct("=q")


def starting_in_forks(popen: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``Pytester.popen`` that starts runs of pytest whose output goes to files as forks of the server."""

    def start(command: Sequence[str], stdout: Any, stderr: Any, **options: Any) -> Any:
        is_run = tuple(command[:2]) == (sys.executable, "-mpytest") and hasattr(stdout, "fileno")
        if is_run and (server := _server_of(os.getpid())).looks_alike(os.environ):
            return server.start(command[2:], stdout.fileno(), stderr.fileno())
        return popen(command, stdout=stdout, stderr=stderr, **options)

    return start


class _Run:
    """What ``Pytester.run`` needs of a ``subprocess.Popen``."""

    stdin = None

    def __init__(self, pid: int, control: socket.socket) -> None:
        self._pid = pid
        self._control = control

    def wait(self, timeout: float | None = None) -> int:
        self._control.settimeout(timeout)
        try:
            return _receive(self._control)
        except TimeoutError:
            raise subprocess.TimeoutExpired("pytest", timeout or 0) from None

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


class _Server:
    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AQUILA_")}
        environment.pop("PYTHONPATH", None)
        self._read_at_start = _read_at_start(environment)
        self._control, theirs = socket.socketpair()
        with theirs:
            # As a file it would look for modules in its folder first, whose `compression` hides that of Python 3.14.
            begin = "import sys; del sys.path[0]; import runpy; runpy.run_path(sys.argv[1], run_name='__main__')"
            command = [sys.executable, "-c", begin, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def looks_alike(self, environment: Mapping[str, str]) -> bool:
        """Whether a new process with ``environment`` would begin as the server did."""
        return _read_at_start(environment) == self._read_at_start

    def start(self, arguments: Sequence[str], stdout: int, stderr: int) -> _Run:
        folder = os.getcwd()
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))  # as `Pytester.popen` does
        told = {"arguments": list(arguments), "folder": folder, "environment": {**os.environ, "PYTHONPATH": path}}
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps(told).encode())
            file.seek(0)
            self._control.settimeout(None)
            socket.send_fds(self._control, [b" "], [file.fileno(), stdout, stderr])
            return _Run(_receive(self._control), self._control)

    def stop(self, owner: int) -> None:
        if os.getpid() == owner:
            self._control.close()
            self._process.wait()


@functools.cache
def _server_of(process: int) -> _Server:
    """Return the server of this process, so that a fork of it has one of its own."""
    server = _Server()
    atexit.register(server.stop, process)
    return server


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Python reads before it runs anything, and that a fork would therefore pass over."""
    later = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    return {
        name: value
        for name, value in variables.items()
        if name.startswith(("PYTHON", "LC_", "LANG")) and name not in later
    }


def _receive(control: socket.socket) -> int:
    data = control.recv(_ONE_NUMBER.size, socket.MSG_WAITALL)
    if len(data) < _ONE_NUMBER.size:
        raise EOFError("the server of pytest runs has ended")
    number: int = _ONE_NUMBER.unpack(data)[0]
    return number


def _serve(control: socket.socket) -> None:
    """Fork a process for each run, and return in the fork. Ends where nobody asks any more."""
    from _pytest.config import default_plugins

    for name in ("pytest", *(f"_pytest.{plugin}" for plugin in default_plugins), *_LIBRARIES):
        with contextlib.suppress(ModuleNotFoundError):  # some environments of tests/wild lack one
            importlib.import_module(name)
    own_path = sys.path[:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runs
    gc.collect()
    gc.freeze()
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not descriptors:
            sys.exit()
        child = os.fork()
        if not child:
            control.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _become(own_path, *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(_ONE_NUMBER.pack(child))
        control.sendall(_ONE_NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def _become(own_path: list[str], told: int, stdout: int, stderr: int) -> None:
    """Be as a new process of ``python -m pytest`` is when it begins with pytest."""
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    with open(told) as file:
        run = json.load(file)
    os.chdir(run["folder"])
    os.environ.clear()
    os.environ.update(run["environment"])
    sys.argv = ["-m", *run["arguments"]]
    sys.orig_argv = [sys.executable, "-mpytest", *run["arguments"]]
    sys.path[:] = [os.getcwd(), *os.environ["PYTHONPATH"].split(os.pathsep), *own_path]
    if os.environ.get("AQUILA_RUN"):  # as `aquila_guard.pth` does
        importlib.import_module("aquila")
    sys.modules.pop("sitecustomize", None)  # some systems have one, which the server has loaded
    site.execsitecustomize()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[2])))
    run_as_main: Any = runpy._run_module_as_main  # type: ignore[attr-defined]
    run_as_main("pytest")

"""Which call of which client sent a request.

Clients send a request again when it fails. What a program sees is how the last attempt ended, so attempts of one call
have to be told from calls of the program. The call is found in the stack: it is the outermost function of installed
code on the way to the request. That holds for every client, and for the loops that libraries build around one.

Code of the project, and what runs code of the project (pytest, Huey, threads, event loops), ends the search. A project
that is installed for its tests is known by its folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from weakref import ref

from aquila.cassettes.model import Headers, RecordedRequest, first_value
from aquila.cassettes.storage.recording_slots import first_call_of
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    import asyncio

    from aquila.recording import installed_code
else:
    lazy_modules(globals(), "aquila.recording: installed_code")

_RETRY_COUNT = "x-stainless-retry-count"
"""A header in which many SDKs say how often they have sent a request before. A hint where the stack says nothing."""
_RUNNERS = frozenset(
    {"_pytest", "pluggy", "pytest", "huey", "celery", "dramatiq", "rq", "gevent", "uvicorn", "starlette"}
)
"""Packages that call a program, and are no part of its calls."""
_RUNNING_MODULES = frozenset(
    {
        *("asyncio.base_events", "asyncio.events", "asyncio.runners", "concurrent.futures.thread", "threading"),
        *("multiprocessing.process", "trio._core._run", "unittest.case", "aquila.huey.tasks.prompt_tasks"),
    }
)
"""Modules that call a program, in packages that also do other things."""
_MOST_CALLS = 256
"""How many calls with the same request are remembered. The oldest is forgotten first."""


_Job: TypeAlias = "ref[asyncio.Task[Any]] | FrameType"


class ClientCall:
    """One call of a client, and what is known of its attempts so far.

    ``frame`` is the frame of the client's function. The reference keeps it alive: otherwise a later call could get a
    frame at the same address. ``job`` is as ``find_caller`` returns it. ``position`` is that of the recording that
    answered last, and ``has_failed`` says that the last answer was a failure. ``name`` is as in ``NewRecording``.
    """

    # Not a dataclass: creating one takes as long as loading several modules, and every replay loads this.
    __slots__ = ("frame", "has_failed", "job", "name", "position", "retry_count")

    def __init__(self, name: str, frame: FrameType | None, job: _Job | None, retry_count: int | None) -> None:
        self.name = name
        self.frame = frame
        self.job = job
        self.retry_count = retry_count
        self.position = -1
        self.has_failed = False


class OpenCalls:
    """The calls that may send their request once more, by the key of the request.

    Belongs to a session, whose lock guards it. A call is removed when an answer ends it, and all when the session ends.
    """

    def __init__(self) -> None:
        self._number = 0
        self._root = runtime.current_run().layers.root
        self.by_key: dict[str, list[ClientCall]] = defaultdict(list)
        """Read it only to tell whether there are any: mostly there are none."""

    def find_call(self, key: str, request: RecordedRequest) -> ClientCall | None:
        """Find the call that sends ``request`` again, or None if no call that is known does."""
        calls = self.by_key.get(key)
        if not calls:
            return None
        frame, retry_count = find_caller(self._root)[0], _retry_count_of(request.headers)
        # The number of attempts counts second: of equal calls at the same time, it fits others than that of this stack.
        matching = [call for call in calls if call.frame is not None and call.frame is frame] or [
            call for call in calls if retry_count and call.retry_count == retry_count - 1
        ]
        if not matching:
            return None
        call = matching[-1]
        call.retry_count = retry_count
        call.has_failed = False
        return call

    def find_failed_call(self, key: str) -> ClientCall | None:
        """Find the call that failed in the task, thread or test that asks now, or None: the program tries it again."""
        return self._failed_call_of(find_caller(self._root)[1], key) if self.by_key.get(key) else None

    def _failed_call_of(self, job: _Job | None, key: str) -> ClientCall | None:
        calls = reversed(self.by_key.get(key, ()))
        return next((call for call in calls if call.has_failed and call.job is job is not None), None)

    def add_call(self, key: str, request: RecordedRequest) -> ClientCall:
        """Remember the call that sends ``request`` for the first time. It may follow one that has failed."""
        self._number += 1
        frame, job = find_caller(self._root)
        name, follows = f"{self._number}@{id(job() if isinstance(job, ref) else job)}", self._failed_call_of(job, key)
        if follows is not None:
            name = f"{first_call_of(follows.name)}/{self._number}"
            self.forget_call(key, follows.name)
        call = ClientCall(name, frame, job, _retry_count_of(request.headers))
        calls = self.by_key[key]
        calls.append(call)
        del calls[:-_MOST_CALLS]
        return call

    def forget_call(self, key: str, name: str) -> None:
        """Forget a call: it has got an answer that ends it."""
        calls = [call for call in self.by_key.pop(key, ()) if call.name != name]
        if calls:
            self.by_key[key] = calls

    def note_failure(self, key: str, name: str) -> None:
        """Note that a call has got a failure."""
        for call in self.by_key.get(key, ()):
            call.has_failed = call.has_failed or call.name == name

    def rename_keys(self, renamed: Mapping[str, str]) -> None:
        """Move the calls to other keys. Several keys may become one."""
        calls, self.by_key = self.by_key, defaultdict(list)
        for key, same in calls.items():
            self.by_key[renamed.get(key, key)] += same

    def clear(self) -> None:
        """Forget all of them."""
        self.by_key.clear()


@functools.lru_cache(maxsize=256)  # a client sends the same header fields with all its requests
def _retry_count_of(headers: Headers) -> int | None:
    value = first_value(headers, _RETRY_COUNT)
    return int(value) if value.isdecimal() and len(value) < 10 else None


def find_caller(root: Path) -> tuple[FrameType | None, _Job | None]:
    """Find the frame of the function of a client that the program has called to send a request, and the caller's job.

    ``root`` is the folder of the project. The frame is None if the program sends its requests itself. The job is the
    task of asyncio, by a weak reference, because a task keeps all that it uses alive; elsewhere the frame of the
    outermost function that a runner has called, such as that of a thread or a test. It is None without any function of
    the program, as in a server of Aquila's.
    """
    # A private function of CPython; `inspect.stack` would read source files, which takes milliseconds.
    frame: FrameType | None = sys._getframe(1)
    found = job = None
    in_client = True
    while frame is not None:
        whose = _owner_of(frame.f_code.co_filename, frame.f_globals.get("__name__") or "", root)
        if whose == "runner":
            break
        in_client = in_client and whose == "library"
        if in_client:
            found = frame
        job = frame
        frame = frame.f_back
    return found, None if in_client else _current_task() or job


def _current_task() -> ref[asyncio.Task[Any]] | None:
    loaded = sys.modules.get("asyncio")
    find_loop = getattr(loaded, "_get_running_loop", None)  # missing while another thread imports asyncio
    if loaded is None or find_loop is None or find_loop() is None:
        return None
    task = loaded.current_task()
    return None if task is None else ref(task)  # the same object each time, as long as one is kept


@functools.lru_cache(maxsize=4096)  # every request asks for each frame of its stack, and the files do not change
def _owner_of(filename: str, module: str, root: Path) -> Literal["library", "runner", "program"]:
    """Whose code a function is. ``root`` is the folder of the project."""
    package = module.partition(".")[0]
    if package in _RUNNERS or module in _RUNNING_MODULES:
        return "runner"
    if package == "aquila":
        return "library"
    if filename.startswith("<"):  # made by a library, or typed in
        return "program" if module == "__main__" or filename.startswith("<ipython") else "library"
    installed = installed_code.package_of(filename)
    if installed is not None:
        return "program" if installed in packages_of_project(root) else "library"
    return "library" if installed_code.is_standard_library(filename) else "program"


@functools.lru_cache(maxsize=32)
def packages_of_project(root: Path) -> frozenset[str]:
    """The packages and modules whose source is in the folder of a project, or in its ``src``.

    It is asked for when a session opens, since it reads folders. From then on the answer is known.
    """
    names: set[str] = set()
    for folder in (root, root / "src"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:  # many projects have no `src`
            for entry in entries:
                if entry.name.endswith(".py"):
                    names.add(entry.name.removesuffix(".py"))
                elif os.path.isfile(os.path.join(entry.path, "__init__.py")):
                    names.add(entry.name)
    return frozenset(names)

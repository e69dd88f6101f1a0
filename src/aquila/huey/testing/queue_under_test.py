"""The queue of a test: which Huey is under test, where its tasks go, and whether they execute at once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from huey import Huey
from huey.storage import BaseStorage, MemoryStorage

from aquila.errors import ConfigError
from aquila.huey import connections_at_fork
from aquila.huey.instrumenting import change_class, reject_other_than_huey
from aquila.huey.scopes.scope_sharing import collect_misses_of_current_scope
from aquila.huey.testing import real_queues
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.fixture_types import QueueMode, QueueStorage
from aquila.huey.testing.observation import put_under_observation
from aquila.huey.testing.task_execution import run_inline
from aquila.huey.testing.waited_results import wait_for_result, watching_reads
from aquila.intercept.queues import queue_places
from aquila.recording import runtime
from aquila.recording.under_test import under_test
from aquila.setting_lines import place_of_settings, placed_setting, setting_line


@dataclass(frozen=True, slots=True)
class OpenTestQueue:
    """An open test queue in ``storage``. ``production`` is the storage of its Huey outside of tests, or its class."""

    huey: Any
    mode: QueueMode
    production: Any
    storage: Any


class _OpenTestQueues:
    """The test queues of a run, which owns this object. Each is removed when its ``with`` block ends."""

    def __init__(self) -> None:
        self.queues: list[OpenTestQueue] = []  # The innermost is last.


def _open_queues() -> list[OpenTestQueue]:
    return runtime.current_run().state_of(_OpenTestQueues).queues


def innermost_test_queue(huey: Any = None) -> OpenTestQueue | None:
    """Return the innermost open test queue, of ``huey`` or of any Huey, or None."""
    for queue in reversed(_open_queues()):
        if huey is None or queue.huey is huey:
            return queue
    return None


def make_innermost(huey: Any) -> None:
    """Make the test queue of a Huey the innermost one, which functions use that are given no Huey."""
    queue = innermost_test_queue(huey)
    if queue is not None:
        queues = _open_queues()
        queues.remove(queue)
        queues.append(queue)


def storages_in_use() -> list[Any]:
    """Return the storages into which the Hueys under test put their jobs now, one for each Huey."""
    innermost = {id(queue.huey): queue.storage for queue in _open_queues()}
    return list(innermost.values())


def is_put_aside(storage: Any) -> bool:
    """Whether a storage is that of a Huey outside of tests, and a test queue is in its place."""
    return any(queue.production is storage for queue in _open_queues())


def huey_under_test(huey: Any = None, queue: str | None = None) -> Any:
    """Return ``huey``; without it the Huey under test with the name ``queue``, or the innermost one.

    Raises ``ConfigError`` where none is under test, and where ``huey`` has another name than ``queue``.
    """
    if huey is not None:
        if queue is not None and huey.name != queue:
            raise ConfigError(
                f"queue={queue!r} names another Huey than {huey.name!r}, to which the task belongs: leave it out"
            )
        return huey
    found = _find_queue_named(queue) if queue is not None else innermost_test_queue()
    if found is None:
        file = runtime.current_run().layers.settings_file
        raise ConfigError(
            "no Huey is under test: use the fixtures of pytest-aquila (set "
            f"{placed_setting('huey', 'myapp.tasks:huey', file)}), or open "
            "`with aquila.huey.testing.use_test_queue(huey):`"
        )
    return found.huey


def open_queue_of(huey: Any = None, queue: str | None = None) -> OpenTestQueue:
    """Return the innermost test queue of the Huey that ``huey_under_test`` returns.

    Raises ``ConfigError`` as that does, and for a Huey that has none.
    """
    found = innermost_test_queue(huey_under_test(huey, queue))
    if found is None:
        reject_other_than_huey(huey)
        raise ConfigError(f"the Huey {huey.name!r} is not under test. {_advise_to_name()}")
    return found


def _find_queue_named(name: str) -> OpenTestQueue:
    queues = _open_queues()
    for queue in reversed(queues):
        if queue.huey.name == name:
            return queue
    names = ", ".join(sorted({repr(queue.huey.name) for queue in queues})) or "none"
    raise ConfigError(f"no Huey of the name {name!r} is under test (there is: {names}). {_advise_to_name()}")


def _advise_to_name() -> str:
    file = runtime.current_run().layers.settings_file
    return (
        f"Name it in {place_of_settings(file)} too, as {setting_line('huey', 'myapp:huey myapp:other', file)}, or open "
        "`with aquila.huey.testing.use_test_queue(huey):`"
    )


@contextlib.contextmanager
def use_test_queue(
    huey: Huey,
    mode: QueueMode = "manual",
    *,
    storage: QueueStorage | BaseStorage = "memory",
) -> Iterator[Any]:
    """Put a Huey under test until the block ends: its queue is empty, and separate from the real one.

    - ``mode``: with ``manual`` an enqueued task stays in the queue, so that the test can assert on it, perform it or
      drain the queue. With ``inline`` it executes at once, after the same round trip over the wire as a real one, and
      its exception reaches the caller when no retry is left. A task that is scheduled for later waits for
      ``drain_queue(with_scheduled=True)``.
    - ``storage``: ``memory`` keeps everything in a fresh memory storage, and leaves the real queue untouched. ``own``
      uses the storage of the Huey, **and empties it first**. A storage object of Huey is used as it is. A connection to
      a database that was closed before is closed again at the end of the block.

    A Huey that is not one of ``aquila.huey`` is instrumented until the block ends. Test queues nest, and ``immediate``
    is off while one is open. Yields the Huey. Raises ``ConfigError`` for another mode or storage, and for an object
    that is not a Huey.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):    # an empty queue, apart from the real one
        ...     result = divide(6, 3)
        ...     drain_queue().runs[0].value
        2.0
    """
    with _open_test_queue(huey, mode, storage):
        yield huey


def ensure_test_queue(huey: Any) -> AbstractContextManager[OpenTestQueue]:
    """Return a context manager of the test queue of a Huey. If it has none, one is open until the block ends."""
    queue = innermost_test_queue(huey)
    return contextlib.nullcontext(queue) if queue is not None else _open_test_queue(huey, "manual", "memory")


@contextlib.contextmanager
def _open_test_queue(huey: Any, mode: QueueMode, storage: QueueStorage | BaseStorage) -> Iterator[OpenTestQueue]:
    if mode not in ("manual", "inline"):
        hint = ". For another Huey than those under test open aquila.huey.testing.use_test_queue(huey)"
        raise ConfigError(
            f"the mode of use_test_queue is 'manual' or 'inline', not {mode!r}{hint if isinstance(mode, Huey) else ''}"
        )
    outer = innermost_test_queue(huey)
    reject_other_than_huey(huey)
    own = outer.production if outer is not None and isinstance(outer.production, BaseStorage) else huey.storage
    used = MemoryStorage(huey.name) if storage == "memory" else own if storage == "own" else storage
    if not isinstance(used, BaseStorage):
        raise ConfigError(f"storage= is 'memory', 'own' or a storage of Huey, not {storage!r}")
    production = outer.production if outer else _production_storage(huey)
    # The private `_immediate`, because `huey.immediate = False` would build a new storage and lose the pending tasks.
    # `create_storage` is replaced for a program that sets `immediate` within the block: Huey would build the real one.
    replaced = replace_attributes(huey, storage=used, create_storage=lambda: used, _immediate=False)
    waits = {"wait_result": functools.partial(wait_for_result, huey)} if isinstance(used, MemoryStorage) else {}
    replaced_waits = replace_attributes(used, **waits)
    with (
        connections_at_fork.closing_again(used),
        under_test(),
        _put_under_test(huey),
        replaced,
        replaced_waits,
        watching_reads(),
    ):
        if storage == "own":
            huey.flush()
        queue = OpenTestQueue(huey, mode, production, used)
        queues = _open_queues()
        queues.append(queue)
        _tell_child_processes()
        try:
            with run_inline(huey) if mode == "inline" else contextlib.nullcontext():
                yield queue
            if not isinstance(used, MemoryStorage):
                collect_misses_of_current_scope(huey)
        finally:
            queues.remove(queue)
            _tell_child_processes()


def _tell_child_processes() -> None:
    """Let child processes put jobs where they can be seen: into the test queues that are not in memory."""
    real_queues.let_child_processes_enqueue(
        [queue_places.name_place(storage) for storage in storages_in_use() if queue_places.is_real(storage)]
    )


@contextlib.contextmanager
def _put_under_test(huey: Any) -> Iterator[None]:
    """Until the block ends, give a Huey a class that observes its tasks and that is one of Aquila's."""
    kind, wrapper = type(huey), huey.task_wrapper_class
    change_class(huey)
    put_under_observation(huey)
    try:
        yield
    finally:
        huey.__class__, huey.task_wrapper_class = kind, wrapper


def _production_storage(huey: Any) -> Any:
    """Return the storage to which tasks go outside of tests, or its class where immediate mode has replaced it."""
    if huey.immediate and huey.immediate_use_memory and huey.storage_class is not None:
        return huey.storage_class
    return huey.storage

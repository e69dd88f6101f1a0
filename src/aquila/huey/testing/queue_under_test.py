"""Testing modes: which Huey is under test, where its tasks go, and whether they run at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huey import Huey
from huey.storage import BaseStorage, MemoryStorage

from aquila.errors import ConfigError
from aquila.huey.instances import instrument
from aquila.huey.scope_sharing import collect_misses_of_current_scope
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.fixture_types import QueueMode, QueueStorage
from aquila.huey.testing.task_execution import put_under_observation, run_inline


@dataclass(frozen=True, slots=True)
class OpenTestQueue:
    """A testing mode that is open.

    ``production`` is the storage that the Huey has outside of it.
    """

    huey: Any
    mode: QueueMode
    production: Any


_open_queues: list[OpenTestQueue] = []  # The innermost is last.


def innermost_test_queue(huey: Any = None) -> OpenTestQueue | None:
    """The innermost open testing mode, of ``huey`` or of any."""
    return next((mode for mode in reversed(_open_queues) if huey is None or mode.huey is huey), None)


def huey_under_test(huey: Any = None) -> Any:
    """Return ``huey``, or the one whose testing mode is open. Raises ``ConfigError`` when there is neither."""
    if huey is not None:
        return huey
    mode = innermost_test_queue()
    if mode is None:
        raise ConfigError(
            'no Huey is under test: use the fixtures of pytest-aquila (set `aquila_huey = "myapp.tasks:huey"` in the '
            "ini file), or open `with aquila.huey.testing.use_test_queue(huey):`"
        )
    return mode.huey


@contextlib.contextmanager
def use_test_queue(
    huey: Huey,
    mode: QueueMode = "manual",
    *,
    storage: QueueStorage | BaseStorage = "memory",
) -> Iterator[Any]:
    """Put a Huey under test: its queue is empty, and stays apart from the real one.

    ``mode``: with ``manual`` a task that is enqueued stays in the queue, to be asserted on, performed or drained; with
    ``inline`` it runs at once, after the same way over the wire as a real one, and its exception reaches the caller
    when no retry is left. Inline, too, what is scheduled for later waits for ``drain_queue(with_scheduled=True)``.

    ``storage``: ``memory`` keeps everything in a fresh memory storage; ``own`` uses the storage of the Huey, **and
    empties it first**; or a storage to use. What was pending before is untouched by ``memory``.

    A Huey that is none of Aquila's is instrumented for the while, so that its tasks carry the cassette of the test to
    any worker.

    Yields the Huey. Modes nest; ``immediate`` is off while one is open, and as before afterwards.
    """
    if mode not in ("manual", "inline"):
        raise ConfigError(f"use_test_queue knows 'manual' and 'inline', not {mode!r}")
    outer = innermost_test_queue(huey)
    used = MemoryStorage(huey.name) if storage == "memory" else huey.storage if storage == "own" else storage
    if not isinstance(used, BaseStorage):
        raise ConfigError(f"storage= is 'memory', 'own' or a storage of Huey, not {storage!r}")
    production = outer.production if outer else _production_storage(huey)
    # Not `huey.immediate = False`: that would build a new storage and lose what is pending.
    with _put_under_test(huey), replace_attributes(huey, storage=used, _immediate=False):
        if storage == "own":
            huey.flush()
        opened = OpenTestQueue(huey, mode, production)
        _open_queues.append(opened)
        try:
            with run_inline(huey) if mode == "inline" else contextlib.nullcontext():
                yield huey
            if not isinstance(used, MemoryStorage):
                collect_misses_of_current_scope(huey)
        finally:
            _open_queues.remove(opened)


@contextlib.contextmanager
def ensure_test_queue(huey: Any) -> Iterator[OpenTestQueue]:
    """Open a test queue for a moment, unless the Huey has one already."""
    if (queue := innermost_test_queue(huey)) is not None:
        yield queue
        return
    with use_test_queue(huey):
        yield _open_queues[-1]


@contextlib.contextmanager
def _put_under_test(huey: Any) -> Iterator[None]:
    """Give a Huey the class that observes its tasks, which is one of Aquila's too, for a while."""
    kind, wrapper = type(huey), huey.task_wrapper_class
    instrument(huey)
    put_under_observation(huey)
    try:
        yield
    finally:
        huey.__class__, huey.task_wrapper_class = kind, wrapper


def _production_storage(huey: Any) -> Any:
    """The storage that tasks go to outside of tests, or its class: under ``immediate`` a memory storage hides it."""
    if huey._immediate and huey.immediate_use_memory and huey.storage_class is not None:
        return huey.storage_class
    return huey.storage

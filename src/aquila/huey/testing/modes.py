"""Testing modes: which Huey is under test, where its tasks go, and whether they run at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from huey import Huey
from huey.storage import BaseStorage, MemoryStorage

from aquila.errors import ConfigError
from aquila.huey.cassette_stamp import collect_misses_here
from aquila.huey.instances import instrument
from aquila.huey.testing.attribute_patches import shadow
from aquila.huey.testing.task_run import running_inline

Mode: TypeAlias = Literal["manual", "inline"]
Storage: TypeAlias = Literal["memory", "own"]


@dataclass(frozen=True, slots=True)
class Active:
    """A testing mode that is open.

    ``production`` is the storage that the Huey has outside of it.
    """

    huey: Any
    mode: Mode
    production: Any


_open: list[Active] = []  # The innermost is last.


def active(huey: Any = None) -> Active | None:
    """The innermost open testing mode, of ``huey`` or of any."""
    return next((mode for mode in reversed(_open) if huey is None or mode.huey is huey), None)


def current_huey(huey: Any = None) -> Any:
    """Return ``huey``, or the one whose testing mode is open. Raises ``ConfigError`` when there is neither."""
    if huey is not None:
        return huey
    mode = active()
    if mode is None:
        raise ConfigError(
            'no Huey is under test: use the fixtures of pytest-aquila (set `aquila_huey = "myapp.tasks:huey"` in the '
            "ini file), or open `with aquila.huey.testing.testing_mode(huey):`"
        )
    return mode.huey


@contextlib.contextmanager
def testing_mode(
    huey: Huey,
    mode: Mode = "manual",  # noqa: PT028 -- the name begins like a test's, and it is none
    *,
    storage: Storage | BaseStorage = "memory",  # noqa: PT028
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
        raise ConfigError(f"testing_mode knows 'manual' and 'inline', not {mode!r}")
    outer = active(huey)
    used = MemoryStorage(huey.name) if storage == "memory" else huey.storage if storage == "own" else storage
    if not isinstance(used, BaseStorage):
        raise ConfigError(f"storage= is 'memory', 'own' or a storage of Huey, not {storage!r}")
    production = outer.production if outer else _production_storage(huey)
    # Not `huey.immediate = False`: that would build a new storage and lose what is pending.
    with _instrumented(huey), shadow(huey, storage=used, _immediate=False):
        if storage == "own":
            huey.flush()
        opened = Active(huey, mode, production)
        _open.append(opened)
        try:
            with running_inline(huey) if mode == "inline" else contextlib.nullcontext():
                yield huey
            if not isinstance(used, MemoryStorage):
                collect_misses_here(huey)
        finally:
            _open.remove(opened)


vars(testing_mode)["__test__"] = False  # pytest would collect it in a test module that imports it.


@contextlib.contextmanager
def under_test(huey: Any) -> Iterator[None]:
    """Open a manual mode for a moment, unless the Huey is under test already."""
    with contextlib.nullcontext() if active(huey) else testing_mode(huey):
        yield


@contextlib.contextmanager
def _instrumented(huey: Any) -> Iterator[None]:
    kind, wrapper = type(huey), huey.task_wrapper_class
    instrument(huey)
    try:
        yield
    finally:
        huey.__class__, huey.task_wrapper_class = kind, wrapper


def _production_storage(huey: Any) -> Any:
    """The storage that tasks go to outside of tests, or its class: under ``immediate`` a memory storage hides it."""
    if huey._immediate and huey.immediate_use_memory and huey.storage_class is not None:
        return huey.storage_class
    return huey.storage

"""Checks each job before it is enqueued, and words the refusal of a job for a real queue.

Testing mode uses it. In the process of the tests ``huey.testing.real_queues`` decides about a job, in child processes
``parent_queues`` does. This module is loaded before Huey and must not import it, because many runs of tests have no
jobs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila import setting_lines
from aquila.errors import CassetteRequired, SessionClosed
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.intercept.queues import queue_places
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.wildcards import fits_pattern

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.network import guard
else:
    lazy_modules(globals(), "aquila.recording: scope as scopes", "aquila.recording.network: guard")


class TestingMode:
    """Whether a run is in testing mode itself. The run owns this object."""

    is_on = False


_let_through: ContextVar[Any] = ContextVar("aquila_let_through", default=None)
"""The storage into which a Huey is putting a job that was let through. None outside of such a call."""


_NOT_REAL = ("BaseStorage", "BlackHoleStorage", "MemoryStorage")
"""Storages of ``huey.storage`` that hand no job to another process, so jobs may enter them unchecked."""


def make_patches(check: Callable[[Any, Any], None], check_storage: Callable[[Any, Any], None]) -> PatchSet:
    """Return patches of Huey's classes that check each job before it enters a queue.

    ``check`` gets each Huey and task before the task is enqueued or scheduled. ``check_storage`` gets each storage and
    message if the message does not come from a Huey that ``check`` has let through. If one of them raises, the job
    does not enter the queue.
    """

    def check_before(enqueue: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        @functools.wraps(enqueue)
        def check_and_enqueue(self: Any, task: Any) -> Any:
            __tracebackhide__ = True
            check(self, task)
            before = _let_through.set(self.storage)
            try:
                return enqueue(self, task)
            finally:
                _let_through.reset(before)

        return check_and_enqueue

    def check_before_storing(store: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(store)
        def check_and_store(self: Any, data: Any, *options: Any, **named: Any) -> Any:
            __tracebackhide__ = True
            allowed = _let_through.get()
            if allowed is not self and (allowed is None or not queue_places.hands_on_to(allowed, self)):
                check_storage(self, data)
            return store(self, data, *options, **named)

        return check_and_store

    def patch_huey(module: ModuleType) -> list[Patch]:
        return [Patch(module.Huey, name, check_before) for name in ("enqueue", "add_schedule")]

    def patch_aquila_huey(module: ModuleType) -> list[Patch]:
        # Patched besides Huey's method, because it writes to the storage before it calls that method: the claim of a
        # unique job, and the summary of a published job.
        return [Patch(module.AquilaHuey, "enqueue", check_before)]

    def patch_storages(module: ModuleType) -> list[Patch]:
        return [
            Patch(kind, name, check_before_storing)
            for kind in vars(module).values()
            if isinstance(kind, type) and kind.__module__ == module.__name__ and kind.__name__ not in _NOT_REAL
            for name in ("enqueue", "add_to_schedule")
            if name in vars(kind)
        ]

    libraries = dict.fromkeys(("huey.storage", "huey.contrib.sql_huey", "huey.contrib.valkey_glide"), patch_storages)
    return PatchSet(ImportHooks(), {**libraries, "huey.api": patch_huey, "aquila.huey.instances": patch_aquila_huey})


def is_in_testing_mode() -> bool:
    """Whether a run of tests in this process is in testing mode, and decides about jobs itself."""
    return any(run.state_of(TestingMode).is_on for run in runtime.runs_in_force())


def lets_jobs_through(name: str) -> bool:
    """Whether ``ignore_hueys`` lets the jobs for a Huey of this name through here."""
    try:
        settings = scopes.find_surroundings().settings
    except (SessionClosed, CassetteRequired):  # no scope is in force here, so the settings of the run apply
        settings = runtime.current_settings()
    return any(fits_pattern(name, pattern) for pattern in settings.ignore_hueys)


def make_refusal(owner: Any, job: str, which_run: str, advice: str) -> BaseException:
    """Make the error for a job that may not go into the real queue of ``owner``, a Huey or a storage.

    ``which_run`` names the run that is in testing mode. ``advice`` says how to keep the job out of that queue.
    """
    file = runtime.current_run().layers.settings_file
    setting = setting_lines.setting_line("ignore_hueys", owner.name, file)
    what = f"a job for the queue of the {type(owner).__name__} {owner.name!r}"
    return guard.make_refusal(
        f"{what} was refused: it is real, and {which_run} is in testing mode\n"
        "\n"
        f"  job        {job}\n"
        f"{guard.line_of_test()}"
        "\n"
        f"{advice}\n"
        f"To let jobs into its real queue: {setting} in {setting_lines.place_of_settings(file)}, or "
        f"@pytest.mark.aquila(ignore_hueys={owner.name!r}) on the test.",
    )

"""Sees each job before it is enqueued, and words the refusal of one for a real queue.

Testing mode needs that in the process of the tests, where ``huey.testing.real_queues`` decides about a job, and in its
child processes, where ``parent_queues`` does. This module is loaded before Huey and must not import it: a run of tests
without jobs would pay for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from fnmatch import fnmatchcase
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteRequired, SessionClosed
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.network import guard
else:
    lazy_modules(globals(), guard="aquila.recording.network.guard", scopes="aquila.recording.scope")


def make_patches(check: Callable[[Any, Any], None]) -> PatchSet:
    """Return patches of Huey's classes by which ``check`` gets each Huey and task before that is enqueued.

    What ``check`` raises keeps the task out of the queue.
    """

    def check_before(enqueue: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        @functools.wraps(enqueue)
        def check_and_enqueue(self: Any, task: Any) -> Any:
            __tracebackhide__ = True
            check(self, task)
            return enqueue(self, task)

        return check_and_enqueue

    def patch_huey(module: ModuleType) -> list[Patch]:
        return [Patch(module.Huey, "enqueue", check_before)]

    def patch_aquila_huey(module: ModuleType) -> list[Patch]:
        # Patched as well as Huey's method, because it writes to the storage before it calls that: the claim of a unique
        # job, and the summary of a published one.
        return [Patch(module.AquilaHuey, "enqueue", check_before)]

    return PatchSet(ImportHooks(), {"huey.api": patch_huey, "aquila.huey.instances": patch_aquila_huey})


def is_ignored(name: str) -> bool:
    """Whether ``ignore_hueys`` lets the jobs for a Huey of this name through here."""
    try:
        settings = scopes.find_surroundings().settings
    except (SessionClosed, CassetteRequired):  # No scope is in force here, so the settings of the run count.
        settings = runtime.current_settings()
    return any(fnmatchcase(name, pattern) for pattern in settings.ignore_hueys)


def make_refusal(huey: Any, job: str, which_run: str, advice: str) -> BaseException:
    """Make the error for a job that may not go into the real queue of ``huey``.

    ``which_run`` says what is in testing mode, and ``advice`` what to do if the job is to be kept out of that queue.
    """
    what = f"a job for the queue of the {type(huey).__name__} {huey.name!r}"
    return guard.make_refusal(
        what,
        f"{what} was refused: it is real, and {which_run} is in testing mode\n"
        "\n"
        f"  job        {job}\n"
        f"  test       {runtime.current_run().test_name or 'none is running'}\n"
        "\n"
        f"{advice}\n"
        f"To let jobs into its real queue: aquila_ignore_hueys = {huey.name} in the ini file, or "
        f"@pytest.mark.aquila(ignore_hueys={huey.name!r}) on the test.",
    )

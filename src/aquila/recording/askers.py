"""For which test a thread works, if for any: what no test started must not fail the one that happens to run.

A thread works for the test that started it. What is handed to an executor, an event loop or a portal works for the test
that handed it over, whoever started the thread there. What a shared fixture, an import or a plugin started works for
none, and so does what has outlived its test.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aquila.recording import places
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    # Loaded with the first thread of a run, which may use no cassette.
    lazy_modules(globals(), places="aquila.recording.places", scopes="aquila.recording.scope")

NOBODY = runtime.Asker(None, is_test=False)
"""Stands for no test."""

_ATTRIBUTE = "_aquila_asker"
"""Where a thread keeps for which test it was started."""
_RUN_ATTRIBUTE = "_aquila_run"


def find_asker() -> runtime.Asker:
    """The mark of the test for which this thread works, or ``NOBODY``."""
    run = runtime.current_run()
    if threading.get_ident() == run.thread:
        return run.test.mark if run.test is not None else NOBODY
    handed = runtime.asker.get()
    if handed is not None:
        return handed
    return getattr(threading.current_thread(), _ATTRIBUTE, NOBODY)


def mark_thread(thread: threading.Thread) -> None:
    """Let a thread that is about to start know for which test it is started, and in which run."""
    setattr(thread, _ATTRIBUTE, find_asker())
    setattr(thread, _RUN_ATTRIBUTE, runtime.current_run())


def mark_and_start(start: Callable[[threading.Thread], None], thread: threading.Thread) -> None:
    """Mark a thread, then start it with ``start``. Takes the place of ``Thread.start``."""
    mark_thread(thread)
    start(thread)


def run_of(thread: threading.Thread) -> object:
    """The run in which a thread was started, or None if that is not known."""
    return getattr(thread, _RUN_ATTRIBUTE, None)


@contextlib.contextmanager
def working_for(asker: runtime.Asker) -> Iterator[None]:
    """Say until the block ends for which test this context works."""
    before = runtime.asker.get()
    runtime.asker.set(asker)
    try:
        yield
    finally:
        runtime.asker.set(before)


def is_unasked() -> bool:
    """Whether a request that is made here, in a run of tests, comes from what the running test has not started."""
    run = runtime.current_run()
    if run.make_outcome is None or run.test is None or scopes.bound_scope.get() is not None or not run.is_here:
        return False
    return find_asker() is not run.test.mark


def find_earlier_test(scope: Scope) -> str | None:
    """The id of the test that has left what makes a request here, if ``scope`` began after it, in the running test.

    What a fixture that tests share has started works for all of them. None for that, and for the running test's own.
    """
    run = scope.run
    if run.make_outcome is None or run.test is None or scope.began_for is not run.test.mark or not run.is_here:
        return None
    if scopes.bound_scope.get() is not None:
        return None
    asker = find_asker()
    if asker is run.test.mark:
        # A loop that several tests share runs what a test has left, in the thread of the next one. What another waits
        # for is its own: a runner keeps the context in which it was made.
        begun_for = runtime.asker.get()
        if begun_for is None or begun_for is asker or not places.is_in_background_task():
            return None
        asker = begun_for
    return asker.name if asker.is_test else None

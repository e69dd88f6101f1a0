"""Finds out for which test a thread works, so that a request of another test's thread does not fail the running test.

A thread works for the test that started it. Work that is handed to an executor, an event loop or a portal belongs to
the test that handed it over, whoever started the thread there. A thread that a shared fixture, an import or a plugin
started works for no test, and neither does one that has outlived its test.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aquila.recording import miss_outcomes
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    # Loaded with the first thread of a run, which may use no cassette.
    lazy_modules(globals(), "aquila.recording: miss_outcomes, scope as scopes")

NOBODY = runtime.Asker(None, is_test=False)
"""The mark of code that works for no test."""

_ATTRIBUTE = "_aquila_asker"
"""The attribute of a ``Thread`` object that holds the mark of what it was started for. It goes with the object.

Not a context variable: a thread does not inherit the context in which it was started, unless Python is told to.
"""
_INHERITS = getattr(sys.flags, "thread_inherit_context", False)
"""Whether threads inherit that context, as in free-threaded Python from 3.14 on, and with an option of ``-X``."""
_RUN_ATTRIBUTE = "_aquila_run"
"""The attribute of a ``Thread`` object that holds the run in which it was started."""


def find_asker() -> runtime.Asker:
    """Return the mark of the test, or of the shared fixture, for which this thread works; else ``NOBODY``."""
    run = runtime.current_run()
    if threading.get_ident() == run.thread:
        return run.test.mark if run.test is not None else NOBODY
    handed = runtime.asker.get()
    if handed is not None:
        return handed
    return getattr(threading.current_thread(), _ATTRIBUTE, NOBODY)


def mark_thread(thread: threading.Thread) -> None:
    """Mark a thread that is about to start with the test for which it is started, and with the current run."""
    setattr(thread, _ATTRIBUTE, find_asker())
    setattr(thread, _RUN_ATTRIBUTE, runtime.current_run())


def mark_and_start(start: Callable[[threading.Thread], None], thread: threading.Thread) -> None:
    """Mark a thread, then start it. Patched in place of ``threading.Thread.start``; ``start`` is the original."""
    mark_thread(thread)
    # Private to `threading`, which copies the context too late to change the copy. It is None if the caller gave none.
    if _INHERITS and getattr(thread, "_context", thread) is None:
        thread._context = _context_without_marks()  # type: ignore[attr-defined]
    start(thread)


def _context_without_marks() -> Context:
    """Return a copy of this context without Aquila's own variables, for a thread.

    An executor's thread works for whoever hands it work later. If it inherited a scope, it would make its requests
    there for ever, and if it inherited the mark of a request of Aquila's own, it would be let through to the network.
    """
    context = Context()
    for variable, value in copy_context().items():
        if not variable.name.startswith("aquila_"):
            context.run(variable.set, value)
    return context


def run_of(thread: threading.Thread) -> object:
    """The run in which a thread was started, or None if that is not known."""
    return getattr(thread, _RUN_ATTRIBUTE, None)


@contextlib.contextmanager
def working_for(asker: runtime.Asker) -> Iterator[None]:
    """Let this context work for ``asker`` until the block ends."""
    # Not by a token: `ContextVar.reset` raises if the block ends in another context, as a generator's may.
    before = runtime.asker.get()
    _held = runtime.hold_values()
    runtime.asker.set(asker)
    try:
        yield
    finally:
        _held = runtime.hold_values()
        runtime.asker.set(before)


def is_unasked() -> bool:
    """Say whether a request that is made here, in a run of tests, comes from code that the test did not start."""
    run = runtime.current_run()
    if run.make_outcome is None or run.test is None or scopes.bound_scope.get() is not None or not run.is_here:
        return False
    return find_asker() is not run.test.mark


def find_earlier_test(scope: Scope) -> str | None:
    """Return the id of the earlier test whose leftover code makes a request in ``scope``, a scope of the running test.

    Returns None for code of the running test, and for code of a shared fixture, which works for all its tests.
    """
    run = scope.run
    if run.make_outcome is None or run.test is None or scope.began_for is not run.test.mark or not run.is_here:
        return None
    if scopes.bound_scope.get() is not None:
        return None
    asker = find_asker()
    if asker is run.test.mark:
        # An event loop that several tests share runs the leftover tasks of one test in the thread of the next. The
        # context of a task names its test. It decides only for background tasks: `asyncio.Runner` runs the code of all
        # tests in the context in which the runner itself was made.
        begun_for = runtime.asker.get()
        if begun_for is None or begun_for is asker or not miss_outcomes.is_in_background_task():
            return None
        asker = begun_for
    return asker.name if asker.is_test else None

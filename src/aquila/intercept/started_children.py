"""What is done when a test starts a child process: only now there has to be a folder for what it may tell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording.reporting import child_misses
else:
    lazy_modules(globals(), child_misses="aquila.recording.reporting.child_misses")


def prepare_for_children() -> None:
    """Make the folder for messages of child processes, if a test runs. Of a process that no test starts none fails."""
    run = runtime.current_run()
    # Not in a child, nor where a test has replaced `os.getpid`: nobody would remove the folder.
    if run.test is not None and run.test.has_begun and run.process == os.getpid():
        # Nowhere to put it, or a test has replaced `open`: a program is not to end for that.
        with contextlib.suppress(Exception):
            child_misses.misses_folder(run)


def prepare_and_start(start: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Start a process with ``start``, the original of a function that does."""
    __tracebackhide__ = True  # pytest shows no such frame
    prepare_for_children()
    return start(*arguments, **options)


def go_on(*, in_child: bool) -> None:
    """After a fork: if that was made before the setup of a test, the test itself runs in the child.

    So do plugins that run each test in a process of its own, such as pytest-forked.
    """
    run = runtime.current_run()
    if in_child and run.make_outcome is not None and run.test is not None and not run.test.has_begun:
        run.process = os.getpid()

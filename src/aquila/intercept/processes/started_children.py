"""Prepares for child processes when one is started, and a forked child for the run of tests that it belongs to.

A child gets the environment of the scopes that are open, and a folder for its messages.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.intercept import activation
    from aquila.recording.reporting import child_messages
else:
    lazy_modules(globals(), "aquila.intercept: activation", "aquila.recording.reporting: child_messages")


def prepare_for_children() -> None:
    """Restore the environment that the last scope has left, and make the folder for messages of child processes.

    So a child that is started between two tests is not told of the test before, whose scope has closed. The folder is
    made only if a test runs: otherwise no child can make a test fail.
    """
    activation.interception().restore_environment()
    run = runtime.current_run()
    # Not in a child, nor if a test has replaced `os.getpid`: then nothing would remove the folder.
    if run.test is not None and run.test.has_begun and run.process == os.getpid():
        # The folder cannot be made, or a test has replaced `open`. The program must start its process nevertheless.
        with contextlib.suppress(Exception):
            child_messages.messages_folder(run)


def prepare_and_start(start: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Prepare, and call ``start``, the original of a patched function that starts a process."""
    __tracebackhide__ = True  # pytest leaves out such a frame
    prepare_for_children()
    return start(*arguments, **options)


def adjust_forked_child(*, in_child: bool) -> None:
    """After a fork: let the child ask the scripts that are lent to it. In the parent, do nothing.

    If the setup of the test has not begun yet, the run moves to the child, because the test itself runs there: plugins
    such as pytest-forked run each test in a process of its own.
    """
    run = runtime.current_run()
    if in_child and "scopes" in vars(run):  # else there were none yet
        for scope in run.scopes.unclosed():
            scope.scripts.use_lent()
    if in_child and run.make_outcome is not None and run.test is not None and not run.test.has_begun:
        run.process = os.getpid()

"""Prepares for child processes when one is started: makes the folder for their messages."""

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
    """Make the folder for messages of child processes, if a test runs. Otherwise no child can make a test fail.

    A child that is started between two tests is not told of the test before, whose scope has closed.
    """
    activation.interception().restore_environment()
    run = runtime.current_run()
    # Not in a child, nor if a test has replaced `os.getpid`: then nothing would remove the folder.
    if run.test is not None and run.test.has_begun and run.process == os.getpid():
        # The folder cannot be made, or a test has replaced `open`. The program must start its process nevertheless.
        with contextlib.suppress(Exception):
            child_messages.messages_folder(run)


def prepare_and_start(start: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Make the folder, and call ``start``, the original of a patched function that starts a process."""
    __tracebackhide__ = True  # pytest leaves out such a frame
    prepare_for_children()
    return start(*arguments, **options)


def go_on(*, in_child: bool) -> None:
    """After a fork: let the child ask the scripts that are lent to it.

    Note that the test itself runs in the child if its setup has not begun yet: plugins such as pytest-forked run each
    test in a process of its own.
    """
    run = runtime.current_run()
    if in_child and "scopes" in vars(run):  # else there were none yet
        for scope in run.scopes.unclosed():
            scope.scripts.use_lent()
    if in_child and run.make_outcome is not None and run.test is not None and not run.test.has_begun:
        run.process = os.getpid()

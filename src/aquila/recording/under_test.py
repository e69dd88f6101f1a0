"""Whether this process takes part in tests, and whose references to a scope it believes.

A queue is open to whoever can write to it. So a process joins the scope of another one only if it was told to take part
in tests: it runs pytest, a test has started it, a test queue or ``run_consumer`` is open in it, or its own environment
says ``AQUILA_UNDER_TEST=1``. A reference carries a seal with a key that the processes of one run share, that of
``runtime.RunKey``. It is told to child processes in their environment, never over a queue.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from aquila.recording import runtime

VARIABLE = "AQUILA_UNDER_TEST"


def is_set_by_environment() -> bool:
    """Whether the environment of this process says ``AQUILA_UNDER_TEST=1``."""
    return os.environ.get(VARIABLE) == "1"


def is_under_test() -> bool:
    """Whether the run in force takes part in tests."""
    run = runtime.current_run()
    return run.layers.under_pytest or bool(run.state_of(_OpenBlocks).marks)


@contextlib.contextmanager
def under_test() -> Iterator[None]:
    """Let the run in force, and what is forked meanwhile, take part in tests until the block ends."""
    marks = runtime.current_run().state_of(_OpenBlocks).marks
    # A list and not a counter: `append` and `pop` are atomic, `+= 1` is not, and threads may open blocks at once.
    marks.append(None)
    try:
        yield
    finally:
        marks.pop()


class _OpenBlocks:
    """The blocks of ``under_test`` that are open in a run, which owns this object. Each block removes its mark."""

    def __init__(self) -> None:
        self.marks: list[None] = []

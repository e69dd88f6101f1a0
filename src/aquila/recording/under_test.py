"""Whether this process takes part in tests, and whose references to a scope it believes.

A queue is open to whoever can write to it. So a process joins the scope of another one only if it was told to take part
in tests: it runs pytest, a test has started it, a test queue or ``run_consumer`` is open in it, or its own environment
says ``AQUILA_UNDER_TEST=1``. A reference carries a seal with a key that the processes of one run share. It is told to
child processes in their environment, never over a queue.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    import hmac
else:
    lazy_modules(globals(), hmac="hmac")

VARIABLE = "AQUILA_UNDER_TEST"

SEAL_LENGTH = 32
"""Characters of a seal."""


def is_told_by_environment() -> bool:
    """Whether the variable of this process says that it takes part in tests."""
    return os.environ.get(VARIABLE) == "1"


def is_under_test() -> bool:
    """Whether the run in force takes part in tests."""
    run = runtime.current_run()
    return run.layers.under_pytest or bool(run.state_of(_OpenBlocks).marks)


@contextlib.contextmanager
def under_test() -> Iterator[None]:
    """Let the run in force, and what is forked meanwhile, take part in tests until the block ends."""
    marks = runtime.current_run().state_of(_OpenBlocks).marks
    marks.append(None)  # in one step: threads may open such blocks beside each other
    try:
        yield
    finally:
        marks.pop()


class _OpenBlocks:
    """The blocks of ``under_test`` that are open in a run, which owns this object."""

    def __init__(self) -> None:
        self.marks: list[None] = []


class RunKey:
    """The key for the seals of references. A process has one; that of the run around all others owns it.

    ``accepts_all`` says that this process was put under test by hand and shares a key with nobody.
    """

    def __init__(self) -> None:
        self.key = os.urandom(16).hex()
        self.accepts_all = False

    def make_seal(self, text: str) -> str:
        """Return the seal of a text."""
        return hmac.digest(self.key.encode(), text.encode(), "sha256").hex()[:SEAL_LENGTH]

    def fits(self, seal: str, text: str) -> bool:
        """Whether a process of this run has made a seal for this text, or any seal is accepted here."""
        return self.accepts_all or hmac.compare_digest(self.make_seal(text).encode(), seal.encode())


def run_key() -> RunKey:
    """The key of this process."""
    return runtime.process_run().state_of(RunKey)

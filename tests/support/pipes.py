"""Pipes that lie where tests expect files."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def pipe_with_a_writer(path: Path) -> Iterator[None]:
    """Make a pipe at ``path``, for a block that must not read it.

    A block that opens the pipe all the same, and so waits for a writer, goes on and fails instead of waiting for ever.
    """
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.open("wb").close())  # ends once anybody has the pipe open to read
    writer.start()
    try:
        yield
    finally:
        # The block may have opened and closed the pipe before the thread came to open it.
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()
        os.close(reader)

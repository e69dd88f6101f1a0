"""What is said of an error that a task has raised, whatever its class does when it is asked for its text."""

from __future__ import annotations

import traceback
from collections.abc import Callable

LONGEST_ERROR = 20_000
"""Characters of an error that are kept. A message that holds more of them may be too long to be stored at all."""

LONGEST_TRACEBACK = 200_000


def text_of(error: BaseException) -> str:
    """Return an error with its class, on however many lines it has."""
    text = write_safely(lambda: str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error."""
    return write_safely(lambda: "".join(traceback.format_exception(error)), LONGEST_TRACEBACK)


def write_safely(make: Callable[[], str], longest: int = LONGEST_ERROR) -> str:
    """Return the text that a function makes, or why it cannot be made. The middle of one that is too long is left out.

    A ``__str__`` may raise anything, an outcome of pytest too. That a process ends is let through.
    """
    try:
        text = "".join((make(),))  # What ``__str__`` returns may be of a class of its own.
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # noqa: BLE001 -- see above
        return f"(its text cannot be made: {type(problem).__name__})"
    return shorten(text, longest)


def shorten(text: str, longest: int) -> str:
    """Return a text without its middle, where it has more characters than ``longest``."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … ({len(text) - 2 * half:,} characters left out) … {text[-half:]}"

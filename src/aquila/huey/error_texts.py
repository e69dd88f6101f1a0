"""What is said of an error that a task has raised, whatever its class does when it is asked for its text."""

from __future__ import annotations

import string
import sys
import traceback
from collections.abc import Callable

LONGEST_ERROR = 20_000
"""Characters of an error that are kept. A message that holds more of them may be too long to be stored at all."""

LONGEST_TRACEBACK = 200_000

UNCUT = sys.maxsize
"""The greatest length where nothing is to be cut yet: what is redacted later must be whole."""

_MOST_SEARCHED = 1_000_000
"""Characters of a text in which secrets are looked for. Of a longer one only the beginning and the end are shown."""
_LONGEST_SECRET = 131_072
"""Characters of the longest secret that is looked for: no variable of an environment is longer on Linux."""
_LONGEST_CUT_WORD = 4_000
_OF_KEYS = string.ascii_letters + string.digits + string.punctuation


def text_of(error: BaseException, longest: int = LONGEST_ERROR) -> str:
    """Return an error with its class, on however many lines it has."""
    text = write_safely(lambda: str(error), longest)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException, longest: int = LONGEST_TRACEBACK) -> str:
    """Return the traceback of an error."""
    return write_safely(lambda: "".join(traceback.format_exception(error)), longest)


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
    """Return a text without its middle, where it has more characters than ``longest``.

    The words that are cut are left out, up to a length: half a key is recognized by nothing.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    head, tail = text[:half], text[-half:]
    head = head[:-_LONGEST_CUT_WORD] + head[-_LONGEST_CUT_WORD:].rstrip(_OF_KEYS)
    tail = tail[:_LONGEST_CUT_WORD].lstrip(_OF_KEYS) + tail[_LONGEST_CUT_WORD:]
    return f"{head} … ({len(text) - len(head) - len(tail):,} characters left out) … {tail}"


def cut_redacted(text: str, longest: int, redact: Callable[[str], str]) -> str:
    """Return a text as it is, or where it is too long without its middle and without secrets.

    What is kept for the program itself is its own affair; but whoever redacts it later would not know half a secret.
    """
    return text if len(text) <= longest else shorten(redact_long_text(text, redact), longest)


def redact_long_text(text: str, redact: Callable[[str], str]) -> str:
    """Return a text without the secrets that ``redact`` removes, and without its middle where it is very long.

    No part of a secret is left at such a cut: half a key is recognized by nothing. So what may be one is left out on
    both sides of it, and the word that is cut, however long. Whatever is to be shorter is cut afterwards.
    """
    if len(text) <= _MOST_SEARCHED:
        return redact(text)
    half = _MOST_SEARCHED // 2
    head = redact(text[:half]).rstrip(_OF_KEYS)[:-_LONGEST_SECRET]
    tail = redact(text[-half:]).lstrip(_OF_KEYS)[_LONGEST_SECRET:]
    return f"{head} … (the middle of {len(text):,} characters is left out) … {tail}"

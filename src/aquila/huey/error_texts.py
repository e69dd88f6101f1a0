"""Returns the text of an error that a task has raised, whatever the methods of its class do."""

from __future__ import annotations

import string
import sys
import traceback
from collections.abc import Callable

LONGEST_ERROR = 20_000
"""Characters of an error that are kept. A longer text could make the message too long to be stored at all."""

LONGEST_TRACEBACK = 200_000

UNCUT = sys.maxsize
"""A length at which nothing is cut: a text that will be redacted must be whole, or half a secret would stay in it."""

_MOST_SEARCHED = 1_000_000
"""Characters of a text that are searched for secrets. Of a longer text only the beginning and the end are shown."""
_LONGEST_SECRET = 131_072
"""Characters of the longest secret that is looked for: on Linux no environment variable is longer."""
_LONGEST_CUT_WORD = 4_000  # Characters of a word that are dropped at a cut, at most.
_OF_KEYS = string.ascii_letters + string.digits + string.punctuation  # The characters that keys consist of.


def text_of(error: BaseException, longest: int = LONGEST_ERROR) -> str:
    """Return the class and the text of an error, in up to ``longest`` characters and on any number of lines."""
    text = write_safely(lambda: str(error), longest)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException, longest: int = LONGEST_TRACEBACK) -> str:
    """Return the traceback of an error, in up to ``longest`` characters."""
    return write_safely(lambda: "".join(traceback.format_exception(error)), longest)


def write_safely(make: Callable[[], str], longest: int = LONGEST_ERROR) -> str:
    """Return the text that ``make`` returns, or a text that says why there is none.

    The middle of a text of more than ``longest`` characters is left out. Only ``KeyboardInterrupt`` and ``SystemExit``
    are raised.
    """
    try:
        # `join` makes a plain `str` of an instance of a subclass, whose methods may do anything.
        text = "".join((make(),))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # noqa: BLE001 -- a `__str__` may raise anything, even an outcome of pytest
        return f"(its text cannot be made: {type(problem).__name__})"
    return shorten_text(text, longest)


def shorten_text(text: str, longest: int) -> str:
    """Return a text without its middle, if it has more than ``longest`` characters.

    Words that would be cut are left out as a whole, up to a length, because no rule recognizes half a key.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    head, tail = text[:half], text[-half:]
    head = head[:-_LONGEST_CUT_WORD] + head[-_LONGEST_CUT_WORD:].rstrip(_OF_KEYS)
    tail = tail[:_LONGEST_CUT_WORD].lstrip(_OF_KEYS) + tail[_LONGEST_CUT_WORD:]
    return f"{head} … ({len(text) - len(head) - len(tail):,} characters left out) … {tail}"


def cut_redacted(text: str, longest: int, redact: Callable[[str], str]) -> str:
    """Return a text as it is, or, if it has more than ``longest`` characters, without its middle and its secrets.

    A text that is kept for the program itself need not be redacted. But one that is cut must be redacted before: no
    later redaction would recognize half a secret.
    """
    return text if len(text) <= longest else shorten_text(redact_long_text(text, redact), longest)


def redact_long_text(text: str, redact: Callable[[str], str]) -> str:
    """Return a text without the secrets that ``redact`` removes. The middle of a very long text is left out.

    No part of a secret may stay at such a cut. So on both sides of it as many characters are left out as the longest
    secret has, and the word that is cut, however long it is.
    """
    if len(text) <= _MOST_SEARCHED:
        return redact(text)
    half = _MOST_SEARCHED // 2
    head = redact(text[:half]).rstrip(_OF_KEYS)[:-_LONGEST_SECRET]
    tail = redact(text[-half:]).lstrip(_OF_KEYS)[_LONGEST_SECRET:]
    return f"{head} … (the middle of {len(text):,} characters is left out) … {tail}"

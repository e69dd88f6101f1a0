"""Words of commands, and paths, as they are shown and can be typed on this system."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from aquila.lazy_patterns import lazy_pattern

_SAFE_ON_WINDOWS = lazy_pattern(r"[\w.:/=+-][\w.:/=+@-]*", re.ASCII)


def _quote_for_windows(word: str) -> str:
    """Return a word in double quotes, the only ones that cmd, PowerShell and the shell of git all know.

    No form of ``%NAME%``, ``$``, a backtick and a double quote is right in all three. Here ``%NAME%`` is right in
    PowerShell, and the others are right in cmd.
    """
    if _SAFE_ON_WINDOWS.fullmatch(word):
        return word
    # Programs read a backslash as itself, unless a quote comes after it.
    return '"' + re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + (found[2] and '\\"'), word) + '"'


quote_word: Callable[[str], str] = _quote_for_windows if sys.platform == "win32" else shlex.quote
"""Return a word of a command as it is typed in a shell."""


def join_words(words: Iterable[str]) -> str:
    """Return words as a command that can be typed in a shell.

    ``shlex.split`` gives the words again on every system, except that on Windows it makes one of two backslashes.
    """
    return " ".join(map(quote_word, words))


def path_from(folder: str | Path, path: str | Path) -> str:
    """Return a path relative to a folder, with ``/``; on another drive of Windows, the whole path.

    Relative arguments are relative to the working directory. Raises ``OSError`` if it is needed and was deleted.
    """
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return Path(os.path.abspath(path)).as_posix()


def shorten_paths(text: str, folder: str | None = None) -> str:
    """Return a text with the paths in it that are below a folder (by default the working directory) relative to it.

    Below the root of a file system, where a container may begin, paths stay: any word with a slash may look like one.
    """
    try:
        start = os.path.join(folder or os.getcwd(), "")
    except OSError:  # the working directory was deleted
        return text
    return (
        text if start == os.path.dirname(start) else re.sub(rf"(?<![^\s'\"]){re.escape(start)}(?=[^\s'\"])", "", text)
    )

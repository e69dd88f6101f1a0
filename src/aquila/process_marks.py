"""A mark that tells a process from all others, for names of files and keys in a place that processes share.

A process id is not enough: all interpreters within a process have the same, and so may processes of two containers.
"""

import os

_INTERPRETER = os.urandom(8).hex()  # forks have the same value, but another process id


def process_mark() -> str:
    """Return a text that no other process, and no other interpreter in this one, has."""
    return f"{os.getpid()}-{_INTERPRETER}"

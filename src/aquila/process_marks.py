"""What tells a process from every other in names that they share, as of files beside each other.

A process id alone does not: interpreters within one process have the same, and so may processes of two containers.
"""

import os

_INTERPRETER = os.urandom(8).hex()  # its forks have it, too, and other process ids


def process_mark() -> str:
    """Return a text that no other process, and no other interpreter in this one, has."""
    return f"{os.getpid()}-{_INTERPRETER}"

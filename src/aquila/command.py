"""The entry point of the command ``aquila``. Ctrl-C ends it without a traceback, even while its modules are loaded."""

from __future__ import annotations


def main() -> int:
    """Run the command line of the process and return the exit code. See ``aquila.cli.main``."""
    try:
        from aquila import cli  # noqa: PLC0415 - it takes long enough to be interrupted

        return cli.main()
    except KeyboardInterrupt:
        return 128 + 2

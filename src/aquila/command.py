"""Where the command ``aquila`` begins: Ctrl-C while it is still being loaded ends it without a traceback."""

from __future__ import annotations


def main() -> int:
    """Run the command line of the process and return the exit code. See ``aquila.cli.main``."""
    try:
        from aquila import cli  # noqa: PLC0415 - it takes long enough to be interrupted

        return cli.main()
    except KeyboardInterrupt:
        return 128 + 2

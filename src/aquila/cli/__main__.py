"""``python -m aquila.cli`` does the same as ``aquila``, where that script is not installed."""

from __future__ import annotations

import sys

from aquila.cli import main

if __name__ == "__main__":
    sys.exit(main())

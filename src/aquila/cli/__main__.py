"""``python -m aquila.cli``: the same as ``aquila``, where no script is installed."""

from __future__ import annotations

import sys

from aquila.cli import main

if __name__ == "__main__":
    sys.exit(main())

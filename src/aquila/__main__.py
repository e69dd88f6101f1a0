"""``python -m aquila`` is the command ``aquila``, also where the folder of that script is not on ``PATH``."""

import sys

from aquila.command import main

if __name__ == "__main__":
    sys.exit(main())

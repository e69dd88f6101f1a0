"""A Python in which Aquila is not installed."""

import os
import subprocess
import sys

CODE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()"


def go(host: str, port: int) -> str:
    python = os.path.join(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    return subprocess.run([python, "-c", CODE, host, str(port)], capture_output=True, text=True, check=False).stderr

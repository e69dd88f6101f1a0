"""A Python program that the test starts."""

import subprocess
import sys

CODE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()"


def go(host: str, port: int) -> str:
    command = [sys.executable, "-c", CODE, host, str(port)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr

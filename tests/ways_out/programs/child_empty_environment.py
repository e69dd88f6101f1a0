"""The same with an environment of its own, such as `env={}`, or with an empty `AQUILA_RUN`."""

import subprocess
import sys

CODE = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()"


def go(host: str, port: int) -> str:
    command = [sys.executable, "-c", CODE, host, str(port)]
    return subprocess.run(command, env={}, capture_output=True, text=True, check=False).stderr

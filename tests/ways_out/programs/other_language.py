"""A program in another language, the command curl among them."""

import subprocess


def go(host: str, port: int) -> str:
    command = ["bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}; echo hello >&3"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr

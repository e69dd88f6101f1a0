"""A child process of a thread that has outlived the run which a program has called: the environment is back by then."""

import os
import subprocess
import sys
import tempfile

CONNECT = "import socket; socket.create_connection(({host!r}, {port}), 10).sendall(b'hello')"
TESTS = """
import subprocess, sys, threading

over = threading.Event()

def ask():
    over.wait(60)
    subprocess.run([sys.executable, "-c", {connect!r}], check=False)

def test_it():
    threading.Thread(target=ask).start()
"""
PROGRAM = """
import sys, pytest
options = ["-q", "-p", "no:cacheprovider", "-o", "aquila_providers={host}:{port}"]
assert pytest.main([*options, "test_left.py"]) == 0
sys.modules["test_left"].over.set()
"""


def go(host: str, port: int) -> str:
    connect = CONNECT.format(host=host, port=port)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {
            "pytest.ini": "[pytest]",
            "test_left.py": TESTS.format(connect=connect),
            "program.py": PROGRAM.format(host=host, port=port),
        }.items():
            with open(f"{folder}/{name}", "w") as file:
                file.write(text)
        # No child of this run: a program that somebody starts.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILA_", "PYTEST_"))}
        command = [sys.executable, "program.py"]
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

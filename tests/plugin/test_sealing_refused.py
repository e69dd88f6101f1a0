"""Where the kernel does not let a run be sealed: a clear error, and no test runs. The kernel really refuses here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from aquila.intercept.sealing import entering
from tests.support.sealing import COMMAND, SEALED, environment, needs_sealing, run_pytest, write_tests

pytestmark = needs_sealing()

WITHOUT_UNSHARE = """
import ctypes, os, platform, struct, sys
number = {"x86_64": 272, "aarch64": 97}[platform.machine()]
EPERM = 1
# Load the number of the system call; if it is that of unshare, fail with EPERM; else allow it.
program = b"".join(struct.pack("HBBI", *each) for each in [
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | EPERM), (0x06, 0, 0, 0x7FFF0000),
])
buffer = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command under a seccomp filter that refuses ``unshare``, as that of Docker does."""

WITH_LIMITS = """
import ctypes, os, sys
ids = os.geteuid(), os.getegid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
limits = sys.argv.pop(1).split(",")
for name, text in [("setgroups", "deny"), ("uid_map", f"{ids[0]} {ids[0]} 1"), ("gid_map", f"{ids[1]} {ids[1]} 1")]:
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
for limit in limits:
    with open(f"/proc/sys/user/{limit}", "w") as file:
        file.write("0")
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a command in a user namespace where no further namespaces of the given kinds are allowed."""

TEST = """
import os
def test_it():
    open("ran", "w").write(os.readlink("/proc/self/ns/net"))
"""


needs_filter = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="the filter is written for two processors"
)


def outcome_of(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


@needs_filter
def test_a_command_that_cannot_be_sealed_is_not_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: executed.append(command))
    entering.become_sealed(("/bin/echo", "ran"), ())
    [sealing] = executed
    done = subprocess.run(
        [sys.executable, "-S", "-c", WITHOUT_UNSHARE, *sealing], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("ERROR: aquila_guard = sealed: this run may not enter a network namespace")
    assert "unshare: Operation not permitted (EPERM)" in done.stderr


@pytest.mark.slow  # processes in a namespace of their own
@needs_filter
@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "xdist"])
def test_a_container_that_refuses_namespaces(folder: Path, workers: tuple[str, ...]) -> None:
    write_tests(folder, TEST)
    done = run_pytest(folder, *workers, command=(sys.executable, "-c", WITHOUT_UNSHARE, COMMAND), env=SEALED)
    assert done.returncode == 4, outcome_of(done)
    assert done.stderr.startswith("ERROR: aquila_guard = sealed: this run may not enter a network namespace")
    for part in ("unshare: Operation not permitted (EPERM)", "seccomp", "--network none", "AQUILA_GUARD=all"):
        assert part in done.stderr
    assert "Traceback" not in outcome_of(done)
    assert not (folder / "ran").exists()


def run_with_limits(folder: Path, limits: str) -> subprocess.CompletedProcess[str]:
    write_tests(folder, TEST)
    return run_pytest(folder, command=(sys.executable, "-c", WITH_LIMITS, limits, COMMAND), env=SEALED)


@pytest.mark.slow
def test_a_machine_without_namespaces_left(folder: Path) -> None:
    done = run_with_limits(folder, "max_user_namespaces,max_net_namespaces")
    assert done.returncode == 4, outcome_of(done)
    assert "unshare: No space left on device (ENOSPC)" in done.stderr
    assert "sudo sysctl -w user.max_user_namespaces=10000" in done.stderr
    assert not (folder / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a network namespace without a user namespace")
@pytest.mark.slow
def test_root_is_sealed_without_a_user_namespace_and_told_what_is_missing(folder: Path) -> None:
    done = run_with_limits(folder, "max_user_namespaces")
    assert done.returncode == 0, outcome_of(done)
    assert "aquila: sealed, but without a user namespace" in done.stderr
    assert (folder / "ran").read_text() != os.readlink("/proc/self/ns/net")


@pytest.mark.slow
def test_a_container_without_a_network_needs_no_permission(folder: Path) -> None:
    # It has what a sealed run makes: only a loopback, and that is up. Nothing is entered.
    write_tests(folder, TEST)
    code = """
import os, sys
from aquila.intercept.sealing.namespace import enter_namespace
enter_namespace()
print(os.readlink("/proc/self/ns/net"), flush=True)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, WITHOUT_UNSHARE, COMMAND, "-p", "aquila"],
        cwd=folder,
        env=environment(**SEALED),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, outcome_of(done)
    assert (folder / "ran").read_text() == done.stdout.splitlines()[0]

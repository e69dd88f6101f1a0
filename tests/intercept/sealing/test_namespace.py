"""A namespace with only a loopback: entering one as root and as anybody else, and seeing whether this is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aquila.intercept.sealing.namespace import is_sealed
from tests.support.sealing import needs_sealing, needs_user_namespace

pytestmark = needs_sealing()
in_user_namespace = needs_user_namespace()
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

NOBODY = 65534


def run(code: str, *arguments: str) -> str:
    """Run code in a process of its own, with one thread, and return what it prints."""
    begin = "import os, socket, sys\nfrom aquila.intercept.sealing import namespace\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@in_user_namespace
def test_what_is_sealed_is_seen_from_the_interfaces() -> None:
    shown = run(
        """
        print(namespace.enter_namespace(), namespace.is_sealed())
        with socket.create_server(("127.0.0.1", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
        """
    )
    assert shown == "True True\n"


@needs_root  # what anybody else starts has no rights in the namespace, and so cannot add an interface
@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip here, to add an interface")
def test_an_interface_that_is_down_is_a_way_out_for_whoever_brings_it_up() -> None:
    if not is_sealed():
        shown = run(
            """
            import subprocess
            namespace.enter_namespace()
            subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
            print(namespace.is_sealed())
            """
        )
        assert shown == "False\n"


@in_user_namespace
def test_a_namespace_whose_loopback_is_down_is_not_one() -> None:
    assert run("namespace._unshare(0x50000000); print(namespace.is_sealed())") == "False\n"


@needs_root
def test_root_stays_root_and_every_other_user_stays_itself(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 1234, 4321)
    shown = run(
        f"""
        import subprocess
        os.chdir({str(tmp_path)!r})
        namespace.enter_namespace()
        found = os.stat("theirs")
        print(os.getuid(), os.getgid(), found.st_uid, found.st_gid)
        open("given", "w").close()
        os.chown("given", {NOBODY}, {NOBODY})
        subprocess.run(["touch", "of nobody"], user={NOBODY}, group={NOBODY}, extra_groups=[], check=True)
        """
    )
    assert shown == "0 0 1234 4321\n"
    for name in ("given", "of nobody"):
        assert ((tmp_path / name).stat().st_uid, (tmp_path / name).stat().st_gid) == (NOBODY, NOBODY)


@in_user_namespace
@needs_root
def test_root_cannot_go_back() -> None:
    shown = run(
        """
        import ctypes
        outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        namespace.enter_namespace()
        libc = ctypes.CDLL(None, use_errno=True)
        print(libc.setns(outside, 0), os.strerror(ctypes.get_errno()))
        print(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None), os.strerror(ctypes.get_errno()))
        """
    )
    assert shown == "-1 Operation not permitted\n" * 2


@in_user_namespace
@needs_root
def test_another_user_keeps_the_own_id_and_becomes_nobody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    shutil.copy(shutil.which("id") or "", tmp_path / "id")
    (tmp_path / "id").chmod(0o4755)  # runs as root whoever starts it
    shown = run(
        f"""
        import ctypes
        os.chdir({str(tmp_path)!r})
        os.setgroups([])
        os.setgid(1234)
        os.setuid(1234)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a program that was started as this user is
        print(namespace.enter_namespace(), namespace.is_sealed(), os.getuid(), os.getgid())
        print(*open("/proc/self/uid_map").read().split(), *open("/proc/self/gid_map").read().split())
        print(os.stat("id").st_uid, flush=True)
        open("mine", "w").close()
        os.execv("./id", ["id", "-u"])
        """
    )
    assert shown == f"True True 1234 1234\n1234 1234 1 1234 1234 1\n{NOBODY}\n1234\n"
    assert (tmp_path / "mine").stat().st_uid == 1234

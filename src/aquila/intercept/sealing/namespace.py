"""Enters a network namespace that has only a loopback, and checks whether this process is in one.

The network interfaces show whether a run is sealed. A variable could be forged, or come from another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys

if sys.platform != "linux":  # for type checkers: `sealed_run` has checked this before
    raise ImportError("a sealed run needs Linux")

# From <linux/sched.h>, <linux/sockios.h> and <linux/if.h>.
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_LOOPBACK = "lo"
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFREQ = struct.Struct("16sH22x")

_IDLE_TUNNELS = frozenset(
    ("tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0", "ip6erspan0")
)
"""Interfaces that the kernel adds to every new namespace once the module of a tunnel is loaded. One that is down sends
nothing. A process inside could bring it up, but there is no interface below it to send through."""


class NotPermitted(OSError):
    """The kernel refused a step of the sealing. ``step`` names it, and ``number`` is the errno."""

    step: str
    number: int

    def __init__(self, step: str, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.step = step
        self.number = number


def is_sealed() -> bool:
    """Whether the loopback of this process's network namespace is up, and no other interface leads out."""
    flags = {name: _read_flags(name) for _, name in socket.if_nameindex()}
    loopback_is_up = bool(flags.get(_LOOPBACK, 0) & _IFF_UP)
    return loopback_is_up and not any(_leads_out(name, has) for name, has in flags.items())


def _leads_out(name: str, flags: int) -> bool:
    """Whether a packet could leave by an interface. An interface that is down could be brought up during the run."""
    if flags & _IFF_LOOPBACK:
        return False
    return name not in _IDLE_TUNNELS or bool(flags & _IFF_UP)


def _read_flags(interface: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(interface.encode(), 0))
    flags: int = _IFREQ.unpack(answer)[1]
    return flags


def enter_namespace() -> bool:
    """Move this process, which must have one thread, into a network namespace of its own, and bring its loopback up.

    User and group ids stay the same there. The process has capabilities in the namespace until it executes a program.
    Returns whether it is also in a user namespace of its own: without one, a process of root could leave on purpose.
    Raises ``NotPermitted``.
    """
    with _IdMapper() as mapper:
        try:
            _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        except OSError as error:
            if os.geteuid() == 0:
                with contextlib.suppress(OSError):  # if this fails too, the first error is reported
                    _unshare(_CLONE_NEWNET)
                    bring_loopback_up()
                    return False
            raise NotPermitted("unshare", error.errno or 0) from error
        try:
            mapper.map_ids()
        except OSError as error:
            raise NotPermitted("mapping its ids", error.errno or 0) from error
    try:
        bring_loopback_up()
    except OSError as error:
        raise NotPermitted("bringing its loopback up", error.errno or 0) from error
    return True


def _unshare(flags: int) -> None:
    # `os.unshare` is new in Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bring_loopback_up() -> None:
    """Bring the loopback of this namespace up. The kernel assigns 127.0.0.1 and ::1 to it."""
    flags = _read_flags(_LOOPBACK) | _IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(_LOOPBACK.encode(), flags))


class _IdMapper:
    """A child process outside the new namespace that maps each id to itself, if the kernel permits it.

    That needs capabilities outside, which root has. With all ids a test may still give files to another user, or start
    PostgreSQL as one. Other users can map only their own ids, which this process does itself.
    """

    def __enter__(self) -> _IdMapper:
        self._here, there = socket.socketpair()
        self._ids = {kind: _read_file(f"/proc/self/{kind}_map") for kind in ("uid", "gid")}
        self._own = {"uid": os.geteuid(), "gid": os.getegid()}
        self._process, self._child = os.getpid(), os.fork()
        if self._child == 0:
            # As in `PortCarrier`: no exception may leave this block, and no exit handler of the parent may run.
            with contextlib.suppress(BaseException):
                # While this process holds that end, `recv` would not notice that the parent has closed it.
                self._here.close()
                if there.recv(1):
                    there.send(b" ".join(kind.encode() for kind in self._ids if self._map_all(kind)) or b"none")
            os._exit(0)
        there.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        os.waitpid(self._child, 0)

    def map_ids(self) -> None:
        """Map the ids. Called within the new namespace."""
        self._here.send(b"!")
        done = self._here.recv(20).decode().split()
        if "gid" not in done:
            # The kernel requires this before an unprivileged gid_map (user_namespaces(7)). Otherwise a process could
            # drop a group that denies it access to files.
            _write_file("/proc/self/setgroups", "deny")
        for kind, own in self._own.items():
            if kind not in done:
                _write_file(f"/proc/self/{kind}_map", f"{own} {own} 1")

    def _map_all(self, kind: str) -> bool:
        extents = (line.split() for line in self._ids[kind].splitlines())
        identity = "\n".join(f"{inside} {inside} {count}" for inside, _, count in extents)
        try:
            _write_file(f"/proc/{self._process}/{kind}_map", identity)
        except OSError:
            return False
        return True


def _read_file(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write_file(path: str, text: str) -> None:
    # The kernel requires a single write.
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def close_outside_sockets() -> None:
    """Close inherited sockets that lead out, except the standard streams. A socket stays in its namespace."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number <= 2:
            continue
        with contextlib.suppress(OSError):  # the descriptor is no socket, or was that of `listdir`
            inherited = socket.socket(fileno=number)
            if inherited.family == socket.AF_UNIX:
                inherited.detach()
            else:
                inherited.close()

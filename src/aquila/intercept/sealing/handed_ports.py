"""Makes single ports of the machine's loopback reachable in a sealed run.

A socket keeps the namespace in which it was made. So the run creates the listening sockets inside the namespace and
passes them to a process that stays outside. That process accepts connections inside and connects to the same port
outside. It gets no other ports and takes no orders, reaches only the loopback of the machine, and ends with the run,
however the run ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules

if sys.platform != "linux":  # `sealed_run` has said so before; here it is said to type checkers, too
    raise ImportError("a sealed run needs Linux")

if TYPE_CHECKING:
    import asyncio
else:
    lazy_modules(globals(), asyncio="asyncio")  # only the process outside needs it

_LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_BACKLOG = 4096
_PIECE = 65536


class PortCarrier:
    """The process outside. It is started before the run is sealed, and given its sockets after that."""

    def __init__(self) -> None:
        """Start it, for this process: it ends when this one does, whatever program this one then executes."""
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        run = os.pidfd_open(os.getpid())
        child = os.fork()
        if child == 0:
            # No exception may leave this block, and `os._exit` runs no `finally`, no `atexit` function and flushes no
            # buffer: all of them are the parent's, which would otherwise have its work done twice.
            with contextlib.suppress(BaseException):
                # In a session of its own no Ctrl-C reaches it, and as nobody's child no test's `os.wait` finds it.
                os.setsid()
                if os.fork() == 0:
                    run, handed = _leave_everything_but(run, there.fileno())
                    asyncio.run(_Carrying(run, _receive_sockets(socket.socket(fileno=handed))).carry())
            os._exit(0)
        os.waitpid(child, 0)
        there.close()
        os.close(run)

    def hand_over(self, ports: Sequence[int]) -> None:
        """Listen on ports of this namespace, and let the process outside accept there. Raises ``OSError``."""
        for port in ports:
            for family, address in _LOOPBACKS.items():
                with contextlib.closing(socket.socket(family)) as listening:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    listening.bind((address, port))
                    listening.listen(_BACKLOG)
                    socket.send_fds(self._here, [b"."], [listening.fileno()])
        self._here.close()


def _leave_everything_but(*needed: int) -> list[int]:
    """Let go of what the run was started with: whoever waits for the end of its output must not wait for this.

    Returns the numbers under which the ``needed`` files are open now.
    """
    kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 3) for number in needed]  # where a standard stream was closed
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor with which `listdir` read the folder is closed by now
                os.close(int(name))
    return kept


def _receive_sockets(sender: socket.socket) -> list[socket.socket]:
    received: list[socket.socket] = []
    while True:
        message, numbers, _, _ = socket.recv_fds(sender, 1, 1)
        if not message:
            return received
        received += [socket.socket(fileno=number) for number in numbers]


class _Carrying:
    """What the process outside does until the run ends."""

    def __init__(self, run: int, listening: Sequence[socket.socket]) -> None:
        self._run = run
        self._listening = listening
        # The event loop has only weak references to tasks: without this set, a connection whose two sides both wait
        # could be collected as garbage. A task removes itself when it is done.
        self._connections: set[asyncio.Task[None]] = set()

    async def carry(self) -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._run, ended.set)  # it can be read when the process has ended
        servers = [await asyncio.start_server(self._begin, sock=each, backlog=_BACKLOG) for each in self._listening]
        if servers:
            await ended.wait()
        os._exit(0)  # and not after the connections have come to an end of their own

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry_connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")
        try:
            far_reader, far_writer = await _connect_outside(address[0], address[1])
        except OSError:
            _reset(writer)
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        except* OSError:
            _reset(writer)
            _reset(far_writer)
        else:
            writer.close()
            far_writer.close()


async def _connect_outside(asked: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port of the machine, at the address that was asked for, or the other: the port is open at both here,
    so a client that tries both gets no refusal from the first.
    """
    other = next(address for address in _LOOPBACKS.values() if address != asked)
    try:
        return await asyncio.open_connection(asked, port)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return await asyncio.open_connection(other, port)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the other side sees that it broke, not that it ended."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass the end on: the other direction may go on after it."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

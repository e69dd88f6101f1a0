"""Makes single ports of the machine's loopback reachable in a sealed run.

A socket stays in the namespace in which it was made. So the run creates the listening sockets inside the namespace and
passes them to a process that stays outside. That process accepts connections inside and connects to the same port
outside. It reaches only these ports on the loopback of the machine, and takes no other orders. It ends with the run,
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

if sys.platform != "linux":  # for type checkers: `sealed_run` has checked this before
    raise ImportError("a sealed run needs Linux")

if TYPE_CHECKING:
    import asyncio
else:
    lazy_modules(globals(), "asyncio")  # only the process outside needs it

_LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_BACKLOG = 4096
_PIECE = 65536


class PortCarrier:
    """Starts the process outside before the run is sealed, and gives it the listening sockets after that."""

    def __init__(self) -> None:
        """Start the process. It ends when this process ends, whatever program this process executes."""
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        run = os.pidfd_open(os.getpid())
        child = os.fork()
        if child == 0:
            # No exception may leave this block. `os._exit` runs no `finally` and no `atexit` function, and flushes no
            # buffer: these belong to the parent, which will run them itself.
            with contextlib.suppress(BaseException):
                # In its own session no Ctrl-C reaches it. As no child of the run, no test's `os.wait` finds it.
                os.setsid()
                if os.fork() == 0:
                    run, handed = _leave_everything_but(run, there.fileno())
                    asyncio.run(_Carrying(run, _receive_sockets(socket.socket(fileno=handed))).carry())
            os._exit(0)
        os.waitpid(child, 0)
        there.close()
        os.close(run)

    def hand_over(self, ports: Sequence[int]) -> None:
        """Listen on ``ports`` of this namespace, and pass the sockets to the process outside. Raises ``OSError``."""
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
    """Close all inherited files, so that nobody who waits for the end of the run's output waits for this process.

    Returns the descriptors under which the ``needed`` files are open now.
    """
    kept = [fcntl.fcntl(number, fcntl.F_DUPFD, 3) for number in needed]  # one may have the number of a standard stream
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the descriptor of `listdir` itself is closed already
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
    """Forwards connections until the run ends. ``run`` is a pidfd, ``listening`` are the sockets inside."""

    def __init__(self, run: int, listening: Sequence[socket.socket]) -> None:
        self._run = run
        self._listening = listening
        # The event loop refers to tasks only weakly, so a waiting task could be collected as garbage. A task removes
        # itself when it is done.
        self._connections: set[asyncio.Task[None]] = set()

    async def carry(self) -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._run, ended.set)  # a pidfd is readable once its process has ended
        servers = [await asyncio.start_server(self._begin, sock=each, backlog=_BACKLOG) for each in self._listening]
        if servers:
            await ended.wait()
        os._exit(0)  # without waiting for open connections

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
    """Connect to a port of the machine, at the address ``asked`` or, if nothing listens there, at the other loopback.

    Inside, the port is open at both addresses, so a client would never try the second one.
    """
    other = next(address for address in _LOOPBACKS.values() if address != asked)
    try:
        return await asyncio.open_connection(asked, port)
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        return await asyncio.open_connection(other, port)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset, so that the other side sees that it broke."""
    with contextlib.suppress(OSError):  # it is the one that broke, and asyncio has closed it
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end, and then end the sending side of ``writer``. The other direction may go on."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

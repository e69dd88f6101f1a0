"""How a connection is carried, without a namespace around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux has network namespaces", allow_module_level=True)

from aquila.intercept.sealing import handed_ports


@contextlib.asynccontextmanager
async def carried(outside: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    """Carry connections to ``outside`` within the block. Yields the address to which a client connects."""
    monkeypatch.setattr(handed_ports, "_connect_outside", lambda *_: asyncio.open_connection(*outside))
    run, ends = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as inside:
        carrying = asyncio.create_task(handed_ports._Carrying(run, [inside]).carry())
        try:
            yield inside.getsockname()
        finally:
            carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await carrying
            asyncio.get_running_loop().remove_reader(run)
            asyncio.get_running_loop().remove_reader(inside)
            os.close(run)
            os.close(ends)


@pytest.mark.slow
def test_a_connection_on_which_both_sides_wait_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    # The client has sent its last, and the server thinks: asyncio itself refers to neither half of the way back.
    asked, answers = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"question"
        asked.set()
        await answers.wait()
        writer.write(b"answer")
        writer.close()
        await writer.wait_closed()

    async def go() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        outside = server.sockets[0].getsockname()
        async with carried(outside, monkeypatch) as inside:
            reader, writer = await asyncio.open_connection(*inside)
            writer.write(b"question")
            writer.write_eof()
            await asked.wait()
            for _ in range(3):
                gc.collect()
                await asyncio.sleep(0)
            answers.set()
            received = await reader.read()
            writer.close()
        server.close()
        return received

    assert asyncio.run(go()) == b"answer"


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_connection_that_one_side_resets_is_reset_for_the_other(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """A client that closes before it has read everything resets, too: its server must not wait for it for ever."""

    async def go() -> object:
        accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda *both: accepted.put_nowait(both), "127.0.0.1", 0)
        async with carried(server.sockets[0].getsockname(), monkeypatch) as inside:
            client = await asyncio.open_connection(*inside)
            sides = {"client": client, "server": await accepted.get()}
            _, leaving = sides.pop(who)
            ((reader, staying),) = sides.values()
            leaving.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.close()
            (end,) = await asyncio.gather(asyncio.wait_for(reader.read(), 30), return_exceptions=True)
            staying.close()
        server.close()
        return end

    assert isinstance(asyncio.run(go()), ConnectionResetError)

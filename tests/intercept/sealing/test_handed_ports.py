"""How a connection is carried, without a namespace around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux has network namespaces", allow_module_level=True)

from aquila.intercept.sealing import handed_ports


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
        monkeypatch.setattr(handed_ports, "_connect_outside", lambda *_: asyncio.open_connection(*outside))
        inside = socket.create_server(("127.0.0.1", 0))
        run, ends = os.pipe()
        carrying = asyncio.create_task(handed_ports._Carrying(run, [inside]).carry())
        reader, writer = await asyncio.open_connection(*inside.getsockname())
        writer.write(b"question")
        writer.write_eof()
        await asked.wait()
        for _ in range(3):
            gc.collect()
            await asyncio.sleep(0)
        answers.set()
        received = await reader.read()
        writer.close()
        carrying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await carrying
        asyncio.get_running_loop().remove_reader(run)
        os.close(run)
        os.close(ends)
        asyncio.get_running_loop().remove_reader(inside)
        inside.close()
        server.close()
        return received

    assert asyncio.run(go()) == b"answer"

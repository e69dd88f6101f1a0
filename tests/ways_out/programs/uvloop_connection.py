"""An event loop of uvloop."""

import asyncio

import uvloop


def go(host: str, port: int) -> None:
    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    uvloop.run(connect())

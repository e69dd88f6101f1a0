"""An event loop of asyncio."""

import asyncio


def go(host: str, port: int) -> None:
    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    asyncio.run(connect())

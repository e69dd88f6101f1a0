"""A datagram of uvloop to an address that is given with it."""

import asyncio

import uvloop


def go(host: str, port: int) -> None:
    async def send() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        transport.sendto(b"hello", (host, port))
        await asyncio.sleep(0)
        transport.close()
        await asyncio.sleep(0)

    uvloop.run(send())

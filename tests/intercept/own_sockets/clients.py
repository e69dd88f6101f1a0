"""Clients on sockets of their own, as a module of a program under test."""

CLIENTS = '''
import asyncio, json, socket, ssl

HEAD = "POST /v1/chat/completions HTTP/1.1\\r\\nHost: api.openai.com\\r\\nAuthorization: Bearer sk-own\\r\\n"

def request(prompt):
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}).encode()
    return f"{HEAD}Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n".encode() + body

def read(file):
    """The status, and the chunks of the body."""
    status = int(file.readline().split()[1])
    fields = {}
    while (line := file.readline().strip()):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    if b"content-length" in fields:
        return status, [file.read(int(fields[b"content-length"]))]
    chunks = []
    while size := int(file.readline(), 16):
        chunks.append(file.read(size))
        file.readline()
    return status, chunks

def over_socket(prompt):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.sendall(request(prompt))
            return read(safe.makefile("rb"))

async def read_stream(receive):
    import io
    data = b""
    while more := await receive():
        data += more
    return read(io.BytesIO(data))

async def ask_over_streams(prompt):
    reader, writer = await asyncio.open_connection("api.openai.com", 443, ssl=True)
    writer.write(request(prompt))
    await writer.drain()
    answer = await read_stream(lambda: reader.read(65536))
    writer.close()
    return answer

def over_asyncio(prompt):
    return asyncio.run(ask_over_streams(prompt))

def over_uvloop(prompt):
    import uvloop
    return uvloop.run(ask_over_streams(prompt))

def over_proactor(prompt):
    from tests.support import windows_events
    with asyncio.Runner(loop_factory=windows_events.load().ProactorEventLoop) as runner:
        return runner.run(ask_over_streams(prompt))

def over_trio(prompt):
    import trio
    async def ask():
        async with await trio.open_ssl_over_tcp_stream("api.openai.com", 443, https_compatible=True) as stream:
            await stream.send_all(request(prompt))
            return await read_stream(stream.receive_some)
    return trio.run(ask)

def over_anyio(prompt):
    import anyio
    async def ask():
        async with await anyio.connect_tcp("api.openai.com", 443, tls=True, tls_standard_compatible=False) as stream:
            await stream.send(request(prompt))
            async def receive():
                try:
                    return await stream.receive()
                except anyio.EndOfStream:
                    return b""
            return await read_stream(receive)
    return anyio.run(ask)

def over_httpcore(prompt):
    import httpcore2
    head, _, body = request(prompt).partition(b"\\r\\n\\r\\n")
    fields = [tuple(line.split(b": ")) for line in head.split(b"\\r\\n")[1:]]
    with httpcore2.ConnectionPool() as pool:
        with pool.stream("POST", "https://api.openai.com/v1/chat/completions", headers=fields, content=body) as answer:
            return answer.status, list(answer.iter_stream())

def over_plain_socket(prompt):
    with socket.create_connection(("api.openai.com", 80)) as plain:
        plain.sendall(request(prompt))
        return read(plain.makefile("rb"))

def after_first_part(prompt):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.sendall(request(prompt))
            file = safe.makefile("rb")
            while file.readline().strip():
                pass
            return file.read(int(file.readline(), 16))

def over_impatient_socket(prompt, closes_half=False):
    with socket.create_connection(("api.openai.com", 443)) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname="api.openai.com") as safe:
            safe.settimeout(0.5)
            safe.sendall(request(prompt))
            if closes_half:
                socket.socket.shutdown(safe, socket.SHUT_WR)  # below TLS, as programs in other languages do
            return read(safe.makefile("rb"))

def send(data):
    with socket.create_connection(("api.openai.com", 80)) as plain:
        plain.sendall(data)
        return plain.recv(100)
'''

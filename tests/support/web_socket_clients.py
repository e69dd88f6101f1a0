"""The WebSocket libraries, each behind the same synchronous interface, ``Talk``.

The event loop of an async library runs only during a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol


class Closed(Exception):
    """The connection was closed, with a code and a reason."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class Refused(Exception):
    """The handshake was refused, with a status and a body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)


class Talk(Protocol):
    """An open conversation."""

    def send(self, message: str | bytes) -> None: ...

    def recv(self, seconds: float | None = None) -> str | bytes:
        """Return the next message. Raises ``Closed``, and ``TimeoutError`` after so many seconds."""

    def close(self, code: int = 1000, reason: str = "") -> None: ...

    def leave(self) -> None:
        """Drop the connection without a close."""


Connect = Callable[..., contextlib.AbstractContextManager[Talk]]
"""Connects to a URL; options are ``headers`` and ``subprotocols``. Raises ``Refused`` and ``OSError``."""


@contextlib.contextmanager
def _closing() -> Iterator[None]:
    """Raise ``Closed`` where the library websockets says that a connection was closed."""
    from websockets.exceptions import ConnectionClosed

    try:
        yield
    except ConnectionClosed as error:
        raise (Closed(None) if error.rcvd is None else Closed(error.rcvd.code, error.rcvd.reason)) from error


@contextlib.contextmanager
def _threaded(url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None) -> Iterator[Talk]:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    class Threaded:
        def __init__(self) -> None:
            try:
                self.own = connect(url, additional_headers=headers, subprotocols=subprotocols, open_timeout=60)  # type: ignore[arg-type]
            except InvalidStatus as error:
                raise Refused(error.response.status_code, error.response.body or b"") from error
            self.own.pending_legacy_warning = False  # as `with` does, but `with` would close the connection

        def send(self, message: str | bytes) -> None:
            with _closing():
                self.own.send(message)

        def recv(self, seconds: float | None = None) -> str | bytes:
            with _closing():
                return self.own.recv(seconds)

        def close(self, code: int = 1000, reason: str = "") -> None:
            self.own.close(code, reason)

        def leave(self) -> None:
            self.own.close_socket()

    talk = Threaded()
    try:
        yield talk
    finally:
        talk.own.close_socket()


class _InLoop:
    """The base class of clients in an event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, coroutine: Coroutine[Any, Any, Any], seconds: float | None = None) -> Any:
        return self._runner.run(asyncio.wait_for(coroutine, seconds))


@contextlib.contextmanager
def _left_at_the_end(connect: Callable[[asyncio.Runner], Any]) -> Iterator[Any]:
    with asyncio.Runner() as runner:
        talk = connect(runner)
        try:
            yield talk
        finally:
            talk.leave()


class _WebsocketsInLoop(_InLoop):
    """One of the two clients of the library websockets that run in an event loop."""

    def __init__(self, runner: asyncio.Runner, connecting: Coroutine[Any, Any, Any]) -> None:
        super().__init__(runner)
        self.own = self.run(connecting)

    def send(self, message: str | bytes) -> None:
        with _closing():
            self.run(self.own.send(message))

    def recv(self, seconds: float | None = None) -> str | bytes:
        with _closing():
            message: str | bytes = self.run(self.own.recv(), seconds)
            return message

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.run(self.own.close(code, reason))

    def leave(self) -> None:
        async def abort() -> None:
            self.own.transport.abort()
            await asyncio.sleep(0)

        self.run(abort())


@contextlib.contextmanager
def _asyncio(url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None) -> Iterator[Talk]:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def connecting() -> Any:
        try:
            return await connect(url, additional_headers=headers, subprotocols=subprotocols, open_timeout=60)  # type: ignore[arg-type]
        except InvalidStatus as error:
            raise Refused(error.response.status_code, error.response.body or b"") from error

    with _left_at_the_end(lambda runner: _WebsocketsInLoop(runner, connecting())) as talk:
        yield talk


@contextlib.contextmanager
def _aiohttp(url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None) -> Iterator[Talk]:
    import aiohttp

    class InLoop(_InLoop):
        def __init__(self, runner: asyncio.Runner) -> None:
            super().__init__(runner)
            self.run(self._connect())

        async def _connect(self) -> None:
            self.session = aiohttp.ClientSession()
            try:
                self.own = await self.session.ws_connect(url, headers=headers, protocols=subprotocols or ())
            except BaseException as error:
                await self.session.close()
                if isinstance(error, aiohttp.WSServerHandshakeError):
                    raise Refused(error.status, b"") from error  # the library does not read the body
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise error.os_error from error
                raise

        def send(self, message: str | bytes) -> None:
            try:
                self.run(self.own.send_str(message) if isinstance(message, str) else self.own.send_bytes(message))
            except ConnectionError as error:
                raise Closed(self.own.close_code) from error

        def recv(self, seconds: float | None = None) -> str | bytes:
            message: Any = self.run(self.own.receive(), seconds)
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                data: str | bytes = message.data
                return data
            if message.type is aiohttp.WSMsgType.CLOSE:
                raise Closed(message.data, message.extra or "")
            raise Closed(None)

        def close(self, code: int = 1000, reason: str = "") -> None:
            self.run(self.own.close(code=code, message=reason.encode()))

        def leave(self) -> None:
            async def abort() -> None:
                self.own._response.close()
                await self.session.close()

            self.run(abort())

    with _left_at_the_end(InLoop) as talk:
        yield talk


@contextlib.contextmanager
def _websocket_client(
    url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None
) -> Iterator[Talk]:
    import websocket

    class Threaded:
        def __init__(self) -> None:
            self.own = websocket.WebSocket()
            try:
                self.own.connect(url, header=headers, subprotocols=subprotocols)
            except websocket.WebSocketBadStatusException as error:
                raise Refused(error.status_code, error.resp_body) from error

        def send(self, message: str | bytes) -> None:
            try:
                self.own.send(message) if isinstance(message, str) else self.own.send_binary(message)
            except (websocket.WebSocketException, ConnectionError) as error:
                raise Closed(None) from error

        def recv(self, seconds: float | None = None) -> str | bytes:
            self.own.settimeout(seconds)
            try:
                kind, data = self.own.recv_data()
            except websocket.WebSocketTimeoutException as error:
                raise TimeoutError from error
            except (websocket.WebSocketException, ConnectionError) as error:
                raise Closed(None) from error
            if kind == websocket.ABNF.OPCODE_CLOSE:
                raise Closed(int.from_bytes(data[:2], "big"), data[2:].decode())
            text: str | bytes = data.decode() if kind == websocket.ABNF.OPCODE_TEXT else data
            return text

        def close(self, code: int = 1000, reason: str = "") -> None:
            self.own.close(code, reason.encode())

        def leave(self) -> None:
            self.own.shutdown()

    talk = Threaded()
    try:
        yield talk
    finally:
        talk.leave()


@contextlib.contextmanager
def _legacy(url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None) -> Iterator[Talk]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        from websockets.exceptions import InvalidStatusCode
        from websockets.legacy.client import connect

    async def connecting() -> Any:
        try:
            return await connect(url, extra_headers=headers, subprotocols=subprotocols, open_timeout=60)  # type: ignore[arg-type]
        except InvalidStatusCode as error:
            raise Refused(error.status_code, b"") from error  # the library does not read the body

    with _left_at_the_end(lambda runner: _WebsocketsInLoop(runner, connecting())) as talk:
        yield talk


@contextlib.contextmanager
def _httpx_ws_async(
    url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None
) -> Iterator[Talk]:
    import httpx
    import httpx_ws

    class InLoop(_InLoop):
        """One task owns the session, and carries out the orders of the other methods."""

        def __init__(self, runner: asyncio.Runner) -> None:
            super().__init__(runner)
            self._orders: asyncio.Queue[Any] = asyncio.Queue()
            self._task = runner.get_loop().create_task(self._live())
            self.run(self._ask(None))

        async def _live(self) -> None:
            done = await self._orders.get()
            try:
                async with (
                    httpx.AsyncClient(trust_env=False) as client,
                    httpx_ws.aconnect_ws(
                        url,
                        client,
                        headers=headers or {},
                        subprotocols=subprotocols,
                        max_message_size_bytes=2**24,
                        keepalive_ping_interval_seconds=None,
                    ) as session,
                ):
                    done[1].set_result(None)
                    while (order := await self._orders.get()) is not None:
                        done = order
                        await self._obey(session, *order)
                    await session.stream.aclose()
            except BaseException as error:  # noqa: BLE001 - it is raised where the order was given
                if not done[1].done():
                    done[1].set_exception(_translate(error, httpx, httpx_ws))

        async def _obey(self, session: Any, order: Any, done: asyncio.Future[Any]) -> None:
            try:
                done.set_result(await order(session))
            except BaseException as error:  # noqa: BLE001 - it is raised where the order was given
                done.set_exception(_translate(error, httpx, httpx_ws))

        async def _ask(self, order: Any) -> Any:
            done = asyncio.get_running_loop().create_future()
            await self._orders.put((order, done))
            return await done

        def send(self, message: str | bytes) -> None:
            self.run(
                self._ask(lambda own: own.send_text(message) if isinstance(message, str) else own.send_bytes(message))
            )

        def recv(self, seconds: float | None = None) -> str | bytes:
            event = self.run(self._ask(lambda own: own.receive(seconds)))
            return event.data if isinstance(event.data, str) else bytes(event.data)

        def close(self, code: int = 1000, reason: str = "") -> None:
            self.run(self._ask(lambda own: own.close(code, reason or None)))

        def leave(self) -> None:
            async def stop() -> None:
                await self._orders.put(None)
                await asyncio.wait([self._task])

            self.run(stop())

    with _left_at_the_end(InLoop) as talk:
        yield talk


def _translate(error: BaseException, httpx: Any, httpx_ws: Any) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, httpx_ws.WebSocketUpgradeError):
        return Refused(error.response.status_code, b"")
    if isinstance(error, httpx_ws.WebSocketDisconnect):
        return Closed(error.code, error.reason or "")
    if isinstance(error, httpx_ws.HTTPXWSException):
        return Closed(None)
    return ConnectionRefusedError(str(error)) if isinstance(error, httpx.ConnectError) else error


@contextlib.contextmanager
def _httpx_ws(url: str, headers: dict[str, str] | None = None, subprotocols: list[str] | None = None) -> Iterator[Talk]:
    import httpx
    import httpx_ws
    from wsproto.events import BytesMessage, TextMessage

    class Threaded:
        def __init__(self) -> None:
            self.open = contextlib.ExitStack()
            connecting = httpx_ws.connect_ws(
                url,
                httpx.Client(trust_env=False),
                headers=headers or {},
                subprotocols=subprotocols,
                max_message_size_bytes=2**24,
                keepalive_ping_interval_seconds=None,
            )
            try:
                self.own = self.open.enter_context(connecting)
            except httpx_ws.WebSocketUpgradeError as error:
                raise Refused(error.response.status_code, b"") from error  # its stream is closed by then
            except httpx.ConnectError as error:
                raise ConnectionRefusedError(str(error)) from error

        def send(self, message: str | bytes) -> None:
            try:
                self.own.send_text(message) if isinstance(message, str) else self.own.send_bytes(message)
            except httpx_ws.HTTPXWSException as error:
                raise Closed(None) from error

        def recv(self, seconds: float | None = None) -> str | bytes:
            try:
                event = self.own.receive(seconds)
            except queue.Empty:
                raise TimeoutError from None
            except httpx_ws.WebSocketDisconnect as error:
                raise Closed(error.code, error.reason or "") from error
            except httpx_ws.HTTPXWSException as error:
                raise Closed(None) from error
            assert isinstance(event, (TextMessage, BytesMessage))
            return event.data if isinstance(event.data, str) else bytes(event.data)

        def close(self, code: int = 1000, reason: str = "") -> None:
            self.own.close(code, reason or None)

        def leave(self) -> None:
            self.own.stream.close()

    talk = Threaded()
    try:
        yield talk
    finally:
        with contextlib.suppress(Exception):
            talk.leave()
        with contextlib.suppress(Exception):
            talk.open.close()


CLIENTS: dict[str, Connect] = {
    "websockets in threads": _threaded,
    "websockets in a loop": _asyncio,
    "websockets of old": _legacy,
    "aiohttp": _aiohttp,
    "websocket-client": _websocket_client,
    "httpx-ws": _httpx_ws,
    "httpx-ws in a loop": _httpx_ws_async,
}

"""The way to a provider: the cached SDK client, the route of the call, and its time limits."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from aquila.engine import openai_sdk
from aquila.engine.calls.timeouts import Timeouts
from aquila.transports import clients

if TYPE_CHECKING:
    from aquila.engine.openai_sdk import AsyncOpenAI, OpenAI

_MOST_CLIENTS = 32
_clients: dict[tuple[int, str, str], Any] = {}
"""The SDK clients of this process, the oldest first. ``_cached_client`` alone fills it, and drops the oldest."""


def _cached_client(kind: Any, http_client: Any, base_url: str, api_key: str) -> Any:
    """A client of the SDK for this base URL and key; building one costs as much as a call."""
    key = (id(http_client), base_url, api_key)  # the client keeps http_client alive, so the id stays its own
    client = _clients.get(key)
    if client is None:
        client = kind(api_key=api_key, base_url=base_url, http_client=http_client, max_retries=0)
        while len(_clients) >= _MOST_CLIENTS:
            _clients.pop(next(iter(_clients)), None)
        _clients[key] = client
    return client


def sync_client(base_url: str, api_key: str) -> OpenAI:
    """The synchronous client."""
    client: OpenAI = _cached_client(openai_sdk.OpenAI, clients.sync_client(), base_url, api_key)
    return client


def async_client(base_url: str, api_key: str) -> AsyncOpenAI:
    """The asynchronous client of the running event loop."""
    client: AsyncOpenAI = _cached_client(openai_sdk.AsyncOpenAI, clients.async_client(), base_url, api_key)
    return client


_REQUIRED: Mapping[str, Mapping[str, Any]] = {"chat.completions.create": {"messages": ()}, "responses.create": {}}
"""Arguments without which the SDK's method cannot be called, as empty as they can be."""


def sdk_arguments(path: str, request: Mapping[str, Any], timeouts: Timeouts, remaining: float | None) -> dict[str, Any]:
    """Return the SDK method's arguments for a request. ``remaining`` is what is left of the total time, in seconds."""
    if path in _REQUIRED:
        # What the endpoints build has the form of the wire already. As the extra body it is sent as it is, where
        # arguments would be gone through once more, type by type, which takes half the time of a call.
        given = {name: request[name] for name in ("model", "stream") if name in request}
        extra = {name: value for name, value in request.items() if name not in ("extra_body", "stream")}
        request = {**_REQUIRED[path], **given, "extra_body": {**extra, **(request.get("extra_body") or {})}}
    read = timeouts.read if timeouts.read is not None else timeouts.idle
    timeout = openai_sdk.Timeout(
        connect=shortest_limit(timeouts.connect, remaining),
        read=shortest_limit(read, remaining),
        write=shortest_limit(timeouts.idle, remaining),
        pool=shortest_limit(timeouts.connect, remaining),
    )
    return {**request, "timeout": timeout}


def sdk_method(client: Any, path: str, *, whole: bool) -> Any:
    """Return a method of the SDK's client: one that gives a stream, or one that gives the whole answer as it came."""
    *parents, name = path.split(".")
    resource = functools.reduce(getattr, parents, client)
    return getattr(resource.with_raw_response if whole else resource, name)


def shortest_limit(*limits: float | None) -> float | None:
    """The shortest of some time limits, None being no limit."""
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


class ReadInterrupter:
    """Lets another thread end what a synchronous driver is waiting for: the answer that it reads, or a delay."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._end: Callable[[Any], None] = end_answer
        # Held by who ends the reading. The driver waits for it: the answer is closed, and a recording of it stored,
        # before the call is over. A signal handler may end what its own thread is leaving.
        self._ending = threading.RLock()
        self.interrupted = False
        """Whether the caller has left."""
        self._waking: threading.Event | None = None

    @contextmanager
    def watch_reading(
        self, stream: Any, seconds: float | None, end: Callable[[Any], None] | None = None
    ) -> Iterator[None]:
        """Note what is being read, and end the reading after ``seconds``. ``end`` ends it, if it is no answer."""
        self._stream, self._end = stream, end or end_answer
        timer = None
        if seconds is not None:
            timer = threading.Timer(seconds, self.end_reading)
            timer.daemon = True
            timer.start()
        if self.interrupted:  # before there was anything to interrupt
            self.end_reading()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._ending:
                self._stream = None

    def interrupt(self) -> None:
        """The caller leaves: end the reading, or the waiting."""
        self.interrupted = True
        if self._waking is not None:
            self._waking.set()
        self.end_reading()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the caller leaves."""
        self._waking = threading.Event()
        if not self.interrupted:  # looked at after the event is there for interrupt() to set
            self._waking.wait(seconds)

    def end_reading(self) -> None:
        """Close the answer and wake its reader, who may be waiting for the provider."""
        with self._ending:
            if self._stream is not None:
                self._end(self._stream)


def end_answer(stream: Any) -> None:
    """Close an answer and wake its reader."""
    if stream.response.is_closed:  # its connection may serve another request by now
        return
    connection = _duplicate_socket(stream)
    # Closing comes first: a recording then notes that the caller left, not that the provider broke off.
    stream.response.close()
    if connection is not None:
        # A read that waits is not woken by closing the socket, but by shutting down the connection.
        with connection, suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _duplicate_socket(stream: Any) -> socket.socket | None:
    network = stream.response.extensions.get("network_stream")
    original: Any = network.get_extra_info("socket") if network is not None else None
    try:
        return socket.socket(fileno=os.dup(original.fileno()))
    except (AttributeError, OSError):  # replayed, or over something that is no socket
        return None


def set_idle_timeout(stream: Any, seconds: float | None) -> None:
    """Let a read wait for ``seconds`` from now on: silence within an answer has a limit of its own."""
    limits = stream.response.request.extensions.get("timeout")
    if isinstance(limits, dict):
        limits["read"] = seconds


def is_stream(stream: Any) -> bool:
    """Whether the provider streams its answer. Some answer in one piece, as JSON, whatever they were asked for."""
    return content_type(stream).startswith(("text/event-stream", "application/octet-stream")) or not content_type(
        stream
    )


def content_type(stream: Any) -> str:
    """The content type of an answer, in lower case."""
    value: str = stream.response.headers.get("content-type", "")
    return value.lower()

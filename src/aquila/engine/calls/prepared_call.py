"""A call on its way to a provider: its route, the cached SDK client, its time limits, and how it is ended."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from aquila.engine import openai_sdk
from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.calls.timeouts import Timeouts
from aquila.engine.loop.steps import SendRequest
from aquila.errors import RequestTimeout, SinkError
from aquila.recording.replayed_time_limits import ENDED, TimeLimit
from aquila.transports import clients

if TYPE_CHECKING:
    from aquila.engine.calls.call_plan import CallPlan
    from aquila.engine.loop.tool_loop import RequestLoop
    from aquila.engine.openai_sdk import AsyncOpenAI, OpenAI

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCall:
    """A plan whose route is resolved. A driver uses it once and closes the route.

    ``deadline`` is the earlier end of the call's total time and its task's time, in seconds of ``time.monotonic()``;
    None without either limit.
    """

    plan: CallPlan
    loop: RequestLoop
    telemetry: Telemetry
    route: Any
    error_context: ErrorContext
    api_key: str = field(repr=False)
    deadline: float | None
    total_limit: TimeLimit | None
    """The total time, as an object that a replay can let strike without waiting."""
    task_limit: TimeLimit | None
    """The time limit of the task that makes the call. Where it ends the call, it raises its own error."""
    interrupter: ReadInterrupter

    def end_if_overdue(self, error: BaseException) -> None:
        """Raise ``total_timeout_error()``, caused by ``error``, if the call has no time left and no sink has failed."""
        if self._is_overdue() and not isinstance(error, SinkError):
            made = self.total_timeout_error()
            if (type(made), made.args) == (type(error), error.args):  # it says so itself
                raise error
            raise made from error

    def get_ready(self, step: SendRequest) -> None:
        """Make and load everything that ``send_request`` needs for ``step``, so that it sends at once."""
        _sdk_method(sync_client(self.plan.base_url, self.api_key), step)
        self.route.get_ready(self.plan.base_url)

    async def get_ready_async(self, step: SendRequest) -> None:
        """The async twin of ``get_ready``."""
        _sdk_method(async_client(self.plan.base_url, self.api_key), step)
        await self.route.get_ready_async(self.plan.base_url)

    def send_request(self, step: SendRequest) -> Any:
        """Send one request by the SDK, on the route of the call.

        Returns the stream of the answer; of an unstreamed one the SDK's response. Raises the SDK's errors.
        """
        client = sync_client(self.plan.base_url, self.api_key)
        send, arguments = _sdk_method(client, step), _sdk_arguments(step, self.plan.timeouts, self.remaining_seconds())
        with self.route.activate(self.total_limit):
            return send(**arguments)

    async def send_request_async(self, step: SendRequest) -> Any:
        """The async twin of ``send_request``."""
        client = async_client(self.plan.base_url, self.api_key)
        send, arguments = _sdk_method(client, step), _sdk_arguments(step, self.plan.timeouts, self.remaining_seconds())
        with self.route.activate(self.total_limit):
            return await self.within_total(send(**arguments))

    async def within_total(self, work: Awaitable[T]) -> T:
        """Await ``work`` for as long as the call has left. Raises ``total_timeout_error()`` when that is over."""
        if self.deadline is None:
            return await work
        with anyio.move_on_after(self.deadline - time.monotonic()):
            return await work
        raise self.total_timeout_error()

    def raise_if_overdue(self) -> None:
        """Raise ``total_timeout_error()`` if the call has a limit and no time left."""
        if self.deadline is not None and self._is_overdue():
            raise self.total_timeout_error()

    def remaining_seconds(self) -> float | None:
        """Return the seconds that are left; None without a limit. Raises ``total_timeout_error()`` if none are left."""
        if self.deadline is None:
            return None
        self.raise_if_overdue()
        # The clock has gone on since the check above; zero or less would mean "no limit" or an error to the SDK.
        return max(self.deadline - time.monotonic(), 1e-3)

    def _is_overdue(self) -> bool:
        struck = any(limit is not None and limit.has_struck for limit in (self.total_limit, self.task_limit))
        return struck or (self.deadline is not None and time.monotonic() >= self.deadline)

    def total_timeout_error(self) -> BaseException:
        """Return the error of a call whose total time is over, or whose task's time is over."""
        limit = self.task_limit
        # The timer that ended a wait may be a little early by the clock.
        if limit is not None and (limit.has_struck or limit.has_run_out):
            return limit.make_error()
        return RequestTimeout(
            f"total: the call to {self.error_context.host} took longer than {self.plan.timeouts.total:g} s"
        )

    def limit_to_total(self, seconds: float) -> float:
        """Return a delay, or what is left of the call's time if that is shorter. Raises ``total_timeout_error()``."""
        left = self.remaining_seconds()
        return seconds if left is None else min(seconds, left)

    def idle_seconds(self) -> float | None:
        """Return for how many seconds a read within the answer may wait now; None without a limit."""
        return shortest_limit(self.plan.timeouts.idle, self.remaining_seconds())

    def limit_reads_if_stream(self, stream: Any) -> bool:
        """Limit each read of an answer to ``idle_seconds()`` if it is a stream. Return whether it is.

        Some providers send one JSON document although a stream was asked for.
        """
        seconds, kind = self.idle_seconds(), stream.response.headers.get("content-type", "").lower()
        if kind and not kind.startswith(("text/event-stream", "application/octet-stream")):
            return False
        # Until now ``Timeouts.read`` was the limit. httpcore2 reads this mapping when it begins to read the body.
        limits = stream.response.request.extensions.get("timeout")
        if isinstance(limits, dict):
            limits["read"] = seconds
        return True


_MOST_CLIENTS = 32
_clients: OrderedDict[tuple[int, str, str], Any] = OrderedDict()
"""The SDK clients of this process, the oldest first. ``_cached_client`` alone adds to it, and drops the oldest.

It has no lock. Two threads that miss at the same time build two clients, of which the later stays; both work.
"""


def _cached_client(kind: Any, http_client: Any, base_url: str, api_key: str) -> Any:
    """Return the SDK client for this HTTP client, base URL and key. Building one takes as long as a replayed call."""
    # The cached client keeps ``http_client`` alive, so no other object can get the same id.
    key = (id(http_client), base_url, api_key)
    client = _clients.get(key)
    if client is None:
        # ``max_retries=0``: the loop retries by itself, see ``retry``.
        client = kind(api_key=api_key, base_url=base_url, http_client=http_client, max_retries=0)
        while len(_clients) >= _MOST_CLIENTS:
            _clients.popitem(last=False)
        _clients[key] = client
    return client


def sync_client(base_url: str, api_key: str) -> OpenAI:
    """Return the synchronous SDK client for a base URL and a key."""
    client: OpenAI = _cached_client(openai_sdk.OpenAI, clients.sync_client(), base_url, api_key)
    return client


def async_client(base_url: str, api_key: str) -> AsyncOpenAI:
    """Return the asynchronous SDK client of the running event loop for a base URL and a key."""
    client: AsyncOpenAI = _cached_client(openai_sdk.AsyncOpenAI, clients.async_client(), base_url, api_key)
    return client


_REQUIRED: Mapping[str, Mapping[str, Any]] = {"chat.completions.create": {"messages": ()}, "responses.create": {}}
"""Arguments that the SDK's method requires. Their empty values are replaced by those in ``extra_body``."""


def _sdk_arguments(step: SendRequest, timeouts: Timeouts, remaining: float | None) -> dict[str, Any]:
    """Return the arguments of the SDK's method that sends ``step``.

    ``remaining``: the seconds that are left of the call's total time; None without a limit.
    """
    path, request = step.path, step.request
    if path in _REQUIRED:
        # The endpoints build the request in the form of the wire. The SDK sends ``extra_body`` unchanged. It would walk
        # through ordinary arguments and convert them type by type, which takes half the time of a replayed call.
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
    arguments = {**request, "timeout": timeout}
    return {**arguments, "extra_headers": step.headers} if step.headers else arguments


def _sdk_method(client: Any, step: SendRequest) -> Any:
    """Return the method of the SDK client that sends ``step``. For an unstreamed answer it returns the raw response."""
    *parents, name = step.path.split(".")
    resource = functools.reduce(getattr, parents, client)
    return getattr(resource.with_raw_response if step.unstreamed else resource, name)


def shortest_limit(*limits: float | None) -> float | None:
    """Return the shortest of some time limits, in seconds; None stands for no limit."""
    given = [limit for limit in limits if limit is not None]
    return min(given) if given else None


class ReadInterrupter:
    """Lets another thread end what a synchronous driver waits for: the answer that it reads, or a delay.

    It belongs to one ``PreparedCall``. The driver sets what is being read and clears it afterwards.
    """

    def __init__(self) -> None:
        self._stream: Any = None
        self._end: Callable[[Any], None] = end_answer
        # Held by the thread that ends the reading. The driver waits for it when it stops reading, so that the answer is
        # closed and its recording stored before the call is over. Reentrant, because a signal handler may interrupt the
        # driver's own thread while that holds the lock.
        # fork: of one call, whose threads are the parent's
        self._ending = threading.RLock()
        self.interrupted = False
        """Whether the caller has left. Set once, by ``interrupt``; never cleared."""
        self._waking: threading.Event | None = None

    @contextmanager
    def watch_reading(
        self, stream: Any, seconds: float | None, end: Callable[[Any], None] | None = None
    ) -> Iterator[None]:
        """Note that ``stream`` is being read, and end the reading after ``seconds`` if that is not None.

        ``end`` ends the reading of a stream that is not an HTTP answer.
        """
        self._stream, self._end = stream, end or end_answer
        timer = None
        if seconds is not None:
            timer = threading.Timer(seconds, self.end_reading)
            timer.daemon = True
            timer.start()
        if self.interrupted:  # interrupt() came before there was anything to end
            self.end_reading()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._ending:
                self._stream = None

    def interrupt(self) -> None:
        """End the reading or the delay, because the caller leaves. Any thread may call it."""
        self.interrupted = True
        if self._waking is not None:
            self._waking.set()
        self.end_reading()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds, or until the caller leaves."""
        self._waking = threading.Event()
        # Checked after the event exists: an interrupt() before this line sets the flag, one after it sets the event.
        if not self.interrupted:
            self._waking.wait(seconds)

    def end_reading(self) -> None:
        """Close what is being read, and wake its reader, which may be waiting for the provider."""
        with self._ending:
            if self._stream is not None:
                self._end(self._stream)


def end_answer(stream: Any) -> None:
    """Close an answer of the SDK, and wake the thread that reads it."""
    if stream.response.is_closed:  # its connection may already serve another request
        return
    connection = _duplicate_socket(stream)
    stream.response.request.extensions[ENDED] = True  # for a recording: its reader had not left by itself
    # Closing comes first: a recording then notes that the caller left, not that the provider broke off.
    stream.response.close()
    if connection is not None:
        # A read that waits is not woken by closing the socket, but by shutting down the connection.
        with connection, suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _duplicate_socket(stream: Any) -> socket.socket | None:
    """Return a duplicate of the socket from which an answer is read; None without one."""
    network = stream.response.extensions.get("network_stream")
    # httpx2 gives the connection as a network stream, and its socket by get_extra_info (a documented extension).
    original: Any = network.get_extra_info("socket") if network is not None else None
    try:
        # A duplicate can be shut down after the response has closed the original descriptor, whose number may be in use
        # again by then.
        return socket.socket(fileno=os.dup(original.fileno()))
    except (AttributeError, OSError):  # a replayed answer has no connection; others may have no socket
        return None

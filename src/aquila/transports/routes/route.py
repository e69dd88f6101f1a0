"""Routes: a route is one object that answers all requests of one call."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import httpx2

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.replayed_time_limits import TimeLimit, time_limit
from aquila.transports.upstreams import SCRIPT, Upstream

if TYPE_CHECKING:
    from aquila.transports import own_threads, watched_exchanges
    from aquila.transports.routes import opening_turns
else:
    lazy_modules(
        globals(), "aquila.transports: own_threads, watched_exchanges", "aquila.transports.routes: opening_turns"
    )


class Route:
    """Answers the requests of one call.

    ``name`` is that of the transport. ``needs_key`` says that requests are refused without an API key.
    """

    name: str
    needs_key: bool
    source: str = ""
    """The name of the upstream that answers, "" where only recordings do."""
    speaks_web_sockets: bool = False
    """Whether WebSockets can be answered, too."""
    is_one_call: bool = False
    """Whether the call has a scope of its own, which ``close`` ends."""

    def get_ready(self, url: str) -> None:
        """Make in advance what the first request to ``url`` needs. Raises ``ConfigError`` as ``answer`` does."""

    async def get_ready_async(self, url: str) -> None:
        """The async twin of ``get_ready``."""

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        """Answer a request. If it ``is_last``, the call ends when its answer is closed.

        Raises ``CassetteMiss``, ``ConfigError`` where an upstream has no sync side, and what the upstream raises.
        """
        raise NotImplementedError

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        """The async twin of ``answer``."""
        raise NotImplementedError

    @contextmanager
    def activate(self, limit: TimeLimit | None = None) -> Iterator[None]:
        """Make this the route of requests in this context until the block ends, and put ``limit`` in force."""
        before = active_route.get()
        _held = runtime.hold_values()
        active_route.set(self)
        try:
            if limit is None:
                yield
            else:
                with time_limit(limit):
                    yield
        finally:
            _held = runtime.hold_values()
            active_route.set(before)  # not reset(token): an async generator may be closed in another context

    def close(self, *, failed: bool = False) -> None:
        """End the call. Recordings of a call outside any scope are stored now, or kept beside if it failed."""

    async def close_async(self, *, failed: bool = False) -> None:
        """``close`` without blocking the event loop. It is completed even if the caller is cancelled."""
        if self.is_one_call:
            await own_threads.run_in_thread(functools.partial(self.close, failed=failed))


class PlainRoute(Route):
    """A route without a cassette: live, local, or a transport of the user's."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.needs_key = upstream.needs_key
        self.source = name
        self.speaks_web_sockets = name in ("live", SCRIPT)
        self._upstream = upstream

    def get_ready(self, url: str) -> None:
        self._upstream.get_ready(url)

    async def get_ready_async(self, url: str) -> None:
        await self._upstream.get_ready_async(url)

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        if runtime.current_run().exchange_watch is not None:
            return watched_exchanges.send_watched(None, self._upstream.send_request, request, self.name)
        return self._upstream.send_request(request)

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        if runtime.current_run().exchange_watch is not None:
            send = self._upstream.send_request_async
            return await watched_exchanges.send_watched_async(None, send, request, self.name)
        return await self._upstream.send_request_async(request)


async def open_in_thread(open_route: Callable[[], Route]) -> Route:
    """Return the route that ``open_route`` opens, in a thread because it may read files.

    If the caller is cancelled meanwhile, the thread goes on, and the route that it opens is closed.
    """
    handover = _Handover(open_route)
    try:
        return await opening_turns.open_in_turn(handover.open)
    except BaseException:
        await handover.leave()
        raise


class _Handover:
    """Passes a route from the thread that opens it to a task, which may be cancelled before that."""

    def __init__(self, open_route: Callable[[], Route]) -> None:
        self._open_route = open_route
        # Guards the two fields below, so that either the thread or the task closes a route that is not used.
        # fork: of one call, whose threads are the parent's
        self._lock = threading.Lock()
        self._route: Route | None = None
        self._has_left = False

    def open(self) -> Route:
        route = self._open_route()
        with self._lock:
            self._route, has_left = route, self._has_left
        if has_left:
            route.close(failed=True)
        return route

    async def leave(self) -> None:
        with self._lock:
            self._has_left, route = True, self._route
        if route is not None:
            await route.close_async(failed=True)


# The route of the call in progress. It belongs to the context of the call: `Route.activate` sets and restores it.
active_route: ContextVar[Route | None] = ContextVar("aquila_route", default=None)

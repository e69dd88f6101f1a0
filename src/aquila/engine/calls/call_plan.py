"""A call, from what the caller wrote to everything that a driver needs."""

from __future__ import annotations

import functools
import importlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aquila import config
from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.options import CallOption, Options
from aquila.engine.calls.sdk_client import ReadInterrupter, sdk_arguments
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.calls.timeouts import Timeouts
from aquila.engine.endpoints.protocol import Endpoint
from aquila.engine.loop.request_loop import RequestLoop
from aquila.engine.loop.steps import SendRequest
from aquila.engine.loop.tool_loop import ToolLoop
from aquila.engine.openai_sdk import require_sdk
from aquila.errors import ConfigError, MissingKey, RequestTimeout
from aquila.hookspecs import CallInfo
from aquila.lazy_imports import lazy_modules
from aquila.messages import Message, messages_from_prompt
from aquila.recording import runtime
from aquila.recording.scope import Surroundings, find_surroundings
from aquila.recording.time_limits import TimeLimit, limit_of_task
from aquila.transports.routing import needs_key, resolve_route
from aquila.transports.silence import make_read_timeout

if TYPE_CHECKING:
    from anyio import to_thread
else:
    lazy_modules(globals(), to_thread="anyio.to_thread")

ENDPOINTS: Mapping[str, str] = {
    "chat": "aquila.engine.endpoints.chat",
    "responses": "aquila.engine.endpoints.responses",
}
"""Where each endpoint is. A new one is one file and one row."""

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_NEVER_WITH_A_KEY = frozenset({"replay", "local", "script"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """What the caller asked for, checked. Nothing has been opened or sent."""

    ref: str
    options: Options
    endpoint: Endpoint
    messages: tuple[Message, ...] = ()
    model: str
    base_url: str
    host: str
    api_key: str | None = field(repr=False)
    timeouts: Timeouts
    surroundings: Surroundings = field(repr=False)
    """What was in force where the plan was made."""
    polls: bool = False
    """Whether an answer made in the background is asked for again and again, rather than read as a stream."""
    waits: bool = True
    """Whether an answer made in the background is waited for at all."""
    operation: str = ""
    """What telemetry calls it; the endpoint's name by default."""
    make_loop: Callable[[CallPlan, Telemetry, ErrorContext], RequestLoop] = ToolLoop
    """Makes the loop of the call."""

    @property
    def route_arguments(self) -> dict[str, Any]:
        """The arguments with which the route of the call is resolved."""
        return {"transport": self.options.transport, "cassette": self.options.cassette}

    def bind_to_route(self, route: Any) -> PreparedCall:
        """Return the call on its route. Raises ``ConfigError`` for what the endpoint refuses."""
        if self.options.websocket and not route.speaks_web_sockets:
            raise ConfigError(
                f"option 'websocket': {route.source!r} answers here, and speaks no WebSockets; leave the option "
                "out, or replay a cassette that was recorded with it"
            )
        # A replay must not depend on a key, nor hand a real one to anything.
        api_key = (None if route.name in _NEVER_WITH_A_KEY else self._find_key()) or config.DUMMY_KEY
        host = "the local model" if route.source == "local" else self.host
        where = ErrorContext(host, self.timeouts, (api_key,) if api_key != config.DUMMY_KEY else ())
        info = CallInfo(
            ref=self.ref,
            operation=self.operation or self.endpoint.name,
            model=self.model,
            transport=route.name,
            base_url=self.base_url,
            options=_reported_settings(self.options),
            metadata=self.options.metadata,
        )
        telemetry = Telemetry(info, shows_content=self.surroundings.settings.log_content == "on")
        total, of_task = self.timeouts.total, limit_of_task()
        ends = [] if total is None else [time.monotonic() + total]
        if of_task is not None:
            ends.append(of_task.ends)
        return PreparedCall(
            plan=self,
            loop=self.make_loop(self, telemetry, where),
            telemetry=telemetry,
            route=route,
            error_context=where,
            api_key=api_key,
            deadline=min(ends, default=None),
            total_limit=None if total is None else TimeLimit("total", total, make_read_timeout),
            task_limit=of_task,
            interrupter=ReadInterrupter(),
        )

    def check_key(self) -> None:
        """Raise ``MissingKey`` if the call needs a key and has none. Nothing has been opened or written then."""
        settings = self.surroundings.settings
        if self._find_key() is not None:
            return
        if needs_key(self.options.transport, self.surroundings, self.options.cassette):
            records = (self.options.transport or settings.transport) == "record"
            raise MissingKey(_explain_missing_key(self.host, records=records))

    def _find_key(self) -> str | None:
        """The caller's key, or that of the machine, which the environment of a replay hides."""
        key = self.options.api_key or self.api_key
        if key == config.DUMMY_KEY:
            key = runtime.machine_keys().hidden.get("OPENAI_API_KEY")
        return key or None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCall:
    """A plan on its route.

    ``deadline`` is the end of its total time, or of the time of the task that makes it, on the monotonic clock.
    """

    plan: CallPlan
    loop: RequestLoop
    telemetry: Telemetry
    route: Any
    error_context: ErrorContext
    api_key: str = field(repr=False)
    deadline: float | None
    total_limit: TimeLimit | None
    """The total time as a replay sees it."""
    task_limit: TimeLimit | None
    """The time limit of the task that makes the call. Where it ends the call, it raises its own error."""
    interrupter: ReadInterrupter

    def error_or_total_timeout(self, error: BaseException) -> BaseException:
        """Return what ended a request: the total time if that is over, else ``error``."""
        if not self._is_overdue():
            return error
        overdue = self.total_timeout_error()
        overdue.__cause__ = error
        return overdue

    def sdk_arguments(self, step: SendRequest) -> dict[str, Any]:
        """Return the arguments of the SDK's method for one request."""
        arguments = sdk_arguments(step.path, step.request, self.plan.timeouts, self.remaining_seconds())
        return {**arguments, "extra_headers": step.headers} if step.headers else arguments

    def remaining_seconds(self) -> float | None:
        """What is left of the time, in seconds; None without a limit. Raises ``total_timeout_error()`` at its end."""
        if self.deadline is None:
            return None
        if self._is_overdue():
            raise self.total_timeout_error()
        return max(self.deadline - time.monotonic(), 1e-3)

    def _is_overdue(self) -> bool:
        struck = any(limit is not None and limit.has_struck for limit in (self.total_limit, self.task_limit))
        return struck or (self.deadline is not None and time.monotonic() >= self.deadline)

    def total_timeout_error(self) -> BaseException:
        """The error of a call whose total time is over, or that of the task that makes it."""
        limit = self.task_limit
        if limit is not None and (limit.has_struck or time.monotonic() >= limit.ends):
            return limit.make_error()
        return RequestTimeout(
            f"total: the call to {self.error_context.host} took longer than {self.plan.timeouts.total:g} s"
        )

    def limit_to_total(self, seconds: float) -> float:
        """Return a delay that is no longer than what is left of the total time. Raises ``RequestTimeout``."""
        left = self.remaining_seconds()
        return seconds if left is None else min(seconds, left)

    def idle_seconds(self) -> float | None:
        """How long a read within the answer may wait now, in seconds."""
        left, idle = self.remaining_seconds(), self.plan.timeouts.idle
        return min(idle, left) if idle is not None and left is not None else idle or left


def plan_conversation(prompt: Any, given: Mapping[str, Any], *, streams: bool = False, waits: bool = True) -> CallPlan:
    """Return what the caller asks for, checked.

    ``streams``: the caller wants the events as they come; ``waits``: an answer made in the background is waited for.
    Raises ``ConfigError`` and its kin for anything that cannot be sent.
    """
    options = Options.check(given)
    messages = messages_from_prompt(prompt)
    return _make_plan(
        options, options.endpoint, messages=messages, polls=options.background and not streams, waits=waits
    )


def plan_operation(
    operation: str,
    make_loop: Callable[[CallPlan, Telemetry, ErrorContext], RequestLoop],
    given: Mapping[str, Any],
    declared: Mapping[str, CallOption],
) -> CallPlan:
    """Return the plan of what is no conversation; ``declared`` are the options that it takes."""
    options = Options.check(given, declared, operation=operation)
    asks = "model" in declared  # the others are about an answer that some model has given already
    return _make_plan(options, "responses", asks=asks, operation=operation, make_loop=make_loop)


@functools.cache
def _load_endpoint(name: str) -> Endpoint:
    module: Any = importlib.import_module(ENDPOINTS[name])
    endpoint: Endpoint = module
    return endpoint


def _make_plan(options: Options, endpoint: str, *, asks: bool = True, **more: Any) -> CallPlan:
    require_sdk()
    surroundings = find_surroundings()
    settings = surroundings.settings
    base_url = options.base_url or settings.base_url or DEFAULT_BASE_URL
    return CallPlan(
        ref=f"call-{uuid.uuid4().hex}",
        options=options,
        endpoint=_load_endpoint(endpoint),
        model=(options.model or settings.model) if asks else "",
        base_url=base_url,
        host=_host_of(base_url),
        api_key=settings.api_key,
        timeouts=options.timeout or Timeouts(idle=settings.timeout),
        surroundings=surroundings,
        **more,
    )


def prepare_call(plan: CallPlan) -> PreparedCall:
    """Return the call of a plan, its route resolved: a cassette is opened here. Raises ``MissingKey``."""
    route = _find_route(plan, plan.surroundings)
    try:
        return plan.bind_to_route(route)
    except BaseException:
        route.close(failed=True)
        raise


async def prepare_call_async(plan: CallPlan) -> PreparedCall:
    """``prepare_call`` without blocking the event loop."""
    route = await to_thread.run_sync(_find_route, plan)
    try:
        return plan.bind_to_route(route)
    except BaseException:
        await route.close_async(failed=True)
        raise


def _find_route(plan: CallPlan, surroundings: Surroundings | None = None) -> Any:
    """Find the route of a call. Whether it needs a key may be a question to the disk: a script needs none."""
    plan.check_key()
    return resolve_route(**plan.route_arguments, surroundings=surroundings)


def _explain_missing_key(host: str, *, records: bool) -> str:
    if records and runtime.is_under_pytest():
        return (
            f"recording from {host} needs an API key: set OPENAI_API_KEY. Without a key, record from the small model "
            "on this machine: add --aquila-upstream=local"
        )
    return (
        f"a live request to {host} needs an API key: set OPENAI_API_KEY, or pass api_key=. Without a key, "
        "transport='replay' answers from a cassette and transport='local' runs a small model here"
    )


@functools.lru_cache(maxsize=64)
def _host_of(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url {base_url!r} is not an http or https URL, such as {DEFAULT_BASE_URL!r}")
    return parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"


_REPORTED_OPTIONS = (
    "temperature",
    "top_p",
    "seed",
    "stop",
    "reasoning",
    "store",
    "background",
    "websocket",
    "max_retries",
    "max_output_tokens",
)


def _reported_settings(options: Options) -> dict[str, Any]:
    """The options that telemetry may know: settings, never content."""
    return {name: value for name in _REPORTED_OPTIONS if (value := getattr(options, name)) is not None}

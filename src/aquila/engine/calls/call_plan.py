"""Plans a call: checks what the caller gave, and collects everything that a driver needs."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aquila.engine.calls.error_translation import ErrorContext
from aquila.engine.calls.options import CallOption, Options
from aquila.engine.calls.prepared_call import PreparedCall, ReadInterrupter
from aquila.engine.calls.telemetry import Telemetry
from aquila.engine.calls.timeouts import Timeouts
from aquila.engine.endpoints.protocol import Endpoint
from aquila.engine.loop.tool_loop import RequestLoop, ToolLoop
from aquila.engine.openai_sdk import require_sdk
from aquila.errors import ConfigError, MissingKey
from aquila.hookspecs import CallInfo
from aquila.lazy_imports import import_module
from aquila.messages import Message, messages_from_prompt
from aquila.recording import runtime
from aquila.recording.environment import DUMMY_KEY
from aquila.recording.replayed_time_limits import TimeLimit, limit_of_task
from aquila.recording.scope import Surroundings, find_surroundings
from aquila.transports.routes.route import open_in_thread
from aquila.transports.routes.routing import needs_key, resolve_route
from aquila.transports.silence import make_read_timeout

ENDPOINTS: Mapping[str, str] = {
    "chat": "aquila.engine.endpoints.chat",
    "responses": "aquila.engine.endpoints.responses",
}
"""The module of each endpoint, imported when it is first used. ``options`` has their names, and their fields."""

DEFAULT_BASE_URL = "https://api.openai.com/v1"
# Routes that never reach a provider.
_ROUTES_WITHOUT_KEY = frozenset({"replay", "local", "script"})


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
    """The settings and the open scope where the plan was made; the call may run in another thread or context."""
    polls: bool = False
    """Whether an answer made in the background is fetched repeatedly, rather than read as a stream."""
    waits: bool = True
    """Whether the call waits until an answer made in the background is finished."""
    operation: str = ""
    """The name of the call in telemetry. Empty stands for the endpoint's name."""
    make_loop: Callable[[CallPlan, Telemetry, ErrorContext], RequestLoop] = ToolLoop
    """Makes the loop of the call."""

    def bind_to_route(self, route: Any) -> PreparedCall:
        """Return the call, prepared for its route.

        Raises ``ConfigError`` for an option that the endpoint or the route does not have, and for a key that no header
        can carry.
        """
        if self.options.websocket and not route.speaks_web_sockets:
            raise ConfigError(
                f"option 'websocket': {route.source!r} answers here, and does not speak WebSockets; leave the option "
                "out, or replay a cassette that was recorded with it"
            )
        # A replay must neither depend on a key nor pass a real one to code that might log it.
        api_key = DUMMY_KEY if route.name in _ROUTES_WITHOUT_KEY else _sendable_key(self._find_key() or DUMMY_KEY)
        host = "the local model" if route.source == "local" else self.host
        error_context = ErrorContext(host, self.timeouts, (api_key,) if api_key != DUMMY_KEY else ())
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
            loop=self.make_loop(self, telemetry, error_context),
            telemetry=telemetry,
            route=route,
            error_context=error_context,
            api_key=api_key,
            deadline=min(ends, default=None),
            total_limit=None if total is None else TimeLimit("total", total, make_read_timeout),
            task_limit=of_task,
            interrupter=ReadInterrupter(),
        )

    def check_key(self) -> None:
        """Raise ``MissingKey`` if the call needs a key and has none.

        It is called before anything is opened or written.
        """
        transport = self.options.transport or self.surroundings.settings.transport
        if transport == "replay" or self._find_key() is not None:
            return
        if needs_key(self.options.transport, self.surroundings, self.options.cassette):
            raise MissingKey(_explain_missing_key(self.host, records=transport == "record"))

    def _find_key(self) -> str | None:
        """Return the caller's key, or the machine's own; None if there is neither.

        During a replay the environment holds a dummy key, and ``runtime`` keeps the real one.
        """
        key = self.options.api_key or self.api_key
        if key == DUMMY_KEY:
            key = runtime.machine_keys().hidden.get("OPENAI_API_KEY")
        return key or None


def plan_conversation(prompt: Any, given: Mapping[str, Any], *, streams: bool = False, waits: bool = True) -> CallPlan:
    """Return the plan of a conversation, its options checked.

    ``prompt``: text, messages, or another form that ``messages_from_prompt`` takes. ``given``: the caller's options by
    name. ``streams``: the caller wants the events as they arrive. ``waits``: wait for an answer made in the background.
    Raises ``ConfigError`` or ``InvalidMessage`` for anything that cannot be sent.
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
    """Return the plan of a call that is no conversation, such as a transcription.

    ``operation``: its name in messages and telemetry. ``given``: the caller's options by name, ``declared``: those that
    the operation takes. Raises ``UnknownOption`` or ``ConfigError``.
    """
    options = Options.check(given, declared, operation=operation)
    # An operation without the option works on a stored answer and asks no model.
    needs_model = "model" in declared
    return _make_plan(options, "responses", needs_model=needs_model, operation=operation, make_loop=make_loop)


# One object for each limit. `Timeouts` is frozen, so calls can share it.
@functools.lru_cache(maxsize=64)
def _timeouts_of(longest_silence: float) -> Timeouts:
    return Timeouts(idle=longest_silence)


# One entry for each endpoint of the table, for as long as the process lives.
@functools.cache
def _load_endpoint(name: str) -> Endpoint:
    module: Any = import_module(ENDPOINTS[name])
    endpoint: Endpoint = module
    return endpoint


def _make_plan(options: Options, endpoint: str, *, needs_model: bool = True, **more: Any) -> CallPlan:
    require_sdk()
    surroundings = find_surroundings()
    settings = surroundings.settings
    base_url = options.base_url or settings.base_url or DEFAULT_BASE_URL
    return CallPlan(
        ref=f"call-{uuid.uuid4().hex}",
        options=options,
        endpoint=_load_endpoint(endpoint),
        model=(options.model or settings.model) if needs_model else "",
        base_url=base_url,
        host=_host_of(base_url),
        api_key=settings.api_key,
        timeouts=options.timeout or _timeouts_of(settings.timeout),
        surroundings=surroundings,
        **more,
    )


def prepare_call(plan: CallPlan) -> PreparedCall:
    """Resolve the route of a plan, which may open a cassette.

    Raises ``MissingKey``, ``ConfigError``, or ``CassetteError`` for a cassette that cannot be used.
    """
    route = _find_route(plan)
    try:
        return plan.bind_to_route(route)
    except BaseException:
        route.close(failed=True)
        raise


async def prepare_call_async(plan: CallPlan) -> PreparedCall:
    """``prepare_call`` without blocking the event loop."""
    route = await open_in_thread(functools.partial(_find_route, plan))
    try:
        return plan.bind_to_route(route)
    except BaseException:
        await route.close_async(failed=True)
        raise


def _find_route(plan: CallPlan) -> Any:
    """Find the route of a call. Reads files: a script on disk may answer the call, which then needs no key."""
    plan.check_key()
    options = plan.options
    return resolve_route(transport=options.transport, cassette=options.cassette, surroundings=plan.surroundings)


def _sendable_key(key: str) -> str:
    """Return a key that a header can carry. Raises ``ConfigError`` for any other, without showing it.

    HTTP libraries refuse such a header too, but their errors quote it, and escape the key so that it is not found.
    """
    if not (key.isascii() and key.isprintable() and key == key.strip()):
        raise ConfigError(
            "the API key holds a character that an HTTP header cannot carry, such as a line break at its end; "
            "correct OPENAI_API_KEY or api_key="
        )
    return key


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


# The result depends on the text of the URL alone, so no entry goes out of date. Errors are not kept.
@functools.lru_cache(maxsize=64)
def _host_of(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:  # a port that is no number, half of an IPv6 address
        # The error quotes the port, which may be a part of a password with a slash.
        reason = "its host or its port cannot be read" if "@" in base_url else error
        raise ConfigError(f"base_url {_without_secrets(base_url)!r} is not a URL: {reason}") from None
    # `urlsplit` ignores spaces around a URL, and the clients do not.
    if scheme not in ("http", "https") or not host or base_url != base_url.strip():
        shown = _without_secrets(base_url)
        raise ConfigError(f"base_url {shown!r} is not an http or https URL, such as {DEFAULT_BASE_URL!r}")
    return host if port is None else f"{host}:{port}"


def _without_secrets(url: str) -> str:
    """Return a text that may be no URL, without the user and the password in it, and without its query."""
    place, _, query = url.partition("?")
    if "@" in query:  # which may be a password with a question mark
        return "…"
    _, at, rest = place.rpartition("@")
    return f"…@{rest}" if at else rest


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
    """Return the options that are reported to telemetry: settings, never content."""
    return {name: value for name in _REPORTED_OPTIONS if (value := getattr(options, name)) is not None}

"""Runs tools: checks the arguments of a call, runs its function, and writes the value as text for the model."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio.to_thread import run_sync

from aquila.engine.endpoints.chat_parser import repair_surrogates
from aquila.errors import CassetteError, ConfigError, LiveCallRefused, ToolError
from aquila.events import ToolCall, ToolResult
from aquila.lazy_imports import lazy_modules
from aquila.tools import CONTEXT, Toolbox

if TYPE_CHECKING:
    import pydantic
    import pydantic_core

    from aquila.engine.calls.options import Options
else:
    lazy_modules(globals(), "pydantic", "pydantic_core")


_ALWAYS_RAISED = (CassetteError, LiveCallRefused)
"""Errors of a tool that the model is never told: as text for it they would go unnoticed."""


@dataclass(frozen=True, slots=True)
class PreparedToolCall:
    """A tool call that can be run: its function, and the arguments after validation."""

    call: ToolCall
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    is_async: bool


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What running a tool gave: a value or an exception, and the seconds it took."""

    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0


def prepare_tool_call(tools: Toolbox, call: ToolCall, context: Any) -> PreparedToolCall | str:
    """Return the call ready to be run, or a text that tells the model why it cannot be run.

    ``context`` is the ``tool_context`` of the call; tools that declare it get it as an argument. Raises an error of
    ``_ALWAYS_RAISED`` that a validator of the arguments raises.
    """
    tool = tools.tools.get(call.name)
    if tool is None or tool.function is None:
        return f"there is no tool {call.name!r}; there are: {', '.join(tools.tools)}"
    try:
        arguments = tool.parse_arguments(call.raw_arguments)
    except ValueError as error:
        return remove_changing_parts(f"the arguments of {call.name} are wrong: {error}")
    except _ALWAYS_RAISED:
        raise
    except Exception as error:  # noqa: BLE001 - a validator of the tool's own may raise anything
        return f"the arguments of {call.name} are wrong: {_describe_error(error)}"
    if tool.wants_context:
        # A copy, as far as the fields of a mapping go: a tool that sets one must not change what the next tool gets.
        # Tools return a patch for that.
        arguments[CONTEXT] = dict(context) if isinstance(context, Mapping) else context
    return PreparedToolCall(call, tool.function, arguments, tool.is_async)


def make_tool_result(call: ToolCall, ran: ToolOutcome | str, *, raising: bool) -> ToolResult:
    """Return the result of a call as an event.

    Raises ``ToolError`` if ``raising`` is set and the tool could not be run or raised. An error that the tool returned
    is a result and never raised. An error of ``_ALWAYS_RAISED`` is raised in any case.
    """
    about: dict[str, Any] = {"id": call.id, "name": call.name, "ref": call.ref, "metadata": call.metadata}
    if isinstance(ran, str):
        ran = repair_surrogates(ran)
        if raising:
            raise ToolError(ran)
        return ToolResult(error=ran, text=f"Error: {ran}", **about)
    if ran.error is not None:
        if isinstance(ran.error, _ALWAYS_RAISED):
            raise ran.error
        message = _describe_error(ran.error)
        if raising:
            raise ToolError(f"tool {call.name!r} raised {message}") from ran.error
        return ToolResult(error=message, text=f"Error: {message}", **about)
    result = ran.value if isinstance(ran.value, ToolResult) else ToolResult(ran.value)
    if result.error is not None:
        return replace(result, text=repair_surrogates(f"Error: {result.error}"), **about)
    try:
        text = repair_surrogates(result.text) or value_to_text(result.value)
    except Exception as error:  # noqa: BLE001 - it comes from what the tool returned
        return make_tool_result(
            call, ToolOutcome(error=_serialization_error(error), seconds=ran.seconds), raising=raising
        )
    return replace(result, text=text, **about)


def _describe_error(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the exception's own `__str__` may raise anything
        text = ""
    return repair_surrogates(remove_changing_parts(f"{type(error).__name__}: {text}").removesuffix(": "))


def _serialization_error(error: Exception) -> TypeError:
    reason = "it contains itself" if isinstance(error, RecursionError) else str(error)
    made = TypeError(f"the result cannot be written as JSON: {reason}")
    made.__cause__ = error
    return made


# Patterns err on the side of matching too much: a placeholder for a harmless number costs the model nothing, while a
# changing value makes the next request differ from its recording.
_ADDRESS = re.compile(r"\s*\b(?:at )?0x[0-9a-fA-F]{4,}\b")
_PATH = re.compile(r"file://[^\s'\"<>)]+|(?<![\w/:.<])(?:[A-Za-z]:)?(?:[\\/][\w.@+~ -]*[\w@+~-]){2,}[\\/]?")
_MOMENT = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
)


def remove_changing_parts(text: str) -> str:
    """Return a failure's text without what differs between runs: addresses, paths and times.

    It goes to the model, so it is part of what identifies the next request.
    """
    for pattern, word in ((_ADDRESS, ""), (_PATH, "<path>"), (_MOMENT, "<time>")):
        text = pattern.sub(word, text)
    return text


def value_to_text(value: Any) -> str:
    """Return a tool's value as the text that the model is sent: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return repair_surrogates(value)
    return pydantic_core.to_json(_sort_sets(value), fallback=lambda other: remove_changing_parts(repr(other))).decode()


def _sort_sets(value: Any) -> Any:
    """Return a value with its sets as sorted lists: the order of a set differs from run to run."""
    if isinstance(value, (set, frozenset)):
        return sorted((_sort_sets(each) for each in value), key=repr)
    if isinstance(value, Mapping):
        return {key: _sort_sets(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sort_sets(each) for each in value]
    if hasattr(type(value), "__pydantic_serializer__"):
        plain = pydantic_core.to_jsonable_python(value, fallback=lambda other: remove_changing_parts(repr(other)))
        return _sort_lists_of_sets(
            plain, pydantic.TypeAdapter(type(value)).dump_python(value, by_alias=True, warnings=False)
        )
    if is_dataclass(value) and not isinstance(value, type):
        # Field by field, because pydantic may have no schema for the type of a field.
        return {each.name: _sort_sets(getattr(value, each.name)) for each in fields(value)}
    return value


def _sort_lists_of_sets(plain: Any, value: Any) -> Any:
    """Return ``plain``, the JSON form of ``value``, with those lists sorted that were sets in ``value``."""
    if isinstance(value, (set, frozenset)) and isinstance(plain, list):
        return sorted(plain, key=repr)
    if isinstance(value, Mapping) and isinstance(plain, Mapping) and len(plain) == len(value):
        return {
            key: _sort_lists_of_sets(each, inner)
            for (key, each), inner in zip(plain.items(), value.values(), strict=True)
        }
    if isinstance(value, (list, tuple)) and isinstance(plain, list) and len(plain) == len(value):
        return [_sort_lists_of_sets(each, inner) for each, inner in zip(plain, value, strict=True)]
    return plain


Within: TypeAlias = Callable[[Awaitable[Any]], Coroutine[Any, Any, Any]]
"""Returns a coroutine that awaits something, and fails when the time of the call is over."""


def run_tools(ready: Sequence[PreparedToolCall], within: Within) -> list[ToolOutcome]:
    """Run tools, several at the same time on threads. Returns their outcomes in the order of ``ready``.

    ``within`` limits the time of asynchronous ones.
    """
    if len(ready) <= 1:
        return [_run_tool(each, within) for each in ready]
    with ThreadPoolExecutor(len(ready), thread_name_prefix="aquila-tool") as pool:
        # A thread begins with an empty context, so each gets a copy: it holds the open cassette and the running task.
        futures = [pool.submit(contextvars.copy_context().run, _run_tool, each, within) for each in ready]
        return [future.result() for future in futures]


def _run_tool(ready: PreparedToolCall, within: Within) -> ToolOutcome:
    started = time.monotonic()
    return replace(_call_tool(ready, within), seconds=time.monotonic() - started)


def _call_tool(ready: PreparedToolCall, within: Within) -> ToolOutcome:
    try:
        value = ready.function(**ready.arguments)
        return ToolOutcome(_run_coroutine(within(value)) if inspect.isawaitable(value) else value)
    except asyncio.CancelledError as error:
        # A coroutine runs in a loop of its own here, so only the tool itself can have cancelled it.
        return ToolOutcome(error=_cancellation_error(error))
    except Exception as error:  # noqa: BLE001 - it becomes a text for the model
        return ToolOutcome(error=error)


def _cancellation_error(cause: asyncio.CancelledError) -> RuntimeError:
    made = RuntimeError("the tool was cancelled, or what it waited for")
    made.__cause__ = cause
    return made


def _run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end from synchronous code.

    ``asyncio.run`` refuses where an event loop runs in this thread, as in a notebook; another thread has none.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="aquila-tool") as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()


async def run_tools_async(ready: Sequence[PreparedToolCall]) -> list[ToolOutcome]:
    """``run_tools`` for asynchronous calls: plain functions run in threads, so that none blocks the event loop.

    What a tool raises that is no ``Exception``, such as an outcome of pytest, cancels the other tools and is raised.
    """
    results: list[ToolOutcome] = [ToolOutcome()] * len(ready)

    async def run_at(position: int) -> None:
        results[position] = await _run_tool_async(ready[position])

    if len(ready) == 1:
        await run_at(0)
        return results
    try:
        async with anyio.create_task_group() as group:
            for position in range(len(ready)):
                group.start_soon(run_at, position)
    except BaseExceptionGroup as raised:
        failure = raised.exceptions[0]
    else:
        return results
    raise failure  # after the clause, or the group would become its context


def _is_being_cancelled() -> bool:
    """Whether the running asyncio task is being cancelled."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # under trio, which cancels by an error of its own
        return False
    return task is None or task.cancelling() > 0


def _run_on_thread(ready: PreparedToolCall) -> ToolOutcome:
    """Run a plain function. Its exception is returned, because a coroutine cannot raise ``StopIteration``."""
    try:
        return ToolOutcome(ready.function(**ready.arguments))
    except Exception as error:  # noqa: BLE001 - it becomes a text for the model
        return ToolOutcome(error=error)


async def _run_tool_async(ready: PreparedToolCall) -> ToolOutcome:
    started = time.monotonic()
    return replace(await _call_tool_async(ready), seconds=time.monotonic() - started)


async def _call_tool_async(ready: PreparedToolCall) -> ToolOutcome:
    try:
        if ready.is_async:
            return ToolOutcome(await ready.function(**ready.arguments))
        ran = await run_sync(_run_on_thread, ready)
        return ToolOutcome(await ran.value) if inspect.isawaitable(ran.value) else ran
    except asyncio.CancelledError as error:
        if _is_being_cancelled():
            raise
        # The tool waited for something that was cancelled. To raise that would cancel the other tools of the group.
        return ToolOutcome(error=_cancellation_error(error))
    except Exception as error:  # noqa: BLE001 - it becomes a text for the model
        return ToolOutcome(error=error)


CUTS = {"length": "its length limit", "content_filter": "the provider's content filter"}
"""What cuts an answer, by its finish reason."""


class LimitReason(str):
    """The text for the model that says which limit keeps a tool from being run. It is no failure of the tool."""

    __slots__ = ()


class ToolRounds:
    """Counts rounds and failures in a row, and holds the tools' context.

    ``stopped``: the option whose limit was reached, or ``content_filter``; None while tools are run.

    It belongs to one ``ToolLoop``. Tools run on other threads, but only the loop's own thread calls these methods.
    """

    def __init__(self, options: Options) -> None:
        self.stopped: str | None = None
        self.stop_notice = ""
        """The sentence that is added to an answer whose tools were stopped by a limit."""
        self._options = options
        given = options.tool_context
        # A copy, so that a tool's patch changes the context of this call and not the caller's own mapping.
        self._context: Any = dict(given) if isinstance(given, Mapping) else given
        self._rounds = 0
        self._cut_by: str | None = None
        self._failures = 0

    def begin_round(self, *, cut_by: str | None) -> None:
        """Note that a round begins: the model has called tools.

        ``cut_by`` is a finish reason of ``CUTS`` if it ended the answer within a call, else None.
        """
        self._rounds += 1
        self._cut_by = cut_by

    def prepare_call(self, call: ToolCall) -> PreparedToolCall | str:
        """Return a call ready to be run, or a text that tells the model why it is not run."""
        if self._cut_by is not None:
            return LimitReason(f"not run: the answer was cut off within a tool call by {CUTS[self._cut_by]}")
        if self._rounds > self._options.max_tool_iterations:
            return LimitReason(
                f"not run: the limit of {self._options.max_tool_iterations} rounds of tool calls is reached"
            )
        if self._failures >= self._options.max_tool_failures:
            return LimitReason(f"not run: {self._failures} tool calls in a row have failed")
        return prepare_tool_call(self._options.tools, call, self._context)

    def make_result(self, call: ToolCall, ran: ToolOutcome | str) -> ToolResult:
        """Return the result of a call, and apply its patch to the context.

        Raises ``ToolError`` for a failed call if the option ``tool_errors`` is ``"raise"``, and ``ConfigError`` for a
        patch of a context that is no mapping.
        """
        limited = isinstance(ran, LimitReason)
        result = make_tool_result(call, ran, raising=self._options.tool_errors == "raise" and not limited)
        if limited:
            return result
        self._failures = self._failures + 1 if result.error is not None else 0
        if result.context_patch:
            if not isinstance(self._context, Mapping | None):
                kind = type(self._context).__name__
                raise ConfigError(
                    f"tool {call.name!r} returned a context_patch, but tool_context= is a {kind}, no mapping"
                )
            self._context = {**(self._context or {}), **result.context_patch}
        return result

    def end_round(self) -> None:
        """Note that a round has ended, and set ``stopped`` if a limit was reached."""
        options = self._options
        if self._cut_by is not None:
            self.stopped = "max_output_tokens" if self._cut_by == "length" else self._cut_by
            self.stop_notice = (
                f"[Stopped: the answer was cut off within a tool call by {CUTS[self._cut_by]} ({self.stopped}).]"
            )
        elif self._rounds > options.max_tool_iterations:
            self.stopped = "max_tool_iterations"
            self.stop_notice = (
                f"[Stopped: the model called tools in more than {options.max_tool_iterations} rounds "
                "(max_tool_iterations) without a final answer.]"
            )
        elif self._failures >= options.max_tool_failures:
            self.stopped = "max_tool_failures"
            self.stop_notice = f"[Stopped: {self._failures} tool calls in a row failed (max_tool_failures).]"

"""The rounds of tool calls within one call: their context, their failures in a row, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquila.engine.calls.options import Options
from aquila.engine.loop.tool_execution import PreparedToolCall, ToolOutcome, make_tool_result, prepare_tool_call
from aquila.events import ToolCall, ToolResult


class ToolRounds:
    """Counts rounds and failures in a row, and holds the tools' context. ``stopped`` names the limit that was reached.

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
        self._failures = 0

    def begin_round(self) -> None:
        """Note that a round begins: the model has called tools."""
        self._rounds += 1

    def prepare_call(self, call: ToolCall) -> PreparedToolCall | str:
        """Return a call ready to be run, or a text that tells the model why it is not run."""
        if self._rounds > self._options.max_tool_iterations:
            return f"not run: the limit of {self._options.max_tool_iterations} rounds of tool calls is reached"
        if self._failures >= self._options.max_tool_failures:
            return f"not run: {self._failures} tool calls in a row have failed"
        return prepare_tool_call(self._options.tools, call, self._context)

    def make_result(self, call: ToolCall, ran: ToolOutcome | str) -> ToolResult:
        """Return the result of a call, and apply its patch to the context.

        Raises ``ToolError`` for a failed call if the option ``tool_errors`` is ``"raise"``.
        """
        limited = isinstance(ran, str) and ran.startswith("not run: ")
        result = make_tool_result(call, ran, raising=self._options.tool_errors == "raise" and not limited)
        if limited:
            return result
        self._failures = self._failures + 1 if result.error is not None else 0
        if result.context_patch:
            base = self._context if isinstance(self._context, Mapping) else {}
            self._context = {**base, **result.context_patch}
        return result

    def end_round(self) -> None:
        """Note that a round has ended, and set ``stopped`` if a limit was reached."""
        options = self._options
        if self._rounds > options.max_tool_iterations:
            self.stopped = "max_tool_iterations"
            self.stop_notice = (
                f"[Stopped: the model called tools in more than {options.max_tool_iterations} rounds "
                "(max_tool_iterations) without a final answer.]"
            )
        elif self._failures >= options.max_tool_failures:
            self.stopped = "max_tool_failures"
            self.stop_notice = f"[Stopped: {self._failures} tool calls in a row failed (max_tool_failures).]"

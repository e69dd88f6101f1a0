"""Which code of the program runs: what is executed under a fault and not without it shows that the fault was noticed.

A program that takes a part of an answer for the whole runs a part of what it always runs. One that looks whether the
answer is whole goes another way, or catches an exception. Libraries are left out: what they notice and tell nobody
helps no user.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from aquila.recording.installed_code import is_standard_library, package_of

_ALWAYS = frozenset({"StopIteration", "StopAsyncIteration", "GeneratorExit"})
"""Exceptions that say nothing but that something is over."""

_LOOP_ENDS = frozenset(
    {"END_FOR", "POP_TOP", "POP_ITER", "JUMP_FORWARD", "JUMP_BACKWARD", "NOP", "RESUME", "END_ASYNC_FOR"}
)
"""What is executed where a loop ends by itself, which it may do only under a fault."""


class ExecutedCode:
    """Takes down the places in the program that are executed, from ``start`` on, in this thread and in new ones."""

    def __init__(self) -> None:
        self._executed: set[tuple[CodeType, int]] = set()
        self._raised: set[tuple[str, str]] = set()
        self._is_program = functools.cache(_is_program_file)
        self._tool: int | None = None

    def start(self) -> None:
        """Begin."""
        if sys.version_info >= (3, 12):  # where frames that are traced tell of no instruction, since 3.13
            self._start_monitoring()
        else:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> None:
        """End it: in this thread, where others cannot be reached."""
        if sys.version_info >= (3, 12):
            if self._tool is not None:
                sys.monitoring.set_events(self._tool, 0)
                sys.monitoring.free_tool_id(self._tool)
        else:
            sys.settrace(None)

    if sys.version_info >= (3, 12):

        def _start_monitoring(self) -> None:
            monitoring, events = sys.monitoring, sys.monitoring.events
            self._tool = next((tool for tool in range(6) if monitoring.get_tool(tool) is None), None)
            if self._tool is None:
                return
            tool = self._tool
            monitoring.use_tool_id(tool, "aquila")

            def note_start(code: CodeType, offset: int) -> Any:
                if self._is_program(code.co_filename):
                    monitoring.set_local_events(tool, code, events.INSTRUCTION)
                return monitoring.DISABLE

            def note_instruction(code: CodeType, offset: int) -> Any:
                self._executed.add((code, offset))
                return monitoring.DISABLE  # once is enough

            def note_raise(code: CodeType, offset: int, error: BaseException) -> Any:
                if self._is_program(code.co_filename) and type(error).__name__ not in _ALWAYS:
                    self._raised.add((f"{code.co_filename}:{code.co_qualname}", type(error).__name__))

            monitoring.register_callback(tool, events.PY_START, note_start)
            monitoring.register_callback(tool, events.INSTRUCTION, note_instruction)
            monitoring.register_callback(tool, events.RAISE, note_raise)
            monitoring.set_events(tool, events.PY_START | events.RAISE)

    def places(self) -> set[str]:
        """Return what was executed, and the exceptions that came to the program, as texts that can be compared."""
        found = {f"{where} raised {name}" for where, name in self._raised}
        offsets: dict[CodeType, list[int]] = {}
        for code, offset in self._executed:
            offsets.setdefault(code, []).append(offset)
        for code, executed in offsets.items():
            positions = list(code.co_positions())
            names = {each.offset: each.opname for each in dis.get_instructions(code)}
            for offset in executed:
                if names.get(offset) not in _LOOP_ENDS and offset // 2 < len(positions):
                    found.add(f"{code.co_filename}:{positions[offset // 2]}")
        return found

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._is_program(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._follow

    def _follow(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._executed.add((frame.f_code, frame.f_lasti))
        elif event == "exception" and argument[0].__name__ not in _ALWAYS:
            self._raised.add((f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}", argument[0].__name__))
        return self._follow


_OWN = tuple(str(Path(__file__).parent.parent.with_name(name)) + os.sep for name in ("aquila", "pytest_aquila"))


def _is_program_file(file: str) -> bool:
    if file.startswith(("<", *_OWN)):
        return False
    return not is_standard_library(file) and package_of(file) is None

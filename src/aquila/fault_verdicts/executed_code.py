"""Notes which code of the program runs. Code that runs only under a fault shows that the program noticed the fault.

A program that takes a part of an answer for the whole runs no other code than without the fault. A program that checks
whether the answer is complete takes another branch, catches an exception, or returns another truth value to the test,
such as ``complete=False``. Libraries are not watched: a fault that a library notices and does not report helps no user.
"""

from __future__ import annotations

import dis
import opcode
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ALWAYS = frozenset({"StopIteration", "StopAsyncIteration", "GeneratorExit"})
"""Exceptions that only mark the end of an iteration."""

_LOOP_ENDS = frozenset(
    {"END_FOR", "POP_TOP", "POP_ITER", "JUMP_FORWARD", "JUMP_BACKWARD", "NOP", "RESUME", "END_ASYNC_FOR"}
)
"""Instructions at the normal end of a loop. They prove nothing: without the fault, ``break`` may end the loop."""

_COMMON_CONSTANTS: Sequence[object] = getattr(opcode, "_common_constants", ())
"""The constants that all code objects share, by their numbers. Private to Python, which has them since 3.14."""


class ExecutedCode:
    """Notes the places in the program that are executed, from ``start`` on, in all threads.

    It lives in a forked process that runs one test, so what it collected is never cleared. ``set.add`` is atomic, so
    threads need no lock.

    ``is_own`` tells whether a file belongs to the program.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._executed: set[tuple[CodeType, int]] = set()
        self._raised: set[tuple[str, str]] = set()
        self._returned: set[tuple[CodeType, str]] = set()
        self._is_program = is_own
        self._tool: int | None = None

    def start(self) -> None:
        """Begin to note what is executed. Before Python 3.12 only in this thread and in those that start later."""
        # ``sys.monitoring`` costs much less. Since Python 3.13, traced frames do not report single instructions,
        # either.
        if sys.version_info >= (3, 12):
            self._start_monitoring()
        else:
            threading.settrace(self._enter)
            sys.settrace(self._enter)

    def stop(self) -> None:
        """Stop. Before Python 3.12 threads that run go on, because tracing cannot be ended for them."""
        if sys.version_info >= (3, 12):
            if self._tool is not None:
                sys.monitoring.set_events(self._tool, 0)
                sys.monitoring.free_tool_id(self._tool)
        else:
            threading.settrace(None)
            sys.settrace(None)

    if sys.version_info >= (3, 12):

        def _start_monitoring(self) -> None:
            monitoring, events = sys.monitoring, sys.monitoring.events
            # Python has six tool ids; debuggers and coverage may hold some. Without a free one nothing is noted.
            self._tool = next((tool for tool in range(6) if monitoring.get_tool(tool) is None), None)
            if self._tool is None:
                return
            tool = self._tool
            monitoring.use_tool_id(tool, "aquila")

            def note_start(code: CodeType, offset: int) -> Any:
                if self._is_program(code.co_filename):
                    monitoring.set_local_events(tool, code, events.INSTRUCTION | events.PY_RETURN)
                # Once for each code object: its local events are set now.
                return monitoring.DISABLE

            def note_instruction(code: CodeType, offset: int) -> Any:
                self._executed.add((code, offset))
                return monitoring.DISABLE  # once for each instruction is enough

            def note_return(code: CodeType, offset: int, value: object) -> Any:
                self._note_return(sys._getframe(1), value)

            def note_raise(code: CodeType, offset: int, error: BaseException) -> Any:
                if self._is_program(code.co_filename) and type(error).__name__ not in _ALWAYS:
                    self._raised.add((f"{code.co_filename}:{code.co_qualname}", type(error).__name__))

            monitoring.register_callback(tool, events.PY_START, note_start)
            monitoring.register_callback(tool, events.INSTRUCTION, note_instruction)
            monitoring.register_callback(tool, events.PY_RETURN, note_return)
            monitoring.register_callback(tool, events.RAISE, note_raise)
            monitoring.set_events(tool, events.PY_START | events.RAISE)

    def places(self) -> set[str]:
        """Return what was executed, returned and raised, as texts that are equal in two processes for one place."""
        found = {f"{where} raised {name}" for where, name in self._raised}
        found |= {f"{code.co_filename}:{code.co_qualname} returned {truths}" for code, truths in self._returned}
        offsets: dict[CodeType, list[int]] = {}
        for code, offset in self._executed:
            offsets.setdefault(code, []).append(offset)
        for code, executed in offsets.items():
            positions, bytecode = list(code.co_positions()), code.co_code
            for offset in executed:
                # Every instruction takes two bytes, and ``co_positions`` has one entry for each.
                if not _is_uninformative(code, bytecode, offset) and offset // 2 < len(positions):
                    found.add(f"{code.co_filename}:{positions[offset // 2]}")
        return found

    def _note_return(self, frame: FrameType, value: object) -> None:
        if value is not None and (truths := describe_truths(value, self._is_program)) and self._is_for_test(frame):
            self._returned.add((frame.f_code, truths))

    def _is_for_test(self, frame: FrameType) -> bool:
        """Whether a function returns to the test. Other code of the program may ignore what it returns."""
        caller = frame.f_back
        while caller is not None and not self._is_program(caller.f_code.co_filename):
            caller = caller.f_back
        return caller is not None and _is_test_file(caller.f_code.co_filename)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._is_program(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._follow

    def _follow(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._executed.add((frame.f_code, frame.f_lasti))
        elif event == "return":
            self._note_return(frame, argument)
        elif event == "exception" and argument[0].__name__ not in _ALWAYS:
            self._raised.add((f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}", argument[0].__name__))
        return self._follow


def _is_test_file(file: str) -> bool:
    name = Path(file).name
    return name.startswith(("test", "conftest.")) or name.endswith("_test.py")


def _is_uninformative(code: CodeType, bytecode: bytes, offset: int) -> bool:
    """Whether an instruction proves no check, although only the fault makes it run: ``""`` in ``text or ""``."""
    name, argument = dis.opname[bytecode[offset]], bytecode[offset + 1]
    if name == "LOAD_SMALL_INT":  # since Python 3.14
        return not argument
    if name in ("LOAD_CONST", "LOAD_COMMON_CONSTANT"):  # since Python 3.15 the second has "" and None
        constants = code.co_consts if name == "LOAD_CONST" else _COMMON_CONSTANTS
        return argument < len(constants) and not constants[argument]
    return name in _LOOP_ENDS


_MOST_FIELDS = 50


def describe_truths(value: object, is_own: Callable[[str], bool]) -> str:
    """Describe the truth values and members of enumerations in a value: itself, or its fields.

    The rest of a value may depend on the text of an answer, and differs under a fault even if the program noticed
    nothing. Objects of libraries are left out, because the program did not decide their values. ``is_own`` tells
    whether a file belongs to the program.
    """
    if isinstance(value, bool | Enum):
        return str(value)
    fields: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        fields = value.items()
    elif isinstance(value, tuple):
        fields = enumerate(value)
    elif not is_own(getattr(sys.modules.get(type(value).__module__), "__file__", None) or "<unknown>"):
        return ""
    elif is_dataclass(value):
        fields = [(each.name, getattr(value, each.name, None)) for each in dataclass_fields(value)]
    elif isinstance(said := getattr(value, "__dict__", None), dict):
        fields = said.items()
    truths = [f"{name}={each}" for name, each in islice(fields, _MOST_FIELDS) if isinstance(each, bool | Enum)]
    return ", ".join(truths)

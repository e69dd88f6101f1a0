"""Which code of the program runs: what is executed under a fault and not without it shows that the fault was noticed.

A program that takes a part of an answer for the whole runs a part of what it always runs. One that looks whether the
answer is whole goes another way, or catches an exception, or returns another truth to the test: ``complete=False``.
Libraries are left out: what they notice and tell nobody helps no user.
"""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_ALWAYS = frozenset({"StopIteration", "StopAsyncIteration", "GeneratorExit"})
"""Exceptions that say nothing but that something is over."""

_LOOP_ENDS = frozenset(
    {"END_FOR", "POP_TOP", "POP_ITER", "JUMP_FORWARD", "JUMP_BACKWARD", "NOP", "RESUME", "END_ASYNC_FOR"}
)
"""What is executed where a loop ends by itself, which it may do only under a fault."""


class ExecutedCode:
    """Takes down the places in the program that are executed, from ``start`` on, in this thread and in new ones.

    ``is_own`` says of a file whether it is the program's.
    """

    def __init__(self, is_own: Callable[[str], bool]) -> None:
        self._executed: set[tuple[CodeType, int]] = set()
        self._raised: set[tuple[str, str]] = set()
        self._returned: set[tuple[CodeType, str]] = set()
        self._is_program = is_own
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
                    monitoring.set_local_events(tool, code, events.INSTRUCTION | events.PY_RETURN)
                return monitoring.DISABLE

            def note_instruction(code: CodeType, offset: int) -> Any:
                self._executed.add((code, offset))
                return monitoring.DISABLE  # once is enough

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
        """Return what was executed, and the exceptions that came to the program, as texts that can be compared."""
        found = {f"{where} raised {name}" for where, name in self._raised}
        found |= {f"{code.co_filename}:{code.co_qualname} returned {truths}" for code, truths in self._returned}
        offsets: dict[CodeType, list[int]] = {}
        for code, offset in self._executed:
            offsets.setdefault(code, []).append(offset)
        for code, executed in offsets.items():
            positions, bytecode = list(code.co_positions()), code.co_code
            for offset in executed:
                if not _says_nothing(code, bytecode, offset) and offset // 2 < len(positions):
                    found.add(f"{code.co_filename}:{positions[offset // 2]}")
        return found

    def _note_return(self, frame: FrameType, value: object) -> None:
        if value is not None and (truths := describe_truths(value, self._is_program)) and self._is_for_test(frame):
            self._returned.add((frame.f_code, truths))

    def _is_for_test(self, frame: FrameType) -> bool:
        """Whether a function returns to the test: what its caller in the program does not look at tells nobody."""
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


def _says_nothing(code: CodeType, bytecode: bytes, offset: int) -> bool:
    """Whether an instruction may run under a fault alone, and yet nobody has looked: ``text or ""`` loads the ""."""
    name, argument = dis.opname[bytecode[offset]], bytecode[offset + 1]
    if name == "LOAD_CONST":
        return argument < len(code.co_consts) and not code.co_consts[argument]
    return name in _LOOP_ENDS


_MOST_FIELDS = 50


def describe_truths(value: object, is_own: Callable[[str], bool]) -> str:
    """Describe what a value says of yes and no, and of members of enumerations: itself, or in its fields.

    What else it says follows from the text of an answer, and differs with it though nobody has noticed anything. What
    an object of a library says is no work of the program: ``is_own`` knows by its file what is.
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

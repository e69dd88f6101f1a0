"""Joins the frames that a library sends or receives to messages."""

from __future__ import annotations

from collections.abc import Callable

CONTINUATION, TEXT, BINARY, CLOSE = 0, 1, 2, 8
"""The opcodes of the frames of messages, and of a close (RFC 6455, 5.2)."""


class Assembler:
    """Joins fragments to messages, and passes each message to ``add``."""

    def __init__(self, add: Callable[..., None]) -> None:
        self._add = add
        self._is_text = True  # the kind of the message whose fragments are collected
        self._fragments: list[bytes] = []  # cleared when the message is complete; control frames never come here

    def add(self, opcode: int, data: bytes, is_last: bool) -> None:
        """Take the next frame. Several threads may call this at once with messages of one frame."""
        if is_last and opcode != CONTINUATION:
            self._add(data, is_text=opcode == TEXT)
            return
        if opcode != CONTINUATION:
            self._is_text = opcode == TEXT
            self._fragments.clear()
        self._fragments.append(data)
        if is_last:
            message = b"".join(self._fragments)
            self._fragments.clear()
            self._add(message, is_text=self._is_text)

"""The call numbers of JSON-RPC: which number of this run corresponds to which of the recording.

A call of the client has a ``method`` and an ``id`` of its own, and what answers it has the ``id`` and no ``method``. A
client may give a new call any number that it has not used yet; the answer is delivered with that number. The number of
a call that the provider makes is the provider's: the client has to repeat it.
"""

from __future__ import annotations

import re
from typing import Any

from aquila.cassettes.web_socket_frames.frame import parse_object

ONE_THAT_IS_NEW = "one that is new"
"""Shown as the recorded value where the client should have sent a new id and sent one that it had used before."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]')
"""Strings and brackets of JSON. Strings are tokens, so that brackets and names within them do not count."""
_VALUE = re.compile(rb"\s*:\s*(-?\d+)(?![\d.eE])")
"""A whole number as the value of a key."""


def number_of_call(value: Any) -> int | None:
    """Return the number of a JSON-RPC call; None for any other message, and for a call with a text as its id."""
    if not isinstance(value, dict) or "jsonrpc" not in value or "method" not in value:
        return None
    number = value.get("id")
    return number if type(number) is int else None  # not isinstance: a bool is an int


class CallNumbers:
    """The calls of a client in one replay. Belongs to its ``ClientIds``; numbers are added, never removed."""

    def __init__(self) -> None:
        # By recorded number, the one of this run; and all numbers that the client has used in this run.
        self._now_of: dict[int, int] = {}
        self._taken: set[int] = set()
        self.has_changes = False
        """Whether any number differs from the recorded one."""

    def expect(self, recorded: int, now: int) -> int | str:
        """Return the number that the client should have sent for a ``recorded`` one, when it has sent ``now``.

        Returns the text ``ONE_THAT_IS_NEW`` if any new number would do, and ``now`` is not new.
        """
        known = self._now_of.get(recorded)
        if known is not None or now not in self._taken:
            return now if known is None else known
        return recorded if recorded != now else ONE_THAT_IS_NEW

    def keep(self, recorded: int, now: int) -> None:
        """Remember the number of a call that was the expected one."""
        self._now_of[recorded] = now
        self._taken.add(now)
        self.has_changes |= recorded != now

    def put_back(self, data: bytes) -> bytes:
        """Return a message of the provider with the number of this run, if it answers a call."""
        if not self.has_changes or b'"jsonrpc"' not in data:
            return data
        value = parse_object(data)
        if value is None or "jsonrpc" not in value or "method" in value:
            return data
        number = value.get("id")
        now = self._now_of.get(number) if type(number) is int else None
        return data if now is None or now == number else _replace_id(data, now)


def _replace_id(data: bytes, now: int) -> bytes:
    """Replace the number of the ``id`` at the top of a JSON object."""
    # In the bytes, not by parsing and writing: all else of the message must be delivered as it was recorded.
    depth, place = 0, None
    for token in _TOKEN.finditer(data):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"id"':
            place = _VALUE.match(data, token.end()) or place
    return data if place is None else data[: place.start(1)] + b"%d" % now + data[place.end(1) :]

"""Ids that a client makes anew in every run: which id of this run corresponds to which id of the recording.

The client makes the ``id``, ``stream_id``, ``request_id`` and ``message_id`` at the top of a message, and the ``id`` of
its ``item``, unless the provider had used the value before. Where such an id occurs for the first time in the
recording, the client may send any value that it has not used in this run. From then on the two ids correspond. So one
id that is used twice differs from two ids. Messages of the provider are delivered with the ids of this run.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aquila.cassettes.web_socket_frames.call_numbers import ONE_THAT_IS_NEW, CallNumbers, number_of_call
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.cassettes.web_socket_frames.messages import FrameMessage

_MADE_AT_TOP = ("id", "stream_id", "request_id", "message_id")
_REPEATED = ("item_id", "previous_item_id")
"""Fields that always hold such an id. In other fields whose names end in ``id``, an unchanged value may be intended."""

_HAS_MADE = re.compile(rb'"(?:id|stream_id|request_id|message_id|item_id|previous_item_id|event_id)"')

_LONGEST = 128  # characters of a text that may be an id
_SHORT = 4
"""An id with fewer characters, such as ``1``, is replaced only in fields whose names end in ``id``."""
_STRING = re.compile(rb'"(\w[\w.:~+/=-]{0,%d})"' % (_LONGEST - 1))
_STRING_OF_KEY = re.compile(rb'(?:"(\w{1,64})"\s*:\s*)?"(\w[\w.:~+/=-]{0,%d})"' % (_LONGEST - 1))


def has_made_id(data: bytes) -> bool:
    """Return whether a message has a field that may hold an id that the client made."""
    return b'id"' in data and _HAS_MADE.search(data) is not None  # the cheap test first: most messages have none


class Expected(NamedTuple):
    """What a message of the client should be: the recorded ``message`` with the ids of this run.

    ``new_ids`` are recorded ids that occur for the first time, each with the one of this run. ``call`` is the recorded
    number of a JSON-RPC call and the number of this run.
    """

    message: FrameMessage
    new_ids: dict[str, str]
    call: tuple[int, int] | None = None


class ClientIds:
    """The ids of one replay, which owns this object. ``frames`` are all frames of the recorded conversation.

    All tables only grow, until the replay is dropped. ``expect`` changes nothing, so that a message can be compared
    with several lanes; ``keep`` commits what it proposed for the lane that took the message.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._scanned = 0  # how many frames `_first_use` covers
        self._first_use: dict[bytes, int] = {}
        """For each text that may be an id, the first frame that holds it. Filled as far as ``expect`` has needed it."""
        self._now_of: dict[str, str] = {}
        """The id of this run by recorded id."""
        self._taken: set[str] = set()
        """The ids that the client has used in this run."""
        self._changed: dict[bytes, bytes] = {}
        """Recorded ids that differ in this run, without quotes, with their replacements, with quotes, as JSON."""
        self._calls = CallNumbers()

    def expect(self, recorded: FrameMessage, now: FrameMessage, place: int) -> Expected:
        """Return what the client should have sent: the recorded message with the ids of the one sent now.

        ``place`` is the number of the recorded message among all frames, from 0.
        """
        new: dict[str, str] = {}
        before, after = recorded.value, now.value
        if not (isinstance(before, dict) and isinstance(after, dict)):
            return Expected(recorded, new)
        made = {name: self._id_of_now(before, after, name, place, new) for name in _MADE_AT_TOP if name in before}
        item_id: dict[str, Any] = {}
        item, item_now = before.get("item"), after.get("item")
        if isinstance(item, dict) and isinstance(item_now, dict) and "id" in item:
            item_id = {"id": self._id_of_now(item, item_now, "id", place, new)}
        number, other = number_of_call(before), number_of_call(after)
        call = None
        if number is not None and other is not None:
            made["id"] = self._calls.expect(number, other)
            call = (number, other)
        if not new and not self._now_of and call is None:
            return Expected(recorded, new)
        value = {**_put_repeated(before, after, ChainMap(new, self._now_of)), **made}
        if item_id:
            value["item"] = {**value["item"], **item_id}
        return Expected(recorded.with_value(value), new, call)

    def _id_of_now(
        self, recorded: dict[str, Any], now: dict[str, Any], name: str, place: int, new: dict[str, str]
    ) -> Any:
        """Return what a field with a client's id should hold in this run. A new id is added to ``new``."""
        one, other = recorded[name], now.get(name)
        if not (isinstance(one, str) and isinstance(other, str)):
            return one
        known = self._now_of.get(one) or new.get(one)
        if known is not None:
            return known
        if self._is_providers(one, place):
            return one
        if not self._is_free(other, place, new):
            return one if one != other else ONE_THAT_IS_NEW
        new[one] = other
        return other

    def _is_providers(self, text: str, place: int) -> bool:
        """Return whether the first frame with this text came from the provider, before a place."""
        # Each frame is scanned once, when a place behind it is first asked about.
        while self._scanned < place:
            for written in _STRING.findall(self._frames[self._scanned].data):
                self._first_use.setdefault(written, self._scanned)
            self._scanned += 1
        first = self._first_use.get(text.encode("utf-8", "replace"), place)
        return first < place and not self._frames[first].sent

    def _is_free(self, text: str, place: int, new: dict[str, str]) -> bool:
        taken = text in self._taken or text in new.values()
        return not taken and not self._is_providers(text, place)

    def keep(self, expected: Expected, recorded: FrameMessage, now: FrameMessage) -> None:
        """Remember the ids of a message that was as ``expect`` had returned."""
        self.rename(expected.new_ids)
        if expected.call is not None:
            self._calls.keep(*expected.call)
        if recorded.event_id is not None and now.event_id is not None:
            self._remember_change(recorded.event_id, now.event_id)

    def _remember_change(self, recorded: str, now: str) -> None:
        # An id with characters that `_STRING` does not find could not be put back by `put_back`.
        if recorded != now and _STRING.fullmatch(written := json.dumps(recorded).encode()):
            self._changed[written[1:-1]] = json.dumps(now).encode()

    def rename(self, ids: Mapping[str, str]) -> None:
        """Use other ids from now on. ``ids`` maps recorded ids to those of this run, which the client was sent."""
        for recorded, now in ids.items():
            self._now_of[recorded] = now
            self._taken.add(now)
            self._remember_change(recorded, now)

    @property
    def has_changes(self) -> bool:
        """Whether ``put_back`` may change anything."""
        return bool(self._changed) or self._calls.has_changes

    def put_back(self, data: bytes) -> bytes:
        """Return a message of the provider with the client's recorded ids replaced by those of this run."""
        data = self._calls.put_back(data)
        found = self._changed.keys() & _STRING.findall(data) if self._changed else ()
        if not found:  # as in most messages
            return data
        # One id that is long enough to stand for nothing else: replacing it everywhere is much faster than the pattern.
        if len(found) == 1:
            (recorded,) = found
            if len(recorded) >= _SHORT:
                return data.replace(b'"%b"' % recorded, self._changed[recorded])
        return _STRING_OF_KEY.sub(self._replace, data)

    def _replace(self, match: re.Match[bytes]) -> bytes:
        now = self._changed.get(match[2])
        if now is None or (len(match[2]) < _SHORT and not (match[1] or b"").lower().endswith(b"id")):
            return match[0]
        return match[0][: match.start(2) - match.start() - 1] + now


def _put_repeated(recorded: Any, now: Any, known: Mapping[str, str]) -> Any:
    """Return recorded JSON with the ids of this run in each field whose name ends in ``id`` and that repeats one."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        return {
            key: _repeat_id(key, value, now.get(key), known)
            if isinstance(value, str)
            else _put_repeated(value, now.get(key), known)
            for key, value in recorded.items()
        }
    if isinstance(recorded, list) and isinstance(now, list):
        return [_put_repeated(one, other, known) for one, other in zip(recorded, now, strict=False)] + recorded[
            len(now) :
        ]
    return recorded


def _repeat_id(key: str, recorded: str, now: Any, known: Mapping[str, str]) -> str:
    if not key.lower().endswith("id") or (recorded == now and key not in _REPEATED):
        return recorded
    return known.get(recorded, recorded)

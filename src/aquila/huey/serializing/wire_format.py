"""Turns values into bytes and back: msgpack, and the types that Huey itself sends.

A value arrives equal and of the same type, or it is refused. It is never changed into something similar.

Decoding builds plain data, Huey's own records and exceptions. No class and no function is looked up by a name in the
data, except in the fixed table of exceptions.
"""

from __future__ import annotations

import builtins
import struct
import threading
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgpack
from huey import exceptions as huey_exceptions
from huey.registry import Message
from huey.utils import SKIPPED, Error

from aquila import errors
from aquila.errors import MessageRejected, NotSerializable, RemoteTaskError
from aquila.huey.error_texts import shorten_text, write_safely
from aquila.huey.serializing.message_bounds import MAX_UNUSUAL_KEYS, SMALL, holds_more_objects, may_hold_unusual_keys
from aquila.huey.serializing.sendable_values import (
    REAL_DATETIMES,
    describe_unsendable_datetime,
    find_unsendable,
    full_name,
    holds_mutable_bytes,
    make_text_sendable,
)
from aquila.huey.serializing.task_messages import accepted_kinds, build_message, find_odd_field

_LONGEST_TEXT = 200_000
"""Characters of the text of an exception. If it were too long to be sent, no ``on_error`` would be called."""
# Codes below zero, because `msgpack.ExtType` refuses them: no value of a user can be taken for one of these.
_MESSAGE, _ERROR, _TUPLE, _EXCEPTION, _SKIPPED, _DATETIME, _TIMEDELTA = range(-8, -1)


def _build_extension(code: int, data: bytes = b"") -> Any:
    """Build an extension value with a code below zero, which the public constructor refuses."""
    # `ExtType` is a named tuple, and the check is in its `__new__`. The packer writes any code.
    return tuple.__new__(msgpack.ExtType, (code, data))


_TYPE_MARKERS = {code: _build_extension(code) for code in (_MESSAGE, _ERROR, _TUPLE, _EXCEPTION)}
_USUAL_KEYS = frozenset((str, bytes, int, float, bool, type(None)))
_TIMEDELTA_FORMAT = struct.Struct(">iii")
_SHORTEST_DATETIME = len("2026-11-29T12:00:00")


class _TypeMarker:
    """The first item of a list that stands for a value of another type, which ``code`` says."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


_DECODED_MARKERS = {code: _TypeMarker(code) for code in _TYPE_MARKERS}


def _known_exceptions(extra: Iterable[type[Exception]]) -> dict[str, type[Exception]]:
    found: dict[str, type[Exception]] = {}
    for module in (builtins, huey_exceptions, errors):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Exception):
                found[full_name(value)] = value
    found.update((full_name(value), value) for value in extra)
    return found


def _make_storable(text: str) -> str:
    return shorten_text(make_text_sendable(text), _LONGEST_TEXT)


def _is_public_name(key: Any) -> bool:
    return type(key) is str and not key.startswith("_")


class WireFormat:
    """Turns values into bytes and back. Thread-safe.

    - ``exceptions``: classes that arrive as themselves, besides those of Python, Huey and Aquila. They are built by
      calling the class with the ``args`` of the exception. Any other exception arrives as ``RemoteTaskError``.
    - ``max_objects``: a value of more objects is neither written nor built.
    """

    def __init__(self, exceptions: Iterable[type[Exception]] = (), *, max_objects: int) -> None:
        self._exceptions = _known_exceptions(exceptions)
        self._max_objects = max_objects
        self._small = min(SMALL, max_objects)
        """Bytes of a message that need not be counted: it cannot have too many objects, nor too many keys."""
        # A packer for each thread, which ends with the thread: a packer is not thread-safe, and making one costs as
        # much as packing a task.
        self._of_thread = threading.local()

    def _make_packer_of_thread(self) -> Any:
        packer = self._of_thread.packer = msgpack.Packer(strict_types=True, default=self._encode_object)
        return packer

    def dumps(self, value: Any) -> bytes:
        """Return ``value`` as bytes. Raises ``NotSerializable`` that names the place of what cannot be sent."""
        try:
            # In a list of one item, whose head is cut off again. msgpack packs one level more than it unpacks, so a
            # value that is too deep for the reader is refused here.
            packer = getattr(self._of_thread, "packer", None) or self._make_packer_of_thread()
            data: bytes = packer.pack([value])[1:]
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise NotSerializable(find_unsendable(value) or f"the value cannot be sent: {error}") from None
        # msgpack packs a bytearray or a memoryview as bytes without calling `default`. Only data with one of the heads
        # of bytes can hold one, so most values are not searched. The heads are numbers, because for a byte string `in`
        # makes an error first, which takes longer than the search.
        if (0xC4 in data or 0xC5 in data or 0xC6 in data) and holds_mutable_bytes(value):
            raise NotSerializable(find_unsendable(value) or "the value holds a bytearray or a memoryview")
        if len(data) <= self._small:
            return data
        if excess := self._describe_excess(data):
            raise NotSerializable(f"the value has {excess}")
        if may_hold_unusual_keys(data):
            try:
                self.loads(data)  # The only exact way to tell whether the other side would refuse it.
            except MessageRejected as error:
                raise NotSerializable(str(error)) from None
        return data

    def _describe_excess(self, data: bytes | memoryview) -> str | None:
        """Return what a message has too many of, or None. Nothing is built."""
        if holds_more_objects(data, self._max_objects):
            return (
                f"more than {self._max_objects:,} objects (texts, numbers, lists, ...): send a reference to the data, "
                "or raise max_objects= on both sides"
            )
        return None

    def loads(self, data: bytes | memoryview) -> Any:
        """Return the value from which ``dumps`` has made ``data``. Raises ``MessageRejected`` for any other data."""
        is_small = len(data) <= self._small
        if not is_small and (excess := self._describe_excess(data)):
            raise MessageRejected(f"the message has {excess}")
        decoder = _MessageDecoder(self._exceptions)
        try:
            value = msgpack.unpackb(
                data,
                ext_hook=decoder.decode_extension,
                list_hook=decoder.decode_list,
                object_pairs_hook=decoder.decode_pairs if not is_small and may_hold_unusual_keys(data) else None,
                strict_map_key=False,
            )
        except MessageRejected:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise MessageRejected(f"not a message of this serializer: {error or type(error).__name__}") from None
        if decoder.unclaimed:
            raise MessageRejected(
                "not a message of this serializer: a marker of a type is not the first item of a list"
            )
        return value

    def _encode_object(self, value: Any) -> Any:
        kind = type(value)
        if kind is tuple:
            return [_TYPE_MARKERS[_TUPLE], *value]
        if kind is Message:
            if tuple(map(type, value)) not in accepted_kinds and (odd := find_odd_field(value)):
                raise TypeError(odd)
            return [_TYPE_MARKERS[_MESSAGE], *value]
        if kind is Error:
            return [_TYPE_MARKERS[_ERROR], value.metadata]
        if kind is datetime or kind in REAL_DATETIMES:
            if offence := describe_unsendable_datetime(value):
                raise TypeError(offence)
            return _build_extension(_DATETIME, f"{value.isoformat()}{'~' * value.fold}".encode())
        if kind is timedelta:
            return _build_extension(_TIMEDELTA, _TIMEDELTA_FORMAT.pack(value.days, value.seconds, value.microseconds))
        if value is SKIPPED:
            return _build_extension(_SKIPPED)
        if isinstance(value, Exception):
            return [_TYPE_MARKERS[_EXCEPTION], *self._take_exception_apart(value)]
        raise TypeError(f"cannot send {kind.__name__}")

    def _take_exception_apart(self, error: Exception) -> tuple[str, str, list[Any] | None, dict[str, Any]]:
        """Return the name, the text, the arguments and the attributes of an exception. Never raises.

        An exception here would cost the retry, because Huey sends the error to ``on_error`` before it enqueues the
        retry.
        """
        kind = type(error)
        name = error.type_name if isinstance(error, RemoteTaskError) else full_name(kind)
        text = make_text_sendable(
            write_safely(lambda: error.text if isinstance(error, RemoteTaskError) else str(error), _LONGEST_TEXT)
        )
        if kind is RemoteTaskError or self._exceptions.get(name) is not kind:
            return name, text, None, {}
        try:
            # As a pickle does: some classes keep more than their `args`, for example `OSError` its file name.
            reduced: Any = error.__reduce__()
            built_by, arguments, *state = reduced
        except Exception:  # noqa: BLE001 -- a user's __reduce__ may do anything
            return name, text, None, {}
        if type(arguments) is tuple:
            arguments = tuple(_make_storable(part) if type(part) is str else part for part in arguments)
        if built_by is not kind or type(arguments) is not tuple or find_unsendable(arguments):
            return name, text, None, {}
        attributes = state[0] if state and type(state[0]) is dict else {}
        kept = {
            key: value for key, value in attributes.items() if _is_public_name(key) and find_unsendable(value) is None
        }
        return name, text, list(arguments), kept


class _MessageDecoder:
    """Builds values while msgpack reads one message. ``unclaimed`` counts the markers whose list has not ended.

    Each message has a decoder of its own, so several threads may read at once.
    """

    __slots__ = ("_exceptions", "_unusual_keys", "unclaimed")

    def __init__(self, exceptions: dict[str, type[Exception]]) -> None:
        self._exceptions = exceptions
        self._unusual_keys = 0
        self.unclaimed = 0

    def decode_pairs(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._unusual_keys += sum(type(key) not in _USUAL_KEYS for key, _ in pairs)
        if self._unusual_keys > MAX_UNUSUAL_KEYS:
            raise MessageRejected(
                f"more than {MAX_UNUSUAL_KEYS:,} keys of dictionaries are tuples, datetimes or the like: send a list "
                "of pairs"
            )
        return dict(pairs)

    def decode_extension(self, code: int, data: bytes) -> Any:
        if not data and (marker := _DECODED_MARKERS.get(code)) is not None:
            self.unclaimed += 1
            return marker
        return _decode_extension(code, data)

    def decode_list(self, items: list[Any]) -> Any:
        if not items or type(items[0]) is not _TypeMarker:
            return items
        self.unclaimed -= 1
        code = items[0].code
        if code == _TUPLE:
            return tuple(items[1:])
        if code == _MESSAGE:
            return build_message(items[1:])
        return self._build_error(items) if code == _ERROR else self._build_exception(items)

    def _build_error(self, items: list[Any]) -> Any:
        if len(items) != 2 or type(items[1]) is not dict:
            raise MessageRejected("not a message of this serializer: an error without its details")
        return Error(items[1])

    def _build_exception(self, items: list[Any]) -> Exception:
        kinds = [type(item) for item in items[1:]]
        if kinds[:2] != [str, str] or kinds[3:] != [dict] or kinds[2] not in (list, type(None)):
            raise MessageRejected("not a message of this serializer: an exception without its parts")
        name, text, arguments, attributes = items[1:]
        kind = self._exceptions.get(name)
        if kind is None or arguments is None:
            return RemoteTaskError(name, text)
        try:
            error = kind(*arguments)
            for key, value in attributes.items():
                if _is_public_name(key):
                    setattr(error, key, value)
        except Exception:  # noqa: BLE001 -- a constructor may want other arguments than it has stored
            return RemoteTaskError(name, text)
        return error


def _decode_extension(code: int, data: bytes) -> Any:
    if code >= 0:
        return msgpack.ExtType(code, data)
    # `isoformat` writes no shorter ones. One of 16 bytes would not be counted: see `may_hold_unusual_keys`.
    if code == _DATETIME and len(data) >= _SHORTEST_DATETIME:
        text = data.decode("ascii")
        moment = datetime.fromisoformat(text.rstrip("~"))
        return moment.replace(fold=1) if text.endswith("~") else moment
    if code == _TIMEDELTA and len(data) == _TIMEDELTA_FORMAT.size:
        days, seconds, microseconds = _TIMEDELTA_FORMAT.unpack(data)
        return timedelta(days, seconds, microseconds)
    if code == _SKIPPED and not data:
        return SKIPPED
    raise MessageRejected(f"not a message of this serializer: unknown type {code}")

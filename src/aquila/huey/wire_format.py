"""Values to bytes and back: msgpack, plus the types that Huey itself sends.

A value arrives equal and of the same type, or it is refused. It is never changed into something similar.

Decoding builds plain data, Huey's own records and exceptions. No class and no function is looked up by a name in the
data, except in the fixed table of exceptions.
"""

from __future__ import annotations

import builtins
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack
from huey import exceptions as huey_exceptions
from huey.registry import Message
from huey.utils import SKIPPED, Error

from aquila import errors
from aquila.errors import MessageRejected, NotSerializable, RemoteTaskError

# Codes below zero: `msgpack.ExtType` refuses them, so no value of a user can be taken for one of these.
_MESSAGE, _ERROR, _TUPLE, _EXCEPTION, _SKIPPED, _DATETIME, _TIMEDELTA = range(-8, -1)

_MAX_DEPTH = 1024  # Levels of nesting: the most that msgpack unpacks.

_ADVICE: dict[str, str] = {
    "set": "send sorted(...) of it",
    "frozenset": "send sorted(...) of it",
    "Decimal": "send str(...) of it",
    "UUID": "send str(...) of it",
    "date": "send .isoformat() of it",
    "time": "send .isoformat() of it",
    "bytearray": "send bytes(...) of it",
    "memoryview": "send bytes(...) of it",
    "OrderedDict": "send dict(...) of it",
    "defaultdict": "send dict(...) of it",
}


def _build_extension(code: int, data: bytes = b"") -> Any:
    """Build an extension value with a code below zero, which the public constructor refuses."""
    return tuple.__new__(msgpack.ExtType, (code, data))


_TYPE_MARKERS = {code: _build_extension(code) for code in (_MESSAGE, _ERROR, _TUPLE, _EXCEPTION)}
_SENDABLE_TYPES = frozenset(
    (type(None), bool, float, bytes, timedelta, list, tuple, dict, Message, Error, msgpack.ExtType, msgpack.Timestamp)
)
_CONTAINERS = frozenset((list, tuple, dict, Message, Error))
_MUTABLE_BYTES = frozenset((bytearray, memoryview))
_TIMEDELTA_FORMAT = struct.Struct(">iii")


class _TypeMarker:
    """The first item of a list that stands for another type. ``code`` says which."""

    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        self.code = code


_DECODED_MARKERS = {code: _TypeMarker(code) for code in _TYPE_MARKERS}


def _known_exceptions(extra: Iterable[type[Exception]]) -> dict[str, type[Exception]]:
    found: dict[str, type[Exception]] = {}
    for module in (builtins, huey_exceptions, errors):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Exception):
                found[_full_name(value)] = value
    found.update((_full_name(value), value) for value in extra)
    return found


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_public_name(key: Any) -> bool:
    return type(key) is str and not key.startswith("_")


class WireFormat:
    """Turns values into bytes and back. Thread-safe.

    ``exceptions`` are classes that arrive as themselves, besides those of Python, Huey and Aquila. They are built by
    calling the class with the exception's ``args``. Any other exception arrives as ``RemoteTaskError``.
    """

    def __init__(self, exceptions: Iterable[type[Exception]] = ()) -> None:
        self._exceptions = _known_exceptions(exceptions)
        # One packer a thread: it is not thread-safe, and making one costs as much as packing a task.
        self._of_thread = threading.local()

    def _packer_of_thread(self) -> Any:
        packer = getattr(self._of_thread, "packer", None)
        if packer is None:
            packer = self._of_thread.packer = msgpack.Packer(strict_types=True, default=self._encode_object)
        return packer

    def dumps(self, value: Any) -> bytes:
        """Return ``value`` as bytes. Raises ``NotSerializable`` with the place of what cannot be sent."""
        try:
            # In a list of one, taken off again: msgpack packs one level more than it unpacks.
            data: bytes = self._packer_of_thread().pack([value])[1:]
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise NotSerializable(find_unsendable(value) or f"the value cannot be sent: {error}") from None
        # msgpack turns a bytearray or memoryview into bytes without asking; only data with its headers can hold one.
        if (b"\xc4" in data or b"\xc5" in data or b"\xc6" in data) and _holds_mutable_bytes(value):
            raise NotSerializable(find_unsendable(value) or "the value holds a bytearray or a memoryview")
        return data

    def loads(self, data: bytes | memoryview) -> Any:
        """Return the value that ``dumps`` made ``data`` of. Raises ``MessageRejected`` for any other data."""
        decoder = _Decoder(self._exceptions)
        try:
            value = msgpack.unpackb(
                data, ext_hook=decoder.decode_extension, list_hook=decoder.decode_list, strict_map_key=False
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
            return [_TYPE_MARKERS[_MESSAGE], *value]
        if kind is Error:
            return [_TYPE_MARKERS[_ERROR], value.metadata]
        if kind is datetime:
            if offence := _describe_unsendable_datetime(value):
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
        """Return name, text, arguments and attributes of an exception. Never raises: the retry would be lost."""
        kind = type(error)
        name = error.type_name if isinstance(error, RemoteTaskError) else _full_name(kind)
        try:
            text = error.text if isinstance(error, RemoteTaskError) else str(error)
            text.encode()
        except Exception as problem:  # noqa: BLE001 -- a user's __str__ may do anything
            text = f"(its text cannot be made: {type(problem).__name__})"
        if kind is RemoteTaskError or self._exceptions.get(name) is not kind:
            return name, text, None, {}
        try:
            # The same as a pickle holds: some classes keep more than their args, OSError its file name.
            reduced: Any = error.__reduce__()
            built_by, arguments, *state = reduced
        except Exception:  # noqa: BLE001 -- a user's __reduce__ may do anything
            return name, text, None, {}
        if built_by is not kind or type(arguments) is not tuple or find_unsendable(arguments):
            return name, text, None, {}
        attributes = state[0] if state and type(state[0]) is dict else {}
        kept = {
            key: value for key, value in attributes.items() if _is_public_name(key) and find_unsendable(value) is None
        }
        return name, text, list(arguments), kept


class _Decoder:
    """Builds values while msgpack reads. Each message has its own: it counts the markers whose list has not ended."""

    __slots__ = ("_exceptions", "unclaimed")

    def __init__(self, exceptions: dict[str, type[Exception]]) -> None:
        self._exceptions = exceptions
        self.unclaimed = 0

    def decode_extension(self, code: int, data: bytes) -> Any:
        if code >= 0:
            return msgpack.ExtType(code, data)
        if code == _DATETIME:
            text = data.decode("ascii")
            moment = datetime.fromisoformat(text.rstrip("~"))
            return moment.replace(fold=1) if text.endswith("~") else moment
        if code == _TIMEDELTA and len(data) == _TIMEDELTA_FORMAT.size:
            days, seconds, microseconds = _TIMEDELTA_FORMAT.unpack(data)
            return timedelta(days, seconds, microseconds)
        if code == _SKIPPED and not data:
            return SKIPPED
        if code in _DECODED_MARKERS and not data:
            self.unclaimed += 1
            return _DECODED_MARKERS[code]
        raise MessageRejected(f"not a message of this serializer: unknown type {code}")

    def decode_list(self, items: list[Any]) -> Any:
        if not items or type(items[0]) is not _TypeMarker:
            return items
        self.unclaimed -= 1
        return _BUILDERS[items[0].code](self, items)

    def _build_tuple(self, items: list[Any]) -> tuple[Any, ...]:
        return tuple(items[1:])

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
        except Exception:  # noqa: BLE001 -- a constructor that wants other arguments than it stored
            return RemoteTaskError(name, text)
        return error

    def _build_message(self, items: list[Any]) -> Any:
        fields = items[1:]
        if len(fields) > len(Message._fields):
            raise MessageRejected(
                f"a task message with {len(fields)} fields, where this Huey knows {len(Message._fields)}: "
                "it was sent by a newer Huey; update the workers first"
            )
        for value, name, allowed in zip(fields, Message._fields, _ALLOWED_TYPES, strict=False):
            if allowed is not None and type(value) not in allowed:
                found = type(value).__name__
                raise MessageRejected(f"not a message of this serializer: field {name!r} of a task is {found}")
        message = Message(*fields)
        if message.name is None:
            raise MessageRejected("not a message of this serializer: a task without a name")
        if any(type(key) is not str for key in message.kwargs or ()):
            raise MessageRejected("not a message of this serializer: a keyword of a task is not text")
        chord = message.chord_config
        if chord is not None and [type(part) for part in chord] != [str, int, int, Message]:
            raise MessageRejected("not a message of this serializer: the chord of a task is malformed")
        return message


_BUILDERS: dict[int, Callable[[_Decoder, list[Any]], Any]] = {
    _TUPLE: _Decoder._build_tuple,
    _ERROR: _Decoder._build_error,
    _EXCEPTION: _Decoder._build_exception,
    _MESSAGE: _Decoder._build_message,
}
_NONE = type(None)
# Not "args": Huey itself sends anything there when `schedule` is given something else than a tuple.
_FIELD_TYPES: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "name": (str,),
    "eta": (datetime, _NONE),
    "retries": (int, float, _NONE),
    "retry_delay": (int, float, _NONE),
    "priority": (int, float, _NONE),
    "kwargs": (dict, _NONE),
    "on_complete": (Message, _NONE),
    "on_error": (Message, _NONE),
    "expires": (int, float, timedelta, datetime, _NONE),
    "expires_resolved": (datetime, _NONE),
    "timeout": (int, float, _NONE),
    "chord_config": (tuple, _NONE),
    "retry_backoff": (int, float, _NONE),
}

_ALLOWED_TYPES = tuple(_FIELD_TYPES.get(name) for name in Message._fields)


def _holds_mutable_bytes(value: Any) -> bool:
    """Whether a value holds a bytearray or a memoryview. Compares types of whole lists, so plain values cost little."""
    todo: list[Iterable[Any]] = [(value,)]
    while todo:
        items = todo.pop()
        kinds = set(map(type, items))
        if not kinds.isdisjoint(_MUTABLE_BYTES):
            return True
        if kinds.isdisjoint(_CONTAINERS):
            continue
        for item in items:
            kind = type(item)
            if kind is dict:
                todo += [item, item.values()]
            elif kind in _CONTAINERS:
                todo.append(item)
    return False


def find_unsendable(value: Any) -> str | None:
    """Say where ``value`` holds something that cannot be sent and what to send instead, or return None.

    It refuses exactly what ``WireFormat.dumps`` refuses, and takes longer, because it knows the place.
    """
    todo: list[tuple[Any, str, int]] = [(value, "the value", 0)]
    while todo:
        item, where, depth = todo.pop()
        if offence := _describe_unsendable(item):
            return f"{where} is {offence}"
        if depth > _MAX_DEPTH:
            return f"{where[:60]}... is nested too deeply, or contains itself"
        # In reverse, so that the first one that cannot be sent is found first.
        todo.extend((part, place, depth + 1) for part, place in reversed(list(_iterate_parts(item, where))))
    return None


def _describe_unsendable(value: Any) -> str | None:
    """Say why a value cannot be sent, whatever it contains, or return None."""
    kind = type(value)
    if kind is int:
        return None if -(2**63) <= value < 2**64 else "an integer beyond 64 bits: send str(...) of it"
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return "text with a lone surrogate, which UTF-8 cannot hold"
        return None
    if kind is datetime:
        return _describe_unsendable_datetime(value)
    if kind in _SENDABLE_TYPES or value is SKIPPED or isinstance(value, Exception):
        return None
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    return f"a {name}: {_ADVICE.get(kind.__name__) or _advise_for_type(kind)}"


def _iterate_parts(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    """Yield what a value contains, each with its place."""
    kind = type(value)
    if kind in (list, tuple):
        yield from ((item, f"{where}[{index}]") for index, item in enumerate(value))
    elif kind is dict:
        for key, item in value.items():
            yield key, f"a key of {where}"
            yield item, f"{where}[{key!r}]"
    elif kind is Error:
        yield value.metadata, f"{where}.metadata"
    elif kind is Message:
        for name, item in zip(value._fields, value, strict=True):
            yield item, f"{value.name}: {name}"


def _describe_unsendable_datetime(value: datetime) -> str | None:
    if value.tzinfo is None or type(value.tzinfo) is timezone:
        return None
    return f"a datetime in the zone {value.tzinfo}, and only its offset would arrive: send .astimezone(UTC) of it"


def _advise_for_type(kind: type) -> str:
    names = {base.__name__ for base in kind.__mro__}
    if "Enum" in names:
        return "send its .value"
    if hasattr(kind, "_fields") and issubclass(kind, tuple):
        return "send ._asdict() or tuple(...) of it"
    if hasattr(kind, "__dataclass_fields__"):
        return "send dataclasses.asdict(...) of it"
    if hasattr(kind, "model_dump"):
        return "send .model_dump(mode='json') of it"
    for plain in (bool, int, float, str, bytes, list, tuple, dict):
        if issubclass(kind, plain):
            return f"send {plain.__name__}(...) of it"
    return "send plain data (text, numbers, lists, dictionaries, datetimes)"

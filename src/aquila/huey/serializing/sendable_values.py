"""Finds the part of a value that a message cannot hold, and says what to send instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgpack
from huey.registry import Message
from huey.utils import SKIPPED, Error

from aquila.errors import NotSerializable, RemoteTaskError
from aquila.huey.error_texts import text_of, write_safely
from aquila.huey.serializing.task_messages import find_odd_field

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

_SENDABLE_TYPES = frozenset(
    (type(None), bool, float, bytes, timedelta, list, tuple, dict, Message, Error, msgpack.ExtType, msgpack.Timestamp)
)
REAL_DATETIMES = (datetime,)
"""The class ``datetime``. While freezegun stops the time, that name is a class of its own, and there are both kinds."""
_CONTAINERS = frozenset((list, tuple, dict, Message, Error))
_MUTABLE_BYTES = frozenset((bytearray, memoryview))


def holds_mutable_bytes(value: Any) -> bool:
    """Whether a value holds a bytearray or a memoryview, at any depth."""
    # The types of all items of a container become one set, so that a long list of plain values costs little. A loop
    # with a list of what is left, instead of recursion, because a value may be nested a thousand levels deep.
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
    """Return a sentence on where ``value`` holds something that cannot be sent, and what to send instead; or None.

    It refuses exactly what ``WireFormat.dumps`` refuses. It is slower, so it is called only after ``dumps`` has failed.
    """
    todo: list[tuple[Any, str, int]] = [(value, "the value", 0)]
    while todo:
        item, where, depth = todo.pop()
        if offence := _describe_unsendable(item):
            return f"{where} is {offence}"
        if depth > _MAX_DEPTH:
            return f"{where[:60]}... is nested too deeply, or contains itself"
        # In reverse order, because the last one is popped first, and the first offence is to be named.
        todo.extend((part, place, depth + 1) for part, place in reversed(list(_iterate_parts(item, where))))
    return None


def _describe_unsendable(value: Any) -> str | None:
    """Return why a value itself cannot be sent, whatever it contains, or None."""
    # Exact types: a subclass would arrive as its base class, and so as another value.
    kind = type(value)
    if kind is int:
        return None if -(2**63) <= value < 2**64 else "an integer beyond 64 bits: send str(...) of it"
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return "text with a lone surrogate, which UTF-8 cannot hold"
        return None
    if kind is datetime or kind in REAL_DATETIMES:
        return describe_unsendable_datetime(value)
    if kind is Message and (odd := find_odd_field(value)):
        return f"a task that no worker would accept: {odd}"
    if kind in _SENDABLE_TYPES or value is SKIPPED or isinstance(value, Exception):
        return None
    name = kind.__qualname__ if kind.__module__ == "builtins" else full_name(kind)
    return f"a {name}: {_ADVICE.get(kind.__name__) or _advise_for_type(kind)}"


def _iterate_parts(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    """Yield the values that a value contains, each with its place."""
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


def refusal_of(error: Exception) -> NotSerializable:
    """Return the error of a serializer that refuses a value, as that of Aquila's serializer.

    Others, such as Huey's own with its pickles, raise what they like. It must not be taken for an error of the storage,
    after which a task is delivered again.
    """
    if isinstance(error, NotSerializable):
        return error
    refusal = NotSerializable(f"the serializer of this queue refuses the value: {text_of(error)}")
    refusal.__cause__ = error
    return refusal


def make_error_sendable(serializer: Any, error: Any) -> Any:
    """Return an exception, or a ``RemoteTaskError`` in its place where it would not come through a serializer.

    Many exceptions do not come through a pickle: those of ``openai``, for example, whose ``__init__`` wants more than
    is kept. The handler of the error would never execute. Aquila's own serializer sends every exception.
    """
    try:
        if isinstance(serializer.deserialize(serializer.serialize(error)), type(error)):
            return error
    except Exception:  # noqa: BLE001 -- whatever a pickle raises
        pass
    return RemoteTaskError(full_name(type(error)), write_safely(lambda: str(error)))


def make_text_sendable(text: str) -> str:
    """Return a text in which lone surrogates, which UTF-8 cannot hold, are written as escapes such as ``\\ud83d``."""
    return text.encode("utf-8", "backslashreplace").decode()


def describe_unsendable_datetime(value: datetime) -> str | None:
    """Return why a datetime cannot be sent, or None."""
    if value.tzinfo is None or type(value.tzinfo) is timezone:
        return None
    return f"a datetime in the zone {value.tzinfo}, and only its offset would arrive: send .astimezone(UTC) of it"


def _advise_for_type(kind: type) -> str:
    # By what a class has, not by its identity: pydantic and enum need not be imported for that.
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


def full_name(kind: type) -> str:
    """Return the name of a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"

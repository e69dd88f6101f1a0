"""Compares a value with what arrives after a round trip over the wire, by equality and by type at every depth."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aquila.huey.testing.task_run import shortened_repr

_SHOWN = 80  # Characters of a value in a message.


def find_argument_difference(sent: Any, arrived: Any) -> str | None:
    """Return where and how the arguments of a task have changed on the wire, or None."""
    return find_difference(sent.args, arrived.args, "args") or find_difference(sent.kwargs, arrived.kwargs, "kwargs")


def find_difference(sent: Any, arrived: Any, where: str) -> str | None:
    """Return where and how ``arrived`` differs from ``sent``, or None. ``where`` names the value in the text.

    Values that cannot be compared count as the same: an array of numpy, or objects that refer to one another.
    """
    try:
        return None if is_plainly_same(sent, arrived) else _locate_difference(sent, arrived, where)
    except RecursionError:
        return None


_PLAIN = frozenset((str, int, bool, bytes, type(None)))


def is_plainly_same(sent: Any, arrived: Any) -> bool:
    """Whether two values are the same plain data. False only means that they must be compared in the slow way."""
    kind = type(sent)
    if kind is not type(arrived):
        return False
    if kind in _PLAIN:
        return bool(sent == arrived)
    if kind is dict:
        if len(sent) != len(arrived):
            return False
        pairs = zip([*sent, *sent.values()], [*arrived, *arrived.values()], strict=True)
    elif kind in (list, tuple) and len(sent) == len(arrived):
        pairs = zip(sent, arrived, strict=True)
    else:
        return False
    for one, other in pairs:
        if type(one) in _PLAIN:  # Compared without a call, which would take longer than the comparison.
            if type(one) is not type(other) or one != other:
                return False
        elif not is_plainly_same(one, other):
            return False
    return True


UNCHANGING = _PLAIN | {float}
"""Plain types whose values nobody can change: such a value is as good as a copy of it."""
_DEEPEST = 20


def is_plain_data(value: Any, depth: int = 0) -> bool:
    """Whether a value consists of plain types at every depth. False may also mean that it is nested very deeply."""
    kind = type(value)
    if kind in UNCHANGING:
        return True
    if kind is dict:
        parts = (*value, *value.values())
    elif kind is list or kind is tuple:
        parts = value
    else:
        return False
    if UNCHANGING.issuperset(map(type, parts)):
        return True
    return depth < _DEEPEST and all(is_plain_data(part, depth + 1) for part in parts)


def _locate_difference(sent: Any, arrived: Any, where: str) -> str | None:
    if sent is arrived:
        return None
    # While freezegun stops the time, a real datetime arrives as one of its own.
    if type(sent) is not type(arrived) and not (isinstance(sent, datetime) and isinstance(arrived, datetime)):
        return f"{where} went in as {_describe_typed(sent)} and came out as {_describe_typed(arrived)}"
    if isinstance(sent, dict):
        return _find_dict_difference(sent, arrived, where)
    if isinstance(sent, list | tuple):
        if len(sent) != len(arrived):
            return f"{where} went in with {len(sent)} items and came out with {len(arrived)}"
        pairs = zip(sent, arrived, strict=True)
        return _first_found(_locate_difference(a, b, f"{where}[{index}]") for index, (a, b) in enumerate(pairs))
    try:
        if sent == arrived or (sent != sent and arrived != arrived):
            return None
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 -- whatever the `==` of a user's class raises
        return None
    if isinstance(sent, BaseException):
        return _locate_difference(sent.args, arrived.args, f"{where}.args")
    if getattr(type(sent), "__eq__", None) is object.__eq__ and hasattr(sent, "__dict__"):
        return _find_dict_difference(vars(sent), vars(arrived), where)
    return f"{where} went in as {shortened_repr(sent, _SHOWN)} and came out as {shortened_repr(arrived, _SHOWN)}"


def _find_dict_difference(sent: dict[Any, Any], arrived: dict[Any, Any], where: str) -> str | None:
    sent_keys, arrived_keys = ({(type(key), key): key for key in found} for found in (sent, arrived))
    for missing in sent_keys.keys() - arrived_keys.keys():
        return f"{where} went in with the key {missing[1]!r} and came out without it"
    for added in arrived_keys.keys() - sent_keys.keys():
        return f"{where} came out with a key {added[1]!r} that did not go in"
    return _first_found(_locate_difference(sent[key], arrived[key], f"{where}[{key!r}]") for key in sent)


def _first_found(found: Any) -> str | None:
    return next((text for text in found if text), None)


def _describe_typed(value: Any) -> str:
    return f"{type(value).__name__} {shortened_repr(value, _SHOWN)}"

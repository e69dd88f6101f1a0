"""Misses as plain data, for another process: in a file of messages, or in the message of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aquila import errors
from aquila.errors import CassetteMiss, ConversationDrifted
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.recording.secrets import outgoing
else:
    lazy_modules(globals(), "aquila.recording.secrets: outgoing")

_KINDS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CassetteMiss)
}


def describe_miss(miss: CassetteMiss) -> list[Any]:
    """Return a miss as plain data, for another process."""
    return [miss.public_class.__name__, str(miss), *miss.facts.values()]


def miss_from(row: Any) -> CassetteMiss:
    """Return the miss that ``describe_miss`` described in another process.

    A damaged row is a miss, too, so that nothing can hide one.
    """
    match row:
        case [
            str(kind), str(text), str() | None as difference, str() | None as group, str() | None as cure,
        ] if kind in _KINDS:  # fmt: skip
            return _KINDS[kind](text, difference=difference, group=group, cure=cure)
    return CassetteMiss("another process of this test told of a miss, and what it wrote of it cannot be read")


def describe_miss_of_child(miss: CassetteMiss) -> list[Any]:
    """Return a miss as ``describe_miss`` does, and then the conversation that is to be recorded anew."""
    conversation = {name: list(keys) for name, keys in getattr(miss, "conversation", {}).items()}
    return [*describe_miss(miss), conversation]


def miss_of_child(row: Any) -> CassetteMiss:
    """Return the miss of a child, which may say that a conversation is to be recorded anew.

    Only a child may say that, in a folder to which nobody else may write; a message over a queue may not. The text is
    redacted here: the test may have set keys of which the child knew nothing.
    """
    known = isinstance(row, list) and bool(row)
    miss = miss_from(outgoing.redact_outgoing_value(row[:-1]) if known else row)
    if isinstance(miss, ConversationDrifted) and isinstance(row[-1], dict):
        miss.conversation = {str(name): list(map(str, keys)) for name, keys in row[-1].items()}
    return miss

"""How a message becomes a dead letter."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from huey.api import PeriodicTask, Task
from huey.exceptions import HueyException
from huey.registry import Message

from aquila.errors import ConfigError, TaskError
from aquila.huey.delivery.dead_letters import DeadLetter, DeadLetters, LetterKind, identify_message
from aquila.huey.delivery.unknown_tasks import LONGEST_ID, ids_of_followers, read_unknown
from aquila.huey.error_texts import UNCUT, redact_long_text, shorten_text, text_of
from aquila.huey.limits.unique_jobs import release_unknown_claim
from aquila.huey.serializing.sendable_values import make_text_sendable
from aquila.huey.tasks.running_task import FLOW_CONTROL, task_name
from aquila.huey.tasks.task_ends import error_of
from aquila.lazy_imports import lazy_modules
from aquila.recording.under_test import is_under_test

if TYPE_CHECKING:
    from aquila.huey.live import redacting
else:
    lazy_modules(globals(), "aquila.huey.live: redacting")

logger = logging.getLogger("huey.aquila")

_NO_TIME = dt.datetime.fromtimestamp(0, dt.UTC)  # A placeholder: `DeadLetters.put` takes the time of the storage.
_LONGEST_REASON, _LONGEST_DETAILS = 2_000, 20_000  # Characters.
_GREATEST_PRIORITY = 2**53  # Larger whole numbers are not exact in Redis and SQL. A pickle may hold any.


def bury_unreadable(
    huey: Any, data: bytes, error: Exception, put_back: Callable[[float | None], object] | None = None
) -> None:
    """Keep a message that cannot be turned into a task as a dead letter, and end its job where the message can be read.

    It can be read where only its task, or one that follows, is not registered here.

    - ``data``: the message. ``error``: why it could not be read.
    - ``put_back``: enqueues the message again, with the priority that it is given. None where the message has a copy,
      which is delivered again anyway.

    Raises what the storage raises. Where it could not keep the dead letter, ``put_back`` was called before.
    """
    # Huey raises a `HueyException` of its own for a task that is not registered: such a message can be read.
    message = read_unknown(huey, data) if isinstance(error, HueyException) else None
    # One that cannot be read is named by its content: whatever it claims to be, it must not replace another letter.
    kind: LetterKind = "unreadable"
    id, reason, known = identify_message(data), text_of(error), dict[str, Any]()
    if message is not None:
        id, kind, reason = message.id, "unknown", _explain_unknown(huey, message.name)
        known = {"task_id": id, "name": message.name, "priority": message.priority}
    # In this block only the storage may raise: an error that the message itself causes would come again and again, and
    # the message would be put back for ever.
    try:
        DeadLetters(huey).put(_letter(id, kind, reason, data, **known))
    except ConfigError as unknown_storage:
        logger.error("a message in the queue %r is lost: %s; %s", huey.name, reason, unknown_storage)
        return
    except Exception:
        logger.exception(
            "a message in the queue %r can neither be read (%s) nor, at present, be kept as a dead letter",
            huey.name,
            reason,
        )
        if put_back is not None:
            put_back(known.get("priority"))
        raise
    logger.error("a message in the queue %r is now dead letter %s: %s", huey.name, id, reason)
    if message is not None:
        _end_unknown_job(huey, message, reason)


def _end_unknown_job(huey: Any, message: Message, reason: str) -> None:
    """Store an error as the result of a job and of those that would follow it, and publish that the job failed."""
    release_unknown_claim(huey, message.id, message.name)
    if (publisher := getattr(huey, "publisher", None)) is not None:
        publisher.give_up(message.id, message.name, TaskError(reason))
    error = error_of(message.id, f"TaskError({reason!r})")
    for id in (message.id, *ids_of_followers(message)) if huey.results else ():
        huey.put_result(id, error)


def _explain_unknown(huey: Any, name: str) -> str:
    """Say what to do about a task that this consumer does not have. ``name`` has its module."""
    module, _, own = name.rpartition(".")
    if any(known.rpartition(".")[0] == module for known in huey._registry._registry):
        return (
            f"this consumer has no task {name!r}, but others of its module: if it was renamed, keep its name with "
            f"@huey.task(name={own!r}); otherwise start the consumer with the code that has it"
        )
    advice = "give huey_consumer the module that imports the tasks, not one that only makes the Huey"
    if is_under_test():  # A test does not call huey_consumer itself.
        advice += f"; in a test, name that module in aquila_huey, or in run_consumer(subprocess='{module}.huey')"
    return f"this consumer has no task {name!r}: {advice}"


def redact_safely(text: str, task: Task | None = None) -> str:
    """Return a text without secrets, also without those among the arguments of ``task``. Never raises.

    It may be shown later by a process that does not know the secrets, so they are removed before it is stored.
    """
    if task is not None:
        redacting.learn_secrets(task)
    return redact_long_text(text, redacting.redact_text)


def bury_failed(huey: Any, task: Task, error: BaseException, traceback: str) -> None:
    """Keep a task that has failed with no retry left as a dead letter.

    A task that was cancelled, or did not get its lock, has not failed, and is not kept. ``traceback`` is the text of
    the traceback.
    """
    if isinstance(error, FLOW_CONTROL):
        return
    redacting.learn_secrets(task)
    # `join` makes a plain `str` of an instance of a subclass, whose methods may do anything.
    _bury_task(huey, task, "failed", text_of(error, UNCUT), "".join((traceback,)))


def bury_lost(huey: Any, task: Task, reason: str) -> None:
    """Keep a task that is given up as a dead letter, because its workers were lost again and again."""
    _bury_task(huey, task, "lost", reason, "")


def _bury_task(huey: Any, task: Task, kind: LetterKind, reason: str, details: str) -> None:
    name = task_name(task)
    # A periodic task runs again anyway: under its name only the last failure is kept, not one for each run.
    id = name if isinstance(task, PeriodicTask) else str(task.id)
    try:
        message = getattr(task, "_aquila_message", None) or huey.serialize_task(task)
    except Exception:  # noqa: BLE001 -- in immediate mode arguments need not be serializable
        message = b""
    known = {"task_id": str(task.id), "name": name, "priority": task.priority}
    letter = _letter(id, kind, reason, message, **known, details=details)
    try:
        DeadLetters(huey).put(letter)
    except ConfigError as unknown_storage:
        logger.debug("task %s is no dead letter: %s", task.id, unknown_storage)
    except Exception:
        logger.exception("task %s has failed for good and could not be kept as a dead letter", task.id)


def _letter(
    id: str,
    kind: LetterKind,
    reason: str,
    message: bytes,
    *,
    task_id: str | None = None,
    name: str | None = None,
    priority: Any = None,
    details: str = "",
) -> DeadLetter:
    return DeadLetter(
        id=make_text_sendable(id).replace("\0", "")[:LONGEST_ID] or identify_message(message),
        kind=kind,
        reason=" ".join(redact_safely(reason).split())[:_LONGEST_REASON],
        at=_NO_TIME,
        message=bytes(message),
        task_id=task_id,
        task_name=name,
        details=shorten_text(redact_safely(details), _LONGEST_DETAILS),
        priority=priority if isinstance(priority, int | float) and abs(priority) <= _GREATEST_PRIORITY else None,
    )

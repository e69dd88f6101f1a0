"""Assertions on dead letters: tasks that failed for good, and messages that no worker could read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huey.api import TaskWrapper

from aquila.errors import ConfigError
from aquila.huey.delivery.dead_letters import KINDS, DeadLetter, dead_letters
from aquila.huey.testing.call_arguments import read_search
from aquila.huey.testing.fixture_types import AssertDeadLetter, RefuteDeadLetter, declared_as
from aquila.huey.testing.task_matching import TaskPattern
from aquila.huey.testing.task_run import call_text, shortened_repr
from aquila.spelling import suggest_name

_OPTIONS = ("huey", "queue", "kind", "reason")


@declared_as(AssertDeadLetter)  # type: ignore[type-abstract]
def assert_dead_letter(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> DeadLetter:
    """Assert that there is a matching dead letter, and return the first one.

    ``task``, ``args`` and the keyword arguments are compared as by ``all_enqueued``. These keywords are options:

    - ``kind``: ``failed``, ``unreadable``, ``unknown`` or ``lost``.
    - ``reason``: a part of its reason.
    - ``huey``: the Huey to look at; by default that of ``task``, or the one under test. ``queue`` is its name.
    - ``args=`` and ``kwargs=`` are as for ``all_enqueued``.

    Raises ``AssertionError`` that lists the dead letters. Raises ``ConfigError`` for a ``task`` that is not a decorated
    function, and for an unknown ``kind``.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import assert_dead_letter, drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide(1, b=0)
        ...     runs = drain_queue(raise_errors=False)
        ...     letter = assert_dead_letter(divide, b=0, kind="failed", reason="division by zero")
    """
    __tracebackhide__ = True
    matching, others, wanted = _search("assert_dead_letter", task, args, keywords)
    if not matching:
        found = "\n".join(["There are:", *others]) if others else "There are no dead letters"
        raise AssertionError(f"no dead letter matches {wanted}. {found}")
    return matching[0]


@declared_as(RefuteDeadLetter)  # type: ignore[type-abstract]
def refute_dead_letter(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> None:
    """Assert that there is no matching dead letter. The arguments are those of ``assert_dead_letter``.

    Raises ``AssertionError`` that lists the matching dead letters, and ``ConfigError`` as ``assert_dead_letter`` does.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import drain_queue, refute_dead_letter, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide(6, b=3)
        ...     runs = drain_queue()
        ...     refute_dead_letter(divide)
    """
    __tracebackhide__ = True
    matching, _, wanted = _search("refute_dead_letter", task, args, keywords)
    if matching:
        lines = [f"  {number}. {letter.kind}: {letter.reason}" for number, letter in enumerate(matching, start=1)]
        raise AssertionError("\n".join([f"a dead letter matches {wanted}, and none should:", *lines]))


def _search(
    function: str, task: Any, args: Sequence[Any], keywords: Mapping[str, Any]
) -> tuple[list[DeadLetter], list[str], str]:
    """Return the dead letters that match, lines about the others, and the description of the search."""
    task, call, huey = read_search(function, task, args, keywords, _OPTIONS)
    kind, reason = call.options.get("kind"), call.options.get("reason", "")
    if kind not in (None, *KINDS):  # otherwise `refute_dead_letter` would always pass
        raise ConfigError(f"there is no kind {kind!r} of dead letters{suggest_name(str(kind), KINDS)}")
    pattern = TaskPattern(wrapper=task, args=call.args, kwargs=call.kwargs)
    wants_task = task is not None or bool(call.args or call.kwargs)
    matching: list[DeadLetter] = []
    others: list[str] = []
    letters = dead_letters(huey)
    for letter in letters:
        dead = letters.read_task(letter)
        fits = not wants_task or (dead is not None and not pattern.find_mismatches(dead, None))
        if fits and kind in (None, letter.kind) and reason in letter.reason:
            matching.append(letter)
        else:
            shown = call_text(dead) if dead is not None else letter.task_name or "a message that cannot be read"
            others.append(f"  {len(others) + 1}. {shown} {letter.kind}: {shortened_repr(letter.reason)}")
    wanted = (
        str(pattern) + (f" of the kind {kind}" if kind else "") + (f" with {reason!r} in its reason" if reason else "")
    )
    return matching, others, wanted

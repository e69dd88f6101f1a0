"""Removes old results and checkpoints that nobody fetched, by age and by number.

::

    add_pruner(huey, older_than=timedelta(days=7), keep=10_000)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from huey.api import TaskWrapper, crontab

from aquila.errors import ConfigError
from aquila.huey.delivery.result_keys import delete_results, list_result_keys
from aquila.huey.progress.kept_progress import CHECKPOINTS_PREFIX, PARTIAL_PREFIX
from aquila.huey.state import EntryChange, state_of

_SEEN = "seen"
"""The table of the shared state that says when each entry of the result store was first seen."""

_PAGE = 5000
_OURS = "aquila."
_LEFT_BEHIND = (CHECKPOINTS_PREFIX, PARTIAL_PREFIX)
# Prefixes of what Huey keeps beside results: revocations of one task, revocations of all tasks of a name, and members
# of chords. Removing one would run a revoked task, or leave a chord waiting for ever.
_NOT_RESULTS = ("r:", "rt:", "chord:")


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many ``results`` were removed, and how many checkpoints and partial answers (``left_behind``).

    Examples:
        >>> from aquila.huey import MemoryHuey, Pruned, prune_results
        >>> def describe(removed: Pruned) -> str:
        ...     return f"{removed.results} results, {removed.left_behind} other entries"
        >>> describe(prune_results(MemoryHuey("jobs"), keep=100))
        '0 results, 0 other entries'
    """

    results: int
    left_behind: int


def prune_results(huey: Any, *, older_than: timedelta | None = None, keep: int | None = None) -> Pruned:
    """Remove old results, checkpoints and partial answers from the result store.

    - ``huey``: the Huey whose result store is meant.
    - ``older_than``: remove entries that are at least this old.
    - ``keep``: keep so many results, and so many other entries; remove the oldest of the rest.

    Only the keys of the store are read, not the values. Huey stores no times, so an age is counted from the first call
    that has seen the entry. Locks, revocations, rate limits, chords and running tasks are left alone. Returns how many
    entries were removed. Raises ``ConfigError`` where neither argument is given, for one that is negative or of another
    type, and for a storage other than Huey's own.

    Examples:
        >>> import datetime
        >>> from aquila.huey import MemoryHuey, prune_results
        >>> huey = MemoryHuey("jobs")
        >>> huey.put("a-result", 7)
        >>> prune_results(huey, older_than=datetime.timedelta(days=7)).results    # first seen now
        0
        >>> prune_results(huey, keep=0).results
        1
    """
    _check_limits(older_than, keep)
    state = state_of(huey)
    now = state.now()
    present = {key for key in list_result_keys(huey) if _is_removable(huey, key)}
    seen = {entry.key: entry.order for page in state.iterate_pages(_SEEN, size=_PAGE) for entry in page}
    state.delete(_SEEN, *(seen.keys() - present))
    new = [EntryChange(_SEEN, key, None, b"", now) for key in present - seen.keys()]
    for at in range(0, len(new), _PAGE):
        state.change_many(new[at : at + _PAGE])
    seen = {key: seen.get(key, now) for key in present}
    results = _select_removable([key for key in seen if not key.startswith(_OURS)], seen, now, older_than, keep)
    left_behind = _select_removable([key for key in seen if key.startswith(_OURS)], seen, now, older_than, keep)
    removed = [*results, *left_behind]
    delete_results(huey, removed)
    state.delete(_SEEN, *removed)
    return Pruned(len(results), len(left_behind))


def add_pruner(
    huey: Any,
    *,
    when: Callable[[datetime], bool] | None = None,
    older_than: timedelta | None = timedelta(days=7),
    keep: int | None = None,
    name: str = "aquila_prune",
) -> TaskWrapper:
    """Declare a periodic task that calls ``prune_results``, and return it.

    ``when`` is a ``crontab``, by default five minutes past every hour. ``name`` is the name of the task. ``older_than``
    and ``keep`` are passed to ``prune_results``. Raises ``ConfigError`` as that does, but at once.
    """
    # Checked here, too: in the task the error would show only in the log of a worker, five minutes past the hour.
    _check_limits(older_than, keep)

    def run() -> None:
        prune_results(huey, older_than=older_than, keep=keep)

    wrapper: TaskWrapper = huey.periodic_task(when or crontab(minute="5"), name=name)(run)
    return wrapper


def _check_limits(older_than: timedelta | None, keep: int | None) -> None:
    if older_than is None and keep is None:
        raise ConfigError(
            "nothing says which results to remove: give older_than= (a timedelta), keep= (a number), or both"
        )
    is_age = older_than is None or (isinstance(older_than, timedelta) and older_than >= timedelta())
    is_number = keep is None or (isinstance(keep, int) and keep >= 0)
    if not is_age or not is_number:
        raise ConfigError(
            f"older_than= is a timedelta from 0 and keep= a whole number from 0, not {older_than!r} and {keep!r}"
        )


def _is_removable(huey: Any, key: str) -> bool:
    if key.startswith(_OURS):
        return key.startswith(_LEFT_BEHIND)
    return not key.startswith((*_NOT_RESULTS, f"{huey.name}.lock.", f"{huey.name}.rl."))


def _select_removable(
    keys: list[str], seen: dict[str, float], now: float, older_than: timedelta | None, keep: int | None
) -> list[str]:
    oldest_first = sorted(keys, key=lambda key: (seen[key], key))
    surplus = max(0, len(keys) - keep) if keep is not None else 0
    limit = float("-inf") if older_than is None else now - older_than.total_seconds()
    return [key for at, key in enumerate(oldest_first) if at < surplus or seen[key] <= limit]

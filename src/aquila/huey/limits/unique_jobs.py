"""Jobs of which there is one at a time: a second one is not enqueued while the first is queued or runs.

A *claim* is what the queue's shared state holds of such a job, by the name of its task and the arguments that count:
the id of the job, whether it is about to be enqueued, queued or running, and until when that is believed. Who wants to
enqueue makes a claim or finds one, in one atomic step, so of several processes one is let in.

A claim ends with its job: when it completes, fails for good, is revoked, expires or is given up. What may end without
anybody to tell has a short time: being enqueued, and running, which the worker renews. So a process that is killed
holds nothing for long. With ``keep_running`` there is a copy of a job that lost its worker: for as long as there is one
its claim stays, and it goes back into the queue with the job.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from huey.api import Result, ResultGroup, Task
from huey.utils import Error

from aquila.errors import TaskContractBroken, TaskError
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.limits.unique_settings import Unique, canonical
from aquila.huey.running_task import attempt_of
from aquila.huey.state import SharedState, state_of

logger = logging.getLogger("huey.aquila")

TABLE = "unique"
ENQUEUING, LEASE = 30.0, 60.0
"""Seconds that a claim lasts while its job is being enqueued, and while a worker does not renew it."""

_SLACK = 60.0
"""Seconds by which the clocks of those who claim may differ, where the storage has none of its own."""
_KEPT = 30 * 86_400.0
"""Seconds for which the claim of a worker is kept that is not heard of any more, but whose copies are."""
_MOST_COPIES = 10_000
_MOST_CLAIMS, _PAGE = 10_000, 1000

Stage = Literal["enqueuing", "queued", "running", "over"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a job, until a moment by the clock of the storage. ``consumer`` has a copy of it while it runs."""

    id: str
    stage: Stage
    until: float
    consumer: str = ""

    @property
    def order(self) -> float:
        """Until when it is kept. Beyond its end where there may be a copy of the job, which will be delivered again."""
        return self.until + _KEPT if self.stage == "running" and self.consumer else self.until

    def write(self) -> bytes:
        """Return the claim as it is stored."""
        return json.dumps([self.id, self.stage, self.until, self.consumer]).encode()

    @classmethod
    def read(cls, data: bytes | None) -> Claim | None:
        """Return what is stored, or None for what is no claim."""
        try:
            id, stage, until, consumer = json.loads(data or b"")
            claim = cls(str(id), stage, float(until), str(consumer))
        except (ValueError, TypeError, RecursionError, OverflowError):
            return None
        return claim if math.isfinite(claim.until) else None


def unique_of(task: Any) -> Unique | None:
    """Return what makes the jobs of a task unique, or None."""
    found: Unique | None = getattr(type(task), "_aquila_unique", None)
    return found


def key_of(task: Any, unique: Unique) -> str:
    """Return under which name a job has its claim. Raises ``TaskContractBroken`` for arguments that do not fit."""
    parameters: inspect.Signature = type(task)._aquila_unique_parameters
    try:
        bound = parameters.bind(*task.args, **task.kwargs)
    except TypeError as error:
        raise TaskContractBroken(f"{task.name} is unique by its arguments, and these do not fit: {error}") from None
    bound.apply_defaults()
    counting = bound.arguments if unique.by is None else {name: bound.arguments[name] for name in unique.by}
    try:
        text = json.dumps(canonical(dict(counting)))
    except TypeError as error:
        raise TaskContractBroken(
            f"{task.name} is unique by its arguments, and {error}. Name the arguments that count: unique=('id',)"
        ) from None
    return f"{type(task).__module__}.{task.name}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def is_conflict(result: Any) -> bool:
    """Say whether a result is that of a job that was there already: the one that was to be enqueued was kept out."""
    return getattr(result, "conflict", False) is True


def enqueue_once(huey: Any, task: Any, unique: Unique, enqueue: Callable[[Any], Any]) -> Any:
    """Enqueue a job unless an identical one is queued or runs; then return the result of that one.

    Where others wait for the job, it counts as failed: its result, and those of what follows it, are errors that name
    the other job, and its chord goes on without it.
    """
    state, key = state_of(huey), key_of(task, unique)
    holder = _claim(huey, state, key, claim := Claim(task.id, "enqueuing", state.now() + ENQUEUING))
    if holder is not None:
        return _keep_out(huey, task, holder)
    try:
        result = enqueue(task)
    except BaseException:
        _end_claim(state, key, task.id)
        raise
    queued = Claim(task.id, "queued", state.now() + unique.within)
    # Where a worker has begun already, the claim is no longer ours to change.
    state.replace(TABLE, key, claim.write(), queued.write(), order=queued.order)
    return result


def _claim(huey: Any, state: SharedState, key: str, claim: Claim) -> Claim | None:
    """Make a claim. Returns the one that is in its way, if there is one."""
    while True:
        data = state.get(TABLE, key)
        holder = Claim.read(data)
        if holder is not None and holder.id != claim.id and not _is_over(huey, holder, state.now()):
            return holder
        if data is None:
            if state.add(TABLE, key, claim.write(), order=claim.order):
                return None
        elif state.replace(TABLE, key, data, claim.write(), order=claim.order):
            return None


def _is_over(huey: Any, holder: Claim, now: float) -> bool:
    if holder.stage == "over":
        return True
    if not _is_believed(holder, now):
        return holder.stage != "running" or not _has_copy(huey, holder)
    # A job that runs goes on after it was revoked, until it looks.
    return holder.stage == "queued" and huey.is_revoked(holder.id)


def _is_believed(claim: Claim, now: float) -> bool:
    """Whether a claim lasts by the clock. One for a short time that is far from over is from before it was put back."""
    longest = {"enqueuing": ENQUEUING + _SLACK, "running": LEASE + _SLACK}.get(claim.stage, math.inf)
    return now < claim.until <= now + longest


def _has_copy(huey: Any, holder: Claim) -> bool:
    """Whether there is a copy of a job whose worker has not been heard of: it will be delivered again."""
    copies = copies_of(huey) if holder.consumer else None
    for copy in copies.list_copies(holder.consumer, limit=_MOST_COPIES) if copies is not None else ():
        with contextlib.suppress(Exception):  # a message that cannot be read is no copy of this job
            if huey.deserialize_task(copy.data).id == holder.id:
                return True
    return False


def _keep_out(huey: Any, task: Any, holder: Claim) -> Any:
    if task.on_complete is not None or task.chord_config is not None or getattr(task, "_aquila_follows", False):
        message = (
            f"{task.name} was not enqueued, because an identical job, {holder.id}, is queued or runs, and it is unique"
        )
        error = Error({"error": message, "retries": 0, "traceback": "", "task_id": task.id})
        results, each = [], task
        while each is not None:
            huey.put_result(each.id, error)
            results.append(Result(huey, each))
            each = each.on_complete
        huey._abort_chord_member(task, error)
        result = results[0] if len(results) == 1 else ResultGroup(results)
    else:
        result = Result(huey, type(task)(args=task.args, kwargs=task.kwargs, id=holder.id))
    result.conflict = True
    return result if huey.results else None


def mark_followers(task: Any) -> None:
    """Note which tasks follow one that came over the wire: whoever enqueued that one has their results already."""
    for first in (task.on_complete, task.chord_config.callback if task.chord_config is not None else None):
        follower = first
        while follower is not None:
            follower._aquila_follows = True
            follower = follower.on_complete


class UniqueExecution:
    """The claim of a job while a worker executes it."""

    def __init__(self, huey: Any, task: Task, unique: Unique) -> None:
        self._state = state_of(huey)
        self._task = task
        self._key = task._aquila_unique_key = key_of(task, unique)  # the task may change its arguments
        self._unique = unique
        self._attempt = attempt_of(task)
        self._value: bytes | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        copy = getattr(task, "_aquila_copy", None)
        self._consumer = copy.owner if copy is not None else ""

    def begin(self) -> None:
        """Note that the job runs, unless another one has the claim: one that came when this one's was over."""
        now = self._state.now()
        data = self._state.get(TABLE, self._key)
        holder = Claim.read(data)
        if holder is not None and holder.id != self._task.id and holder.stage != "over" and _is_believed(holder, now):
            return
        self._put(data, Claim(self._task.id, "running", now + LEASE, self._consumer))
        if self._value is not None:
            threading.Thread(target=self._renew, name="aquila-unique", daemon=True).start()

    def end(self) -> None:
        """The execution is over. A job that will be executed again is queued; any other has ended its claim by now."""
        self._ended.set()
        with self._lock, contextlib.suppress(Exception):  # then it lasts for as long as was noted before
            if self._value is not None and attempt_of(self._task) > self._attempt:
                self._put(self._value, Claim(self._task.id, "queued", self._state.now() + self._unique.within))

    def _put(self, old: bytes | None, claim: Claim) -> None:
        new = claim.write()
        if old is None:
            stored = self._state.add(TABLE, self._key, new, order=claim.order)
        else:
            stored = self._state.replace(TABLE, self._key, old, new, order=claim.order)
        self._value = new if stored else None

    def _renew(self) -> None:
        while not self._ended.wait(LEASE / 3):
            with self._lock:
                if self._ended.is_set() or self._value is None:
                    return
                try:
                    claim = Claim(self._task.id, "running", self._state.now() + LEASE, self._consumer)
                    self._put(self._value, claim)
                except Exception:
                    logger.warning("the claim of %s could not be renewed, and ends soon", self._task.id, exc_info=True)


def begin_execution(huey: Any, task: Task) -> UniqueExecution | None:
    """Note that a unique job runs. Returns what ends that; None for a job that is not unique."""
    unique = unique_of(task)
    if unique is None:
        return None
    try:
        execution = UniqueExecution(huey, task, unique)
        execution.begin()
    except Exception:
        logger.warning("the claim of %s could not be kept up", task.id, exc_info=True)
        return None
    return execution


def requeue_claim(huey: Any, task: Any) -> None:
    """Note that a job is about to be put back into the queue, because its worker ends or was lost. Never raises."""
    unique = unique_of(task)
    if unique is None:
        return
    try:
        state, key = state_of(huey), key_of(task, unique)
        data = state.get(TABLE, key)
        holder = Claim.read(data)
        if data is not None and holder is not None and holder.id == task.id and holder.stage != "over":
            queued = Claim(task.id, "queued", state.now() + unique.within)
            state.replace(TABLE, key, data, queued.write(), order=queued.order)
    except Exception:
        logger.warning("the claim of %s could not be kept up", task.id, exc_info=True)


def claim_again(huey: Any, task: Any) -> None:
    """Claim a job that has ended and is enqueued once more. Raises ``TaskError`` where another one is there."""
    unique = unique_of(task)
    if unique is None:
        return
    state = state_of(huey)
    queued = Claim(task.id, "queued", state.now() + unique.within)
    holder = _claim(huey, state, key_of(task, unique), queued)
    if holder is not None:
        raise TaskError(
            f"{task.name} is unique, and an identical job, {holder.id}, is queued or runs: wait for its end"
        )


def release_claim(huey: Any, task: Any) -> None:
    """End the claim of a job that has ended, in whatever way, or will never be executed. Never raises."""
    unique = unique_of(task)
    if unique is None:
        return
    try:
        key = getattr(task, "_aquila_unique_key", None) or key_of(task, unique)
        _end_claim(state_of(huey), key, task.id)
    except Exception:
        logger.warning("the claim of %s could not be ended, and ends by itself", task.id, exc_info=True)


def release_unknown_claim(huey: Any, id: str, name: str) -> None:
    """End the claim of a job that no worker will execute, and whose task this process does not know. Never raises.

    ``name`` is that of the task with its module. The claim is looked for among those of the task: the arguments under
    which it is kept are known to nobody here.
    """
    try:
        state = state_of(huey)
        for offset in range(0, _MOST_CLAIMS, _PAGE):
            page = state.entries(TABLE, limit=_PAGE, offset=offset)
            for entry in page:
                holder = Claim.read(entry.value) if entry.key.startswith(f"{name}:") else None
                if holder is not None and holder.id == id:
                    _end_claim(state, entry.key, id)
                    return
            if len(page) < _PAGE:
                return
    except Exception:
        logger.warning("the claim of %s could not be ended, and ends by itself", id, exc_info=True)


def _end_claim(state: SharedState, key: str, id: str) -> None:
    while True:
        data = state.get(TABLE, key)
        holder = Claim.read(data)
        if data is None or holder is None or holder.id != id or holder.stage == "over":
            break
        # Not deleted by its key: it might be another job's by then.
        if state.replace(TABLE, key, data, Claim(id, "over", 0.0).write(), order=0.0):
            break
    state.delete_below(TABLE, state.now())

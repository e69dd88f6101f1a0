"""Jobs of which there is one at a time: a second one is not enqueued while the first is queued or runs.

A *claim* is an entry of the queue's shared state for such a job. Its key is the name of the task and a digest of the
arguments that count. The claim holds the id of the job, the stage of the job (being enqueued, queued or running), and
until when the claim is valid. A process that wants to enqueue makes a claim or finds one, in one atomic step. So of
several processes exactly one enqueues.

A claim ends with its job: when the job completes, fails for good, is revoked, expires or is given up. In two stages the
process may be killed before it ends the claim: being enqueued, and running. So the claims of these stages are short,
and the worker renews the claim of a running job. With ``keep_running`` there is a copy of a job that lost its worker.
The claim stays for as long as there is a copy, and the job is enqueued again under the same claim.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import itertools
import json
import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from huey.api import Result, ResultGroup, Task

from aquila.errors import TaskContractBroken, TaskError
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.limits.unique_settings import Unique, canonical_value
from aquila.huey.state import SharedState, state_of
from aquila.huey.tasks.running_task import attempt_of, task_name
from aquila.huey.tasks.task_ends import error_of, iterate_pipeline, store_error

logger = logging.getLogger("huey.aquila")

TABLE = "unique"
ENQUEUING, LEASE = 30.0, 60.0
"""Seconds for which a claim is valid while its job is being enqueued, and after a worker has last renewed it."""

_SLACK = 60.0
"""Seconds by which the clocks of producers and workers may differ, where the storage has no clock of its own. Many,
because a claim that is not believed lets an identical job in."""
_KEPT = 30 * 86_400.0
"""Seconds for which an entry is kept after its claim has ended, where a dead consumer may still have a copy of the job.
"""
# Bounds of a search through all copies or all claims: a queue that is broken must not hold a producer for minutes.
_MOST_COPIES = 10_000
_MOST_CLAIMS, _PAGE = 10_000, 1000

_NOT_UPDATED = "the claim of job %s could not be updated: an identical job may be enqueued beside it"
_NOT_ENDED = "the claim of job %s could not be ended: until it runs out, identical jobs are not enqueued"
_LOST = "the claim of job %s is lost: identical jobs may be enqueued beside it"

Stage = Literal["enqueuing", "queued", "running", "over"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a job.

    - ``id``: the id of the job.
    - ``stage``: ``enqueuing``, ``queued``, ``running``, or ``over`` for a claim that has ended.
    - ``until``: when it ends unless it is renewed, in seconds since the epoch by the clock of the storage.
    - ``consumer``: the id of the consumer that has a copy of the job while it runs; empty without ``keep_running``.
    """

    id: str
    stage: Stage
    until: float
    consumer: str = ""

    @property
    def order(self) -> float:
        """Until when the entry is kept. That is later than ``until`` where a copy of the job may be delivered again."""
        return self.until + _KEPT if self.stage == "running" and self.consumer else self.until

    def write(self) -> bytes:
        """Return the claim as it is stored."""
        return json.dumps([self.id, self.stage, self.until, self.consumer]).encode()

    @classmethod
    def read(cls, data: bytes | None) -> Claim | None:
        """Return the stored claim. None where nothing is stored, or what a later version has written."""
        try:
            id, stage, until, consumer = json.loads(data or b"")
        except (ValueError, TypeError):
            return None
        return cls(id, stage, until, consumer)


def unique_of(task: Any) -> Unique | None:
    """Return what makes the jobs of a task unique, or None where they are not."""
    found: Unique | None = getattr(type(task), "_aquila_unique", None)
    return found


def key_of(task: Any, unique: Unique) -> str:
    """Return the key of a job's claim.

    Raises ``TaskContractBroken`` for arguments that do not fit the task, or that cannot be compared.
    """
    parameters: inspect.Signature = type(task)._aquila_unique_parameters
    try:
        bound = parameters.bind(*task.args, **task.kwargs)
    except TypeError as error:
        raise TaskContractBroken(f"{task.name} is unique by its arguments, and these do not fit: {error}") from None
    bound.apply_defaults()
    counting = bound.arguments if unique.by is None else {name: bound.arguments[name] for name in unique.by}
    try:
        text = json.dumps(canonical_value(dict(counting)))
    except TypeError as error:
        raise TaskContractBroken(
            f"{task.name} is unique by its arguments, and {error}. Name the arguments that count: unique=('id',)"
        ) from None
    return f"{task_name(task)}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def is_conflict(result: Any) -> bool:
    """Say whether a result is that of an earlier, identical job, because the new job was not enqueued.

    ``result`` is what calling a task, or ``enqueue``, has returned.
    """
    return getattr(result, "conflict", False) is True


def enqueue_once(huey: Any, task: Any, unique: Unique, enqueue: Callable[[Any], Any]) -> Any:
    """Enqueue a job and return its result, or return the result of an identical job that is queued or runs.

    ``enqueue`` puts a task into the queue. Where other tasks wait for a job that was not enqueued, the job counts as
    failed: its result, and those of the tasks that follow it, are errors that name the identical job, and its chord
    goes on without it. Raises ``TaskContractBroken`` for arguments that do not fit.
    """
    # The claim comes first. A job that is in the queue without a claim would let an identical one in.
    state, key = state_of(huey), key_of(task, unique)
    holder = _claim(huey, state, key, claim := Claim(task.id, "enqueuing", state.now() + ENQUEUING))
    if holder is not None:
        return _refuse_duplicate(huey, task, holder)
    try:
        result = enqueue(task)
    except BaseException:
        _end_claim(state, key, task.id)
        raise
    try:
        queued = Claim(task.id, "queued", state.now() + unique.within)
        # Only if the claim is still ours as we wrote it: a worker may have begun the job already, and have changed it.
        state.replace(TABLE, key, claim.write(), queued.write(), order=queued.order)
    except Exception:  # The job is in the queue, so its caller must not take it for refused, and enqueue it again.
        logger.warning(_NOT_UPDATED, task.id, exc_info=True)
    return result


def _claim(huey: Any, state: SharedState, key: str, claim: Claim) -> Claim | None:
    """Make a claim. Return the claim of another job that is in its way, or None where the claim was made."""
    # Compare and set, again and again: each round ends only where another process has changed the entry meanwhile.
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
    # A running job is not asked: it goes on after it was revoked, until its own code notices that.
    return holder.stage == "queued" and huey.is_revoked(holder.id)


def _is_believed(claim: Claim, now: float) -> bool:
    """Whether a claim is valid by the clock ``now``, in seconds since the epoch.

    A short claim whose end is far away was made before somebody put the clock back. It is not valid.
    """
    longest = {"enqueuing": ENQUEUING + _SLACK, "running": LEASE + _SLACK}.get(claim.stage, math.inf)
    return now < claim.until <= now + longest


def _has_copy(huey: Any, holder: Claim) -> bool:
    """Whether there is a copy of a job whose worker is not heard of any more: that job will be delivered again."""
    copies = copies_of(huey) if holder.consumer else None
    for copy in copies.list_copies(holder.consumer, limit=_MOST_COPIES) if copies is not None else ():
        with contextlib.suppress(Exception):  # A message that cannot be read is no copy of this job.
            if huey.deserialize_task(copy.data).id == holder.id:
                return True
    return False


def _refuse_duplicate(huey: Any, task: Any, holder: Claim) -> Any:
    """Return what the caller of ``enqueue`` gets for a job that is not enqueued because of the claim ``holder``."""
    if task.on_complete is not None or task.chord_config is not None or getattr(task, "_aquila_follows", False):
        message = (
            f"{task.name} was not enqueued, because an identical job, {holder.id}, is queued or runs, and it is unique"
        )
        error = error_of(task.id, message)
        results = [Result(huey, each) for each in store_error(huey, task, error)]
        # A private method of Huey 3.5, by which it tells a chord that a member will never return a value.
        huey._abort_chord_member(task, error)
        result = results[0] if len(results) == 1 else ResultGroup(results)
    else:
        result = Result(huey, type(task)(args=task.args, kwargs=task.kwargs, id=holder.id))
    result.conflict = True  # An attribute that Huey's class does not have; `is_conflict` reads it.
    return result if huey.results else None


def mark_followers(task: Any) -> None:
    """Mark the tasks that follow a task which came as a message: its producer has their ``Result`` objects already."""
    callback = None if task.chord_config is None else task.chord_config.callback
    for follower in (*iterate_pipeline(task.on_complete), *iterate_pipeline(callback)):
        follower._aquila_follows = True


class UniqueExecution:
    """The claim of a job while a worker executes it. The worker owns it, from ``begin_execution`` until ``end``."""

    def __init__(self, huey: Any, task: Task, unique: Unique) -> None:
        self._state = state_of(huey)
        self._task = task
        # Computed now and kept on the task: the code of the task may change its arguments, and then the key would be
        # another one when the claim is released.
        self._key = task._aquila_unique_key = key_of(task, unique)
        self._unique = unique
        self._attempt = attempt_of(task)
        # The claim as we have stored it last; None where it is not ours. Guarded by `_lock`: the thread that renews
        # the claim must not write "running" over the "queued" of `end`.
        self._value: bytes | None = None
        # fork: belongs to one execution, which goes on only in the parent
        self._lock = threading.Lock()
        self._ended = threading.Event()
        copy = getattr(task, "_aquila_copy", None)
        self._consumer = copy.owner if copy is not None else ""

    def begin(self) -> None:
        """Change the claim to "running" and renew it from now on.

        Does nothing where another job has the claim, because the claim of this job had run out.
        """
        now = self._state.now()
        data = self._state.get(TABLE, self._key)
        holder = Claim.read(data)
        if holder is not None and holder.id != self._task.id and holder.stage != "over" and _is_believed(holder, now):
            return
        self._value = data
        try:
            self._put(Claim(self._task.id, "running", now + LEASE, self._consumer))
        finally:  # Also where no answer came: the claim may be stored, and is renewed.
            if self._value is not None:
                threading.Thread(target=self._renew, name="aquila-unique", daemon=True).start()

    def end(self) -> None:
        """Stop renewing the claim, and change it to "queued" where the job will be executed again."""
        self._ended.set()
        # If this fails, the claim stays as it was stored last, and runs out.
        with self._lock, contextlib.suppress(Exception):
            # A retry has raised the number of the attempt. Any other end has released the claim by now.
            if self._value is not None and attempt_of(self._task) > self._attempt:
                self._put(Claim(self._task.id, "queued", self._state.now() + self._unique.within))

    def _put(self, claim: Claim) -> None:
        """Store a claim in the place of ours, and note whether it is ours from then on."""
        if self._value is None:
            stored = self._state.add(TABLE, self._key, claim.write(), order=claim.order)
        elif not (stored := self._replace(self._value, claim)):
            data = self._state.get(TABLE, self._key)
            found = Claim.read(data)
            if data is None or found is None or found.id != claim.id:
                if hasattr(self._task, "_aquila_unique_key"):
                    logger.warning(_LOST, claim.id)
            elif (found.stage, found.consumer) == ("running", self._consumer):
                # An earlier call has stored this claim, and its connection broke before the answer came. Any other
                # claim of the job belongs to a consumer that has taken it over.
                stored = self._replace(data, claim)
        self._value = claim.write() if stored else None

    def _replace(self, old: bytes, claim: Claim) -> bool:
        return self._state.replace(TABLE, self._key, old, claim.write(), order=claim.order)

    def _renew(self) -> None:
        while not self._ended.wait(LEASE / 3):  # Three times in a lease, so that one renewal may fail.
            with self._lock:
                if self._ended.is_set() or self._value is None:
                    return
                try:
                    self._put(Claim(self._task.id, "running", self._state.now() + LEASE, self._consumer))
                except Exception:
                    logger.warning(
                        "the claim of job %s could not be renewed, and ends soon", self._task.id, exc_info=True
                    )


def begin_execution(huey: Any, task: Task) -> UniqueExecution | None:
    """Change the claim of a job to "running". Return the execution, which must be ended.

    Returns None for a job that is not unique. Where the storage does not answer the job runs all the same. Never
    raises.
    """
    unique = unique_of(task)
    if unique is None:
        return None
    execution = None
    try:
        execution = UniqueExecution(huey, task, unique)
        execution.begin()
    except Exception:
        logger.warning(_NOT_UPDATED, task.id, exc_info=True)
    return execution


def requeue_claim(huey: Any, task: Any) -> None:
    """Change the claim of a job to "queued": its worker ends or was lost, and the job is about to be enqueued again.

    Never raises.
    """
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
        logger.warning(_NOT_UPDATED, task.id, exc_info=True)


def claim_again(huey: Any, task: Any) -> None:
    """Claim a job that has ended and is about to be enqueued again by hand.

    Raises ``TaskError`` where an identical job is queued or runs.
    """
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
    """End the claim of a job that has ended in whatever way, or will never be executed. Never raises."""
    unique = unique_of(task)
    if unique is None:
        return
    try:
        # Removed first: the thread that renews the claim then does not take its end for a loss.
        key = task.__dict__.pop("_aquila_unique_key", None) or key_of(task, unique)
        _end_claim(state_of(huey), key, task.id)
    except Exception:
        logger.warning(_NOT_ENDED, task.id, exc_info=True)


def release_unknown_claim(huey: Any, id: str, name: str) -> None:
    """End the claim of a job that no worker will execute, and whose task this process does not know. Never raises.

    ``id`` is the id of the job, ``name`` the name of its task with the module.
    """
    # The key of the claim contains a digest of the arguments, which cannot be read here. So all claims are searched.
    try:
        state = state_of(huey)
        for page in itertools.islice(state.iterate_pages(TABLE, size=_PAGE), _MOST_CLAIMS // _PAGE):
            for entry in page:
                holder = Claim.read(entry.value) if entry.key.startswith(f"{name}:") else None
                if holder is not None and holder.id == id:
                    _end_claim(state, entry.key, id)
                    return
    except Exception:
        logger.warning(_NOT_ENDED, id, exc_info=True)


def _end_claim(state: SharedState, key: str, id: str) -> None:
    while True:
        data = state.get(TABLE, key)
        holder = Claim.read(data)
        if data is None or holder is None or holder.id != id or holder.stage == "over":
            break
        # Replaced, not deleted by its key: by then the entry might be the claim of another job. `delete_below` removes
        # it, because its order is 0.
        if state.replace(TABLE, key, data, Claim(id, "over", 0.0).write(), order=0.0):
            break
    state.delete_below(TABLE, state.now())

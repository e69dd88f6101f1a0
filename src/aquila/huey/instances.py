"""The Huey classes: their tasks carry a reference to their test to the worker, and their messages are not pickles."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, overload

import huey as _huey
from huey.api import Result, Task, TaskWrapper
from huey.exceptions import TaskTimeout

from aquila.engine.calls.request_gate import set_gate_owner
from aquila.errors import ConfigError, MessageRejected, NotSerializable
from aquila.huey import scope_reference
from aquila.huey.delivery.consumer_life import LOST_AFTER, check_lost_after
from aquila.huey.delivery.delivering_huey import DeliveringHuey
from aquila.huey.delivery.signed_results import SignedResult
from aquila.huey.enqueue_check import check_arguments
from aquila.huey.limits.budgets import keep_for_retry
from aquila.huey.limits.rescheduling import DEFAULT_RESCHEDULING, ReschedulesTask, Rescheduling
from aquila.huey.limits.settings import NO_LIMITS, Limits, Prices, set_limits
from aquila.huey.limits.unique_jobs import begin_execution, enqueue_once, mark_followers, release_claim
from aquila.huey.message_fields import attach_fields, fields_to_send
from aquila.huey.progress.patient_results import PatientResults
from aquila.huey.running_task import CurrentTask, attempt_of, current_task, settle_progress
from aquila.huey.serializer import MsgpackSerializer
from aquila.huey.state import state_of
from aquila.huey.task_code import TaskCode
from aquila.huey.task_scope import WITH_CASSETTE, enter_task_scope, execute_watched, leave_task_scope
from aquila.huey.task_wrapper import AquilaTaskWrapper
from aquila.recording.places import outcome_boundary
from aquila.recording.runtime import current_run
from aquila.recording.time_limits import TASK, TimeLimit, time_limit

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from aquila.huey.limits.unique_settings import Uniqueness
    from aquila.huey.live.clock import SharedClock
    from aquila.huey.live.publisher import JobPublisher
    from aquila.huey.task_types import ContextTaskDecorator, TaskDecorator
    from aquila.huey.task_types import Task as TypedTask

    AnyTask = TypedTask[Any]


class AquilaHuey(PatientResults, DeliveringHuey):
    """What Aquila adds to a Huey. Mix it in before a Huey class: ``class MyHuey(AquilaHuey, RedisHuey)``.

    - The message of a task carries a reference to the test that enqueued it. Its requests are answered from the
      cassette of that test, in any worker. Retries, schedules, pipelines, chords and nested tasks carry the reference
      on. In production a message carries nothing.
    - A task executes in a context of its own, so that no context variable leaks into the next task.
    - Functions may be ``async``.
    - ``serializer`` is a ``MsgpackSerializer`` by default. One with a secret is bound to the name of this queue.
    - A task that is interrupted because its consumer must stop (SIGTERM) goes back to the queue.
    - With ``keep_running=True`` the storage keeps a copy of a task while it executes. A task whose worker was killed
      is enqueued again by another consumer, or by the next that starts, ``lost_after`` seconds later.
    - What cannot be read, and what failed for good, is kept: see ``dead_letters``. ``keep_dead_letters`` is the
      greatest number of them, ``keep_dead_letters_for`` the greatest age.
    - A task whose provider asks it to come back later leaves its worker until then; see ``Rescheduling``. With
      ``rescheduling=None`` it does not.
    - ``limit`` and ``budget`` (with ``prices``) hold the requests of all workers to limits:
      ``"openai: 60/min, 4 at once"``, ``"200k tokens per task, 20 USD per day"``; see ``set_limits``.

    ``around_tasks`` holds functions that are given the ``CurrentTask`` and return a context manager. Each task executes
    within all of them. It belongs to this Huey and is never cleared.
    """

    # What is kept on a task: ``_aquila_scope``, the reference that it came with; ``_aquila_attempt``, from 1;
    # ``_aquila_deliveries``, how often this attempt was delivered before; ``_aquila_losses``, how often its worker was
    # lost; ``_aquila_waits``, how often it was rescheduled for a provider, and since when; ``_aquila_error``, how its
    # execution ended; ``_aquila_huey``, its Huey in a test; ``_aquila_run``, the run that it executes in;
    # ``_aquila_message``, the message that it came with; ``_aquila_enqueued``, when it was enqueued; and the copy and
    # the flags of ``TasksInHand``.

    rescheduling: Rescheduling | None = DEFAULT_RESCHEDULING
    limits: Limits = NO_LIMITS
    publisher: JobPublisher | None = None
    queue_clock: SharedClock | None = None
    around_tasks: tuple[Callable[[CurrentTask], AbstractContextManager[Any]], ...] = ()

    def __init__(
        self,
        name: str = "huey",
        *args: Any,
        serializer: Any = None,
        keep_running: bool = False,
        lost_after: float = LOST_AFTER,
        rescheduling: Rescheduling | None = DEFAULT_RESCHEDULING,
        limit: str | Iterable[str] | None = None,
        budget: str | Iterable[str] | None = None,
        prices: Prices | None = None,
        **options: Any,
    ) -> None:
        if serializer is None:
            compression = bool(options.pop("compression", False))
            options.pop("use_zlib", None)
            serializer = MsgpackSerializer(compression=compression)
        if isinstance(serializer, MsgpackSerializer):
            serializer = serializer.for_queue(name)
        super().__init__(name, *args, serializer=serializer, **options)
        self.lost_after = check_lost_after(lost_after)
        self.rescheduling = rescheduling
        if (limit, budget, prices) != (None, None, None):
            set_limits(self, limit, budget=budget, prices=prices)
        if keep_running:
            self.start_keeping()

    if TYPE_CHECKING:
        # Huey's own methods, with the types that it does not declare.

        @overload
        def task(
            self,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            context: Literal[False] = False,
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> TaskDecorator: ...
        @overload
        def task(
            self,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            *,
            context: Literal[True],
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> ContextTaskDecorator: ...
        def task(self, *args: Any, **settings: Any) -> Any: ...

        @overload
        def periodic_task(
            self,
            validate_datetime: Callable[[datetime], bool],
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            context: Literal[False] = False,
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> TaskDecorator: ...
        @overload
        def periodic_task(
            self,
            validate_datetime: Callable[[datetime], bool],
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            *,
            context: Literal[True],
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> ContextTaskDecorator: ...
        def periodic_task(self, *args: Any, **settings: Any) -> Any: ...

        def pending(self, limit: int | None = None) -> list[AnyTask]: ...
        def pending_count(self) -> int: ...
        def scheduled(self, limit: int | None = None) -> list[AnyTask]: ...
        def scheduled_count(self) -> int: ...

    def flush(self) -> None:
        """Remove everything from the storage: tasks, results, and what Aquila keeps beside them."""
        super().flush()
        with contextlib.suppress(ConfigError):  # A storage of another kind has nothing of Aquila's.
            state_of(self).clear()

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        """Return the class of decorated functions."""
        return AquilaTaskWrapper

    def enqueue(self, task: Any) -> Any:
        """Enqueue a task. Returns one result, a group of them or those of a chord: it depends on what follows it."""
        # Of the task, not of its class: an attribute that a class has not takes eight times as long to miss.
        if hasattr(task, "_aquila_parameters"):
            check_arguments(task)
        unique = getattr(task, "_aquila_unique", None)
        # What came over the wire was let in before: it is due, or retried.
        if unique is not None and not hasattr(task, "_aquila_message"):
            return enqueue_once(self, task, unique, self._enqueue_and_publish)
        return self._enqueue_and_publish(task)

    def _enqueue_and_publish(self, task: Any) -> Any:
        if self.publisher is not None:
            return self.publisher.enqueue(task, super().enqueue)
        result = super().enqueue(task)
        return SignedResult(self, task) if "_aquila_sent" in task.__dict__ and type(result) is Result else result

    def serialize_task(self, task: Task) -> bytes:
        """Return a task as a message, with its reference and its attempt where it has them."""
        task._aquila_enqueued = None if self.queue_clock is None else self.queue_clock.now()
        fields = fields_to_send(task)
        data: bytes
        if fields is None:
            data = super().serialize_task(task)
        else:
            kwargs = task.kwargs
            task.kwargs = {**kwargs, scope_reference.KEY: fields}
            try:
                data = super().serialize_task(task)
            finally:
                task.kwargs = kwargs
        if self.publisher is not None:
            self.publisher.note_message(task, data)
        elif getattr(self.serializer, "signed", False):
            task._aquila_sent = data
        return data

    def deserialize_task(self, data: bytes) -> Task:
        """Return the task of a message. Raises ``MessageRejected`` for one that is not from this queue."""
        serializer = self.serializer
        if isinstance(serializer, MsgpackSerializer):
            message = serializer.deserialize(data, "task")
            try:
                task = self._registry.create_task(message)
            except RecursionError:
                raise MessageRejected("the tasks that follow this one are nested too deeply") from None
        else:
            task = super().deserialize_task(data)
        fields = task.kwargs.pop(scope_reference.KEY, None)
        if fields is None:
            task._aquila_scope = None
        else:
            attach_fields(task, fields)
        task._aquila_message = data
        if task.on_complete is not None or task.chord_config is not None:
            mark_followers(task)
        return task

    def read_periodic(self, timestamp: Any) -> list[Task]:
        """Return the periodic tasks that are due. A scheduler asks for them, so they belong to no test."""
        tasks: list[Task] = super().read_periodic(timestamp)
        for task in tasks:
            task._aquila_scope = None
        return tasks

    def dequeue(self) -> Task | None:
        """Take the next task out of the queue. Returns None where the queue is empty, or paused."""
        if self.publisher is not None and self.publisher.is_paused():
            if (kept := self.tasks_in_hand.kept) is not None:
                kept.forget_finished()
            return None
        return self.tasks_in_hand.take_next()

    def notify_interrupted_tasks(self) -> None:
        """Hand back what this process has taken and not finished, and publish what has: its consumer ends."""
        super().notify_interrupted_tasks()
        if self.publisher is not None:
            self.publisher.store.leave()

    def execute(self, task: Task, timestamp: Any = None) -> Any:
        """Execute a task in a context of its own, with its scope in force."""
        return contextvars.copy_context().run(self._execute_in_context, task, timestamp)

    def _execute_in_context(self, task: Task, timestamp: Any) -> Any:
        # Part of every task's time. What few tasks need is asked for here, and called only for them.
        about, run = task.__dict__, current_run()
        task._aquila_run = run
        set_gate_owner(CurrentTask(self, task))
        in_hand = about.get("_aquila_in_hand")  # Without, it was not taken out of the queue.
        entered = unique = None
        if "_aquila_scope" in about and (  # Without, it was never on the wire: its scope is that of the caller.
            task._aquila_scope is not None or run.layers.transport in WITH_CASSETTE
        ):
            entered = enter_task_scope(self, task, run)
        if hasattr(task, "_aquila_unique") and self.ready_to_run(task, timestamp):
            unique = begin_execution(self, task)
        try:
            if run.exchange_watch is None and not run.tells_jobs:
                value = super().execute(task, timestamp)
            else:
                value = execute_watched(self, task, timestamp, super().execute)
            if "_aquila_struck" in about:
                (in_hand or self.tasks_in_hand).hand_back_struck(task)
            return value
        except BaseException as error:
            (in_hand or self.tasks_in_hand).drop(task, error)
            raise
        finally:
            if unique is not None:
                unique.end()
            if entered is not None:
                leave_task_scope(self, task, *entered)
            if in_hand is not None:
                in_hand.let_go(task)

    def _timeout_context(self, task: Task) -> AbstractContextManager[Any]:
        """Enclose the code of a task. Replays know of its time limit.

        Under pytest a miss leaves it as an exception, which Huey takes for a failure.
        """
        if task.timeout or task._aquila_run.make_outcome is not None:
            return TaskCode(self, task, self._enclose_code(task, super()._timeout_context(task)))
        return TaskCode(self, task)  # All that most tasks in production need.

    @contextlib.contextmanager
    def _enclose_code(self, task: Task, inner: AbstractContextManager[Any]) -> Iterator[None]:
        limit = None
        if task.timeout:
            limit = TimeLimit(TASK, task.timeout, lambda: TaskTimeout(f"timeout {task.timeout}s"))
        with ReschedulesTask(self, task), outcome_boundary(), inner, time_limit(limit):
            yield

    def _execute(self, task: Task, timestamp: Any) -> Any:
        """Execute a task that is due, not revoked and not expired."""
        if not self.around_tasks:
            return self._execute_once(task, timestamp)
        with contextlib.ExitStack() as stack:
            for around in self.around_tasks:
                stack.enter_context(around(current_task()))
            return self._execute_once(task, timestamp)

    def _execute_once(self, task: Task, timestamp: Any) -> Any:
        try:
            return super()._execute(task, timestamp)
        except NotSerializable as error:
            self.end_unsendable(task, error)
            return None

    def end_unsendable(self, task: Task, error: NotSerializable) -> None:
        """End a task whose result, or what is to follow it, cannot be made a message. A test replaces this, to fail."""
        from aquila.huey.delivery.unsendable import fail_for_good  # noqa: PLC0415 -- seldom needed

        fail_for_good(self, task, error, is_result=task.__dict__.get("_aquila_unsendable") is error)

    def _run_post_execute(self, task: Task, task_value: Any, exception: BaseException | None) -> None:
        self.record_outcome(task, exception)
        if self._post_execute:
            super()._run_post_execute(task, task_value, exception)

    def record_outcome(self, task: Task, exception: BaseException | None) -> None:
        """Remember how an execution ended. A task that is complete needs no checkpoints any more."""
        task._aquila_error = exception
        if exception is None and hasattr(task, "_aquila_unique"):
            release_claim(self, task)
        settle_progress(task, exception)

    def _abort_chord_member(self, task: Task, value: Any) -> None:
        release_claim(self, task)  # Huey comes here with whatever will not be executed, or not again.
        super()._abort_chord_member(task, value)

    def _requeue_task(self, task: Task, timestamp: Any, retry_eta: Any = None) -> None:
        task._aquila_attempt, task._aquila_deliveries = attempt_of(task) + 1, 0
        if retry_eta is not None:
            keep_for_retry(self, task, (retry_eta - timestamp).total_seconds())
        super()._requeue_task(task, timestamp, retry_eta)


class MemoryHuey(AquilaHuey, _huey.MemoryHuey):  # type: ignore[misc]
    """A queue in this process's memory: for tests and single programs."""


class FileHuey(AquilaHuey, _huey.FileHuey):  # type: ignore[misc]
    """A queue in a folder (``path=``)."""


class SqliteHuey(AquilaHuey, _huey.SqliteHuey):  # type: ignore[misc]
    """A queue in a SQLite file (``filename=``)."""


class RedisHuey(AquilaHuey, _huey.RedisHuey):  # type: ignore[misc]
    """A queue on a Redis server (``url=``, or ``host=``, ``port=``)."""


class PriorityRedisHuey(AquilaHuey, _huey.PriorityRedisHuey):  # type: ignore[misc]
    """A queue on a Redis server that knows priorities."""


class PostgresHuey(AquilaHuey, _huey.PostgresHuey):  # type: ignore[misc]
    """A queue on a Postgres server (``dsn=``)."""

"""The Huey classes of Aquila. Their tasks carry a reference to a test to the worker; their messages are not pickles.

Written against Huey 3.5. Several overridden methods are private there: ``_execute``, ``_timeout_context``,
``_run_post_execute``, ``_abort_chord_member`` and ``_requeue_task``.
"""

from __future__ import annotations

import contextlib
import contextvars
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import huey as _huey
from huey.api import RateLimit, Task, TaskLock, TaskWrapper
from huey.exceptions import TaskTimeout

from aquila.engine.calls.request_gate import set_gate_owner
from aquila.errors import ConfigError, MessageRejected, NotSerializable
from aquila.huey.connections_at_fork import close_before_forks
from aquila.huey.delivery.consumer_heartbeats import LOST_AFTER, check_lost_after
from aquila.huey.delivery.delivering_huey import DeliveringHuey
from aquila.huey.limits.rescheduling import DEFAULT_RESCHEDULING, Rescheduling, check_rescheduling
from aquila.huey.limits.settings import NO_LIMITS, Limits, Prices, set_limits
from aquila.huey.limits.unique_jobs import begin_execution, enqueue_once, mark_followers, release_claim
from aquila.huey.progress.patient_results import PatientResults
from aquila.huey.redis_connections import reject_decoded_answers
from aquila.huey.scopes import scope_reference
from aquila.huey.scopes.task_scope import WITH_CASSETTE, enter_task_scope, leave_task_scope
from aquila.huey.serializing.sendable_values import make_error_sendable, refusal_of
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.state import state_of
from aquila.huey.stuck_connections import close_stuck_connections
from aquila.huey.tasks.enqueue_check import check_arguments
from aquila.huey.tasks.message_fields import attach_fields, fields_to_send
from aquila.huey.tasks.running_task import (
    CurrentTask,
    attempt_of,
    current_task,
    current_task_or_none,
    delay_of_retry,
    settle_progress,
)
from aquila.huey.tasks.task_code import TaskCode, replace_error
from aquila.huey.tasks.task_ends import is_lost
from aquila.huey.tasks.task_locks import JobLock, JobRateLimit
from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper, enclose_function
from aquila.huey.typed_methods import TypedMethods
from aquila.lazy_imports import lazy_modules
from aquila.recording.miss_outcomes import outcome_boundary
from aquila.recording.replayed_time_limits import TASK, TimeLimit, time_limit
from aquila.recording.runtime import current_run

if TYPE_CHECKING:
    from aquila.huey.delivery import rescuer
    from aquila.huey.live.clock import SharedClock
    from aquila.huey.live.publisher import JobPublisher
    from aquila.huey.scopes import watched_jobs
else:
    lazy_modules(globals(), "aquila.huey.delivery: rescuer", "aquila.huey.scopes: watched_jobs")


class AquilaHuey(TypedMethods, PatientResults, DeliveringHuey):
    """What Aquila adds to a Huey. Mix it in before a Huey class: ``class MyHuey(AquilaHuey, RedisHuey)``.

    - The message of a task carries a reference to the test that enqueued it. The requests of the task are answered from
      the cassette of that test, in any worker. Retries, schedules, pipelines, chords and nested tasks carry the
      reference on. In production a message carries nothing.
    - A task executes in a context of its own, so that no context variable leaks into the next task.
    - Functions may be ``async``.
    - ``serializer`` is a ``MsgpackSerializer`` by default. One with a secret is bound to the name of this queue.
    - A task that is interrupted because its consumer must stop (SIGTERM) goes back to the queue.
    - With ``keep_running=True`` the storage keeps a copy of a task while it executes. If the worker is killed, another
      consumer, or the next one that starts, enqueues the task again after ``lost_after`` seconds.
    - Messages that cannot be read, and tasks that failed for good, are kept: see ``dead_letters``.
      ``keep_dead_letters`` bounds their number, ``keep_dead_letters_for`` their age.
    - A task whose provider asks it to come back later leaves its worker until then; see ``Rescheduling``. With
      ``rescheduling=None`` it does not.
    - ``limit`` and ``budget`` (with ``prices``) hold the requests of all workers to limits:
      ``"openai: 60/min, 4 at once"``, ``"200k tokens per task, 20 USD per day"``; see ``set_limits``.

    ``around_tasks`` is a tuple of functions. Each takes the ``CurrentTask`` and returns a context manager, within which
    every task executes. It belongs to this Huey and is never cleared.

    Raises ``ConfigError`` for limits, budgets and other options that cannot be used, for ``keep_running`` with a
    storage that cannot keep copies, and for a connection to Redis that turns all answers into text.
    """

    # The attributes that carry a task through its deliveries. Each lives as long as the task object; those that outlive
    # an execution travel in the message, see `message_fields`.
    #
    # _aquila_scope       the reference to a test that the task came with, or None; absent if it was never on the wire
    # _aquila_attempt     which attempt this is, from 1
    # _aquila_deliveries  how often this attempt was delivered before
    # _aquila_losses      how often its worker was lost
    # _aquila_waits       how often it was rescheduled for a provider, since when, and whether it has a turn
    # _aquila_error       the exception by which its last execution ended, or None
    # _aquila_retry_delay  after how many seconds it is tried again, where its last execution has failed
    # _aquila_huey        its Huey, in a test
    # _aquila_run         the run in which it executes; absent where a subclass executes it in a way of its own
    # _aquila_message     the message that it came with
    # _aquila_enqueued    when it was enqueued, by the clock of the storage
    # _aquila_copy, _aquila_in_hand, _aquila_end, _aquila_interrupted, _aquila_struck, _aquila_unanswered
    #                     its copy, and what `TasksInHand` knows of it
    # _aquila_locks       the keys of the locks that this execution has taken
    # _aquila_replaces    of a task that follows another one: that task, in the place of whose copy it is enqueued

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
            # Options of Huey for its own serializer, which is not made here. `use_zlib` chooses between gzip and zlib
            # there; Aquila's serializer always takes zlib.
            compression = bool(options.pop("compression", False))
            options.pop("use_zlib", None)
            serializer = MsgpackSerializer(compression=compression)
        if isinstance(serializer, MsgpackSerializer):
            serializer = serializer.for_queue(name)
        super().__init__(name, *args, serializer=serializer, **options)
        reject_decoded_answers(self)
        self.lost_after = check_lost_after(lost_after)
        self.rescheduling = check_rescheduling(rescheduling)
        if (limit, budget, prices) != (None, None, None):
            set_limits(self, limit, budget=budget, prices=prices)
        if keep_running:
            self.start_keeping()

    def get_storage(self, **options: Any) -> Any:
        """Return the storage of this queue. An error of SQLite names the file."""
        try:
            storage = super().get_storage(**options)
        except sqlite3.Error as error:
            error.add_note(f"the file of the queue {self.name!r} is {options.get('filename', 'huey.db')!r}")
            raise
        close_before_forks(storage)
        close_stuck_connections(storage)
        return storage

    def flush(self) -> None:
        """Remove everything from the storage: tasks, results, and what Aquila keeps beside them."""
        super().flush()
        with contextlib.suppress(ConfigError):  # Aquila keeps nothing in a storage that is none of Huey's own.
            state_of(self).clear()

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        """Return the class of decorated functions."""
        return AquilaTaskWrapper

    def context_task(self, obj: Any, as_argument: bool = False, **settings: Any) -> Callable[..., Any]:
        """Return a decorator for a task whose code, which may be ``async``, executes within ``obj``.

        ``obj`` is a context manager. With ``as_argument`` the function is given its value, before the arguments of the
        task. ``settings`` are those of ``task``.
        """
        return lambda function: self.task(**settings)(enclose_function(function, obj, as_argument=as_argument))

    def lock_task(self, lock_name: str, ttl: int | None = None) -> TaskLock:
        """Return a lock, which is a decorator and a context manager. The parameters are those of Huey."""
        return JobLock(self, lock_name, ttl)

    def rate_limit(self, name: str, limit: int, per: int, retry: bool = True) -> RateLimit:
        """Return a rate limit, which is a decorator and a context manager. The parameters are those of Huey."""
        return JobRateLimit(self, name, limit, per, retry=retry)

    def enqueue(self, task: Any) -> Any:
        """Enqueue a task, a group or a chord, and return the handle of its result.

        That is a ``Result``, a ``ResultGroup`` where several tasks follow one another, or a ``ChordResult``. Raises
        ``TaskContractBroken`` for arguments that do not fit, and as ``serialize_task`` for those that cannot be sent.
        """
        # The instance is asked, which also finds attributes of its class: asking the class itself for an attribute that
        # it does not have takes eight times as long.
        if hasattr(task, "_aquila_parameters"):
            check_arguments(task)
        unique = getattr(task, "_aquila_unique", None)
        # A task that came over the wire already has its claim: it is due now, or a retry.
        if unique is not None and not hasattr(task, "_aquila_message"):
            return enqueue_once(self, task, unique, self._enqueue_and_publish)
        return self._enqueue_and_publish(task)

    def _enqueue_and_publish(self, task: Any) -> Any:
        if self.publisher is not None:
            return self.publisher.enqueue(task, super().enqueue)
        return super().enqueue(task)

    def serialize_task(self, task: Task) -> bytes:
        """Return a task as a message. Raises ``NotSerializable``, or what another serializer than Aquila's raises.

        The fields of Aquila travel as one reserved keyword argument, so that Huey's own format need not change.
        """
        task._aquila_enqueued = None if self.queue_clock is None else self.queue_clock.now()
        given = task.args if isinstance(task.args, tuple) else ()  # `schedule(3)` leaves a number there
        if given and isinstance(given[-1], Exception) and not isinstance(self.serializer, MsgpackSerializer):
            *before, error = given
            current = current_task_or_none()
            if current is not None and getattr(current.task, "_aquila_error", None) is error:
                # The handler of the error by which the code of a task has ended.
                task.args = (*before, make_error_sendable(self.serializer, error))
        fields, kwargs = fields_to_send(task), task.kwargs
        data: bytes
        try:
            if fields is not None:
                # Replaced for the moment of serializing and not changed in place: the caller may share the dictionary.
                task.kwargs = {**kwargs, scope_reference.KEY: fields}
            data = super().serialize_task(task)
        except Exception as error:
            # A caller gets what its serializer raises. After the code of a task there is no caller, and the error must
            # not be taken for one of the storage.
            current = current_task_or_none()
            if current is None or not hasattr(current.task, "_aquila_end"):
                raise
            refusal = refusal_of(error)
            raise refusal from refusal.__cause__
        finally:
            task.kwargs = kwargs
        return data

    def deserialize_task(self, data: bytes) -> Task:
        """Return the task of a message. Raises ``MessageRejected`` for a message that is not from this queue.

        A task that is not registered here ends in a ``HueyException`` of Huey.
        """
        serializer = self.serializer
        if isinstance(serializer, MsgpackSerializer):
            # As Huey's own method does, but a stored result in the place of a task is refused.
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
        """Return the periodic tasks that are due. A scheduler enqueues them, so they belong to no test."""
        tasks: list[Task] = super().read_periodic(timestamp)
        for task in tasks:
            task._aquila_scope = None
        return tasks

    def dequeue(self) -> Task | None:
        """Take the next task out of the queue. Returns None where the queue is empty, or paused.

        A message that cannot be read becomes a dead letter, and the next one is taken.
        """
        if self.publisher is not None and self.publisher.is_paused():
            # Finished copies are removed together with taking the next task, and none is taken now.
            if (kept := self.tasks_in_hand.kept) is not None:
                kept.forget_finished()
            return None
        return self.tasks_in_hand.take_next()

    def notify_interrupted_tasks(self) -> None:
        """Hand back the tasks that this process has not finished, and publish its last events: its consumer ends."""
        super().notify_interrupted_tasks()
        if self.publisher is not None:
            self.publisher.store.leave()

    def execute(self, task: Task, timestamp: Any = None) -> Any:
        """Execute a task in a context of its own, with its scope in force.

        ``timestamp`` is the present time as Huey has it; None for now. Returns the value of the task.
        """
        return contextvars.copy_context().run(self._execute_in_context, task, timestamp)

    def _execute_in_context(self, task: Task, timestamp: Any) -> Any:
        # Every task passes here, so what few tasks need is called only for them.
        # Its attributes are asked for one by one, and never its `__dict__`: a Python before 3.13 then keeps them in a
        # dictionary, in which Huey and Aquila look them up several times more slowly.
        run = task._aquila_run = current_run()
        set_gate_owner(CurrentTask(self, task))
        # None: the task was not taken out of a queue, but in immediate mode, or by a test.
        in_hand = getattr(task, "_aquila_in_hand", None)
        entered = unique = None
        if hasattr(task, "_aquila_scope") and (  # Absent: the task was never on the wire, so its scope is the caller's.
            task._aquila_scope is not None or run.layers.resolve().transport in WITH_CASSETTE
        ):
            entered = enter_task_scope(self, task, run)
        if hasattr(task, "_aquila_unique") and self.ready_to_run(task, timestamp):
            unique = begin_execution(self, task)
        try:
            if hasattr(task, "_aquila_losses") and rescuer.is_given_up(self, task):
                rescuer.end_given_up(self, task)  # Here, before any signal says that it executes.
                return None
            if run.exchange_watch is None and not run.tells_jobs:
                value = super().execute(task, timestamp)
            else:
                value = watched_jobs.execute_noted(super().execute, self, task, timestamp)
            if hasattr(task, "_aquila_struck"):
                (in_hand or self.tasks_in_hand).hand_back_struck(task)
            return value
        except BaseException as error:
            # Huey catches the exceptions of a task's code. So this one is an interrupt, or the storage has refused the
            # outcome.
            (in_hand or self.tasks_in_hand).handle_execution_error(task, error)
            raise
        finally:
            try:
                if unique is not None:
                    unique.end()
                if entered is not None:
                    leave_task_scope(self, task, *entered)
            finally:
                if in_hand is not None:
                    in_hand.let_go(task)

    def _timeout_context(self, task: Task) -> AbstractContextManager[Any]:
        """Return what encloses the code of a task.

        A replay respects the time limit of the task. Under pytest a miss leaves the task as an ordinary exception,
        which Huey takes for a failure: an outcome of pytest would end the worker.
        """
        # A subclass may execute a task without `execute`, which notes the run.
        run = getattr(task, "_aquila_run", None) or current_run()
        if task.timeout or run.make_outcome is not None:
            return TaskCode(self, task, self._enclose_code(task, super()._timeout_context(task)))
        return TaskCode(self, task)  # Enough for most tasks in production.

    @contextlib.contextmanager
    def _enclose_code(self, task: Task, inner: AbstractContextManager[Any]) -> Iterator[None]:
        limit = None
        if task.timeout:
            limit = TimeLimit(TASK, task.timeout, lambda: TaskTimeout(f"timeout {task.timeout}s"))
        try:
            with outcome_boundary(), inner, time_limit(limit):
                yield
        except BaseException as error:
            replace_error(self, task, error)
            raise

    def _execute(self, task: Task, timestamp: Any) -> Any:
        """Execute a task that is due, not revoked and not expired."""
        if self.around_tasks:
            return self._execute_enclosed(task, timestamp, super()._execute)
        try:
            return super()._execute(task, timestamp)
        except NotSerializable as error:
            self.end_unsendable(task, error)
            return None

    def _execute_enclosed(self, task: Task, timestamp: Any, execute: Callable[[Task, Any], Any]) -> Any:
        with contextlib.ExitStack() as stack:
            for around in self.around_tasks:
                stack.enter_context(around(current_task()))
            try:
                return execute(task, timestamp)
            except NotSerializable as error:
                self.end_unsendable(task, error)
                return None

    def end_unsendable(self, task: Task, error: NotSerializable) -> None:
        """End a task whose result, retry or following task cannot be serialized. A test replaces this, to fail."""
        from aquila.huey.delivery.unsendable import fail_for_good  # noqa: PLC0415 -- seldom needed

        fail_for_good(self, task, error, is_result=getattr(task, "_aquila_unsendable", None) is error)

    def _run_post_execute(self, task: Task, task_value: Any, exception: BaseException | None) -> None:
        # Huey calls this once for each execution that was not interrupted, after it has stored the result.
        self.record_outcome(task, exception)
        if self._post_execute:
            super()._run_post_execute(task, task_value, exception)

    def record_outcome(self, task: Task, exception: BaseException | None) -> None:
        """Note how an execution ended, and remove the claim and the checkpoints of a task that is complete."""
        task._aquila_error = exception
        if is_lost(task):  # The claim and the checkpoints belong to the execution of the other consumer.
            return
        if exception is None:
            if hasattr(task, "_aquila_unique"):
                release_claim(self, task)
            if task.on_complete is not None and task.chord_config is None:
                self.let_replace(task.on_complete, task)  # Huey enqueues it next, and nothing is stored after that.
        settle_progress(task, exception)

    def _abort_chord_member(self, task: Task, value: Any) -> None:
        # Huey comes here with every task that will not be executed, or not again: revoked, expired, failed for good.
        if is_lost(task):
            return
        release_claim(self, task)
        super()._abort_chord_member(task, value)

    def _requeue_task(self, task: Task, timestamp: Any, retry_eta: Any = None) -> None:
        error, delay = getattr(task, "_aquila_error", None), delay_of_retry(task, timestamp, retry_eta)
        task._aquila_retry_delay = delay
        # Before the task is serialized, because the numbers travel in its message.
        task._aquila_attempt, task._aquila_deliveries = attempt_of(task) + 1, 0
        super()._requeue_task(task, timestamp, retry_eta)
        # In immediate mode the later attempts have been executed by now, and have noted how they ended.
        task._aquila_error, task._aquila_retry_delay = error, delay


class MemoryHuey(AquilaHuey, _huey.MemoryHuey):  # type: ignore[misc]
    """A queue in the memory of this process, for tests and for programs of one process."""


class FileHuey(AquilaHuey, _huey.FileHuey):  # type: ignore[misc]
    """A queue in a folder, whose path is ``path=``."""


class SqliteHuey(AquilaHuey, _huey.SqliteHuey):  # type: ignore[misc]
    """A queue in a SQLite file, whose path is ``filename=``."""


class RedisHuey(AquilaHuey, _huey.RedisHuey):  # type: ignore[misc]
    """A queue on a Redis server (``url=``, or ``host=``, ``port=``)."""


class PriorityRedisHuey(AquilaHuey, _huey.PriorityRedisHuey):  # type: ignore[misc]
    """A queue on a Redis server in which tasks have priorities."""


class PostgresHuey(AquilaHuey, _huey.PostgresHuey):  # type: ignore[misc]
    """A queue on a Postgres server (``dsn=``)."""

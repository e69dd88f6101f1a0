"""Huey's consumer. Its workers take no more tasks once they must stop, and log seldom that the storage is away."""

from __future__ import annotations

import logging
import selectors
import sys
import time
from typing import Any

from huey.consumer import Consumer, GreenletEnvironment, Scheduler, Worker

from aquila.huey.delivery.tasks_in_hand import TasksInHand, stop_flag
from aquila.huey.tasks.task_functions import function_of
from aquila.huey.tasks.task_wrapper import is_async

logger = logging.getLogger("huey.aquila")


_UNREAD = ("Error reading from queue", "Error reading schedule.")
"""What the worker and the scheduler of Huey 3.5 log at each attempt where the storage does not answer."""
_SAID_EVERY = 60.0  # Seconds after which an outage that goes on is logged again.
_SAID = "_aquila_said"
"""The attribute of a Huey that says when an error of each class was last logged. All workers of a process share it, so
that one of them logs an outage."""


class SeldomLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """The logger of a worker or a scheduler. It logs an outage of the storage once a minute, and else as ``DEBUG``."""

    def __init__(self, logger: logging.Logger, huey: Any) -> None:
        super().__init__(logger, {})
        self._said: dict[Any, float] = vars(huey).setdefault(_SAID, {})

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        """Log an error with its traceback."""
        # By class, so that two errors that take turns are not logged each time.
        now, what = time.monotonic(), (msg, sys.exc_info()[0])
        if msg in _UNREAD:
            if now - self._said.get(what, float("-inf")) < _SAID_EVERY:
                super().debug(msg, *args, exc_info=True)
                return
            self._said[what] = now
        super().exception(msg, *args, **options)


class AquilaWorker(Worker):  # type: ignore[misc]
    """A worker that puts messages back once its consumer has been told to stop.

    An interrupted worker hands its task back to the queue. Another worker of the same consumer, which waits for a
    message, would otherwise take that task and end with it.
    """

    def create_logger(self) -> SeldomLogger:
        """Return the logger of the worker."""
        return SeldomLogger(super().create_logger(), self.huey)

    def initialize(self) -> None:
        """Begin in the thread, greenlet or process of this worker."""
        # Here and not in the constructor, which runs in the thread of the consumer: this context is the worker's own.
        stop_flag.set(self.stop_flag)
        super().initialize()

    def shutdown(self) -> None:
        """End. A worker process hands back tasks that the storage has refused; a thread leaves that to its consumer.

        Huey 3.5 calls this at the end of each worker.
        """
        _leave_fork(self.huey)
        super().shutdown()


class AquilaScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler that ends as ``AquilaWorker`` does."""

    def create_logger(self) -> SeldomLogger:
        """Return the logger of the scheduler."""
        return SeldomLogger(super().create_logger(), self.huey)

    def shutdown(self) -> None:
        """End. No hook of Huey runs in the process of a scheduler, so its life as a consumer ends here."""
        _leave_fork(self.huey, with_life=True)
        super().shutdown()


def _leave_fork(huey: Any, *, with_life: bool = False) -> None:
    # In tests these workers also run the plain Huey of a project, which has no `tasks_in_hand`.
    in_hand: TasksInHand | None = getattr(huey, "tasks_in_hand", None)
    if in_hand is not None:
        in_hand.leave_fork(with_life=with_life)


class AquilaConsumer(Consumer):  # type: ignore[misc]
    """The consumer that ``huey_consumer`` runs for a Huey of ``aquila.huey``."""

    worker_class = AquilaWorker
    scheduler_class = AquilaScheduler

    def start(self) -> None:
        """Start the workers and the scheduler."""
        if isinstance(self.environment, GreenletEnvironment):
            _let_greenlets_run_while_psycopg_waits()
            self._warn_of_async_tasks()
        super().start()

    def _warn_of_async_tasks(self) -> None:
        if self.workers == 1:
            return
        for kind in self.huey._registry._registry.values():  # private to Huey, which has no public list of them
            if is_async(function_of(kind) or kind):
                logger.warning(
                    "%s is async, and greenlets execute async tasks one after the other: start the consumer with "
                    "-k thread or -k process",
                    self.huey._registry.task_to_string(kind),
                )
                return


def _let_greenlets_run_while_psycopg_waits() -> None:
    # psycopg decides how it waits when it is imported. `huey_consumer` imports it before the module of the tasks calls
    # `monkey.patch_all()`. So it waits in C, which stops all greenlets; if gevent comes first, it chooses `wait_poll`.
    # While it connects, it waits with a selector.
    waiting: Any = sys.modules.get("psycopg.waiting")
    if waiting is not None and sys.modules["gevent.monkey"].is_module_patched("select"):
        waiting.wait, waiting.DefaultSelector = waiting.wait_poll, selectors.DefaultSelector

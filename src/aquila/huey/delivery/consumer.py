"""Huey's consumer, whose workers know when they must take no more, and say once that the storage is away."""

from __future__ import annotations

from typing import Any

from huey.consumer import Consumer, Scheduler, Worker

from aquila.huey.delivery.reading_trouble import QUEUE, SCHEDULE, SaysOnce
from aquila.huey.delivery.tasks_in_hand import TasksInHand, stop_flag


class AquilaWorker(Worker):  # type: ignore[misc]
    """A worker that puts back what it is given once its consumer has been told to stop.

    Another worker, which waits for a message, would otherwise get what an interrupted one hands back, and end with it.
    """

    def create_logger(self) -> SaysOnce:
        """Return what the worker logs by."""
        return SaysOnce(super().create_logger(), self, QUEUE)

    def initialize(self) -> None:
        """Begin in the thread, greenlet or process of this worker."""
        stop_flag.set(self.stop_flag)
        super().initialize()

    def shutdown(self) -> None:
        """End. A process hands back what the storage has not taken; a thread leaves that to its consumer."""
        _leave_fork(self.huey)
        super().shutdown()


class AquilaScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler that ends as ``AquilaWorker`` does."""

    def create_logger(self) -> SaysOnce:
        """Return what the scheduler logs by."""
        return SaysOnce(super().create_logger(), self, SCHEDULE)

    def shutdown(self) -> None:
        """End."""
        _leave_fork(self.huey, with_life=True)
        super().shutdown()


def _leave_fork(huey: Any, *, with_life: bool = False) -> None:
    # In tests these workers run a project's plain Huey too, which takes nothing in hand.
    in_hand: TasksInHand | None = getattr(huey, "tasks_in_hand", None)
    if in_hand is not None:
        in_hand.leave_fork(with_life=with_life)


class AquilaConsumer(Consumer):  # type: ignore[misc]
    """The consumer that ``huey_consumer`` runs for a Huey of ``aquila.huey``."""

    worker_class = AquilaWorker
    scheduler_class = AquilaScheduler

"""The program that ``run_consumer(subprocess=...)`` starts: ``huey_consumer`` with an instrumented Huey."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from huey.bin import huey_consumer
from huey.consumer import Consumer

from aquila.huey.instrumenting import change_class
from aquila.huey.testing.consumers.consumer_delays import READY, QuickScheduler
from aquila.huey.testing.consumers.end_with_maker import end_with_input
from aquila.huey.testing.consumers.worker_errors import WorkerErrors


def main() -> None:
    """Run ``huey_consumer`` with the arguments of this process. The first one is the folder for files of the test."""
    end_with_input()
    # The patches below are for the whole process and never undone: it ends with the consumer.
    folder = Path(sys.argv.pop(1))
    load, set_handlers = huey_consumer.load_huey, Consumer._set_signal_handlers
    errors = WorkerErrors(folder / "errors", owner=0)  # No process has the id 0, so all errors go to the file.

    def load_instrumented(path: str) -> Any:
        huey = load(path)
        change_class(huey)
        watching.enter_context(errors.watch(huey))
        return huey

    def set_handlers_and_tell(consumer: Consumer) -> None:
        set_handlers(consumer)
        (folder / READY).touch()

    huey_consumer.load_huey = load_instrumented
    Consumer._set_signal_handlers = set_handlers_and_tell
    Consumer.scheduler_class = QuickScheduler
    with contextlib.ExitStack() as watching:
        huey_consumer.consumer_main()

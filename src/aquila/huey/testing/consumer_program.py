"""The program that ``run_consumer(subprocess=...)`` starts: ``huey_consumer`` with an instrumented Huey."""

from __future__ import annotations

from typing import Any

from huey.bin import huey_consumer
from huey.consumer import Consumer

from aquila.huey.instances import change_class
from aquila.huey.testing.consumer_delays import QuickScheduler


def main() -> None:
    """Run ``huey_consumer`` with the arguments of this process."""
    load = huey_consumer.load_huey

    def load_instrumented(path: str) -> Any:
        huey = load(path)
        change_class(huey)
        return huey

    huey_consumer.load_huey = load_instrumented
    Consumer.scheduler_class = QuickScheduler
    huey_consumer.consumer_main()

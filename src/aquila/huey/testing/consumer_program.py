"""The program that ``run_consumer(subprocess=...)`` starts: ``huey_consumer`` with an instrumented Huey."""

from __future__ import annotations

from huey.bin import huey_consumer
from huey.consumer import Consumer

from aquila.huey.instances import instrument
from aquila.huey.testing.consumer_delays import QuickScheduler


def main() -> None:
    """Run ``huey_consumer`` with the arguments of this process."""
    load = huey_consumer.load_huey
    huey_consumer.load_huey = lambda path: instrument(load(path))
    Consumer.scheduler_class = QuickScheduler
    huey_consumer.consumer_main()

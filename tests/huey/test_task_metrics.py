"""OpenTelemetry metrics of a queue, by the official SDK."""

import pytest
from huey.exceptions import CancelExecution, RetryTask

from aquila.huey import TaskMetrics, current_task
from aquila.huey.telemetry import task_metrics
from aquila.huey.testing import drain_queue

metrics = pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")
export = pytest.importorskip("opentelemetry.sdk.metrics.export")


@pytest.fixture
def measured(huey, request):
    """Returns what was measured by a name: the value of each point, by its attributes without the queue's own."""
    reader = export.InMemoryMetricReader()
    provider = metrics.MeterProvider([reader])
    TaskMetrics(huey, meter_provider=provider, **getattr(request, "param", {}))

    def read(name):
        found = {}
        for resource in reader.get_metrics_data().resource_metrics:
            for metric in resource.scope_metrics[0].metrics:
                if metric.name == name:
                    for point in metric.data.data_points:
                        attributes = dict(point.attributes)
                        assert attributes.pop("messaging.system") == "huey"
                        assert attributes.pop("messaging.destination.name") == "app"
                        value = point.value if hasattr(point, "value") else (point.count, point.sum)
                        found[frozenset(attributes.items())] = value
        return found

    yield read
    provider.shutdown()


def points(*pairs):
    return {frozenset(attributes.items()): value for attributes, value in pairs}


JOB = {"aquila.task.name": f"{__name__}.job"}


def test_what_waits_and_what_is_scheduled_is_counted_when_metrics_are_read(huey, measured):
    @huey.task()
    def job():
        pass

    for _ in range(3):
        job()
    huey.add_schedule(job.s(eta=None))
    assert measured("aquila.queue.waiting") == points(({}, 3))
    assert measured("aquila.queue.scheduled") == points(({}, 1))
    drain_queue()
    assert measured("aquila.queue.waiting") == points(({}, 0))


@pytest.mark.parametrize("measured", [{"observe_queue": False}], indirect=True)
def test_a_process_can_leave_the_length_of_the_queue_to_another(huey, measured):
    @huey.task()
    def job():
        pass

    job()
    drain_queue()
    assert measured("aquila.queue.waiting") == measured("aquila.queue.scheduled") == {}
    assert measured("aquila.task.ended") == points(({**JOB, "aquila.task.outcome": "completed"}, 1))


def test_a_storage_that_is_away_leaves_the_other_metrics(huey, measured, monkeypatch):
    @huey.task()
    def job():
        pass

    job()
    drain_queue()

    def fail():
        raise ConnectionError

    monkeypatch.setattr(huey.storage, "queue_size", fail)
    monkeypatch.setattr(huey.storage, "schedule_size", fail)
    assert measured("aquila.queue.waiting") == {}
    assert measured("aquila.task.ended") == points(({**JOB, "aquila.task.outcome": "completed"}, 1))


def test_tasks_are_counted_while_they_run_and_by_how_they_end(huey, measured):
    running = []

    @huey.task(retries=1)
    def job(ending):
        running.append(measured("aquila.task.running"))
        if ending == "fails":
            raise ValueError
        if ending == "asks for a retry" and current_task().attempt == 1:
            raise RetryTask
        if ending == "cancels":
            raise CancelExecution(retry=False)

    for ending in ("completes", "fails", "asks for a retry", "cancels"):
        job(ending)
    job.revoke(revoke_once=True)
    drain_queue(raise_errors=False)
    assert running[0] == points((JOB, 1))
    assert measured("aquila.task.running") == points((JOB, 0))
    assert measured("aquila.task.ended") == points(
        ({**JOB, "aquila.task.outcome": "revoked"}, 1),
        ({**JOB, "aquila.task.outcome": "retrying", "error.type": "ValueError"}, 1),
        ({**JOB, "aquila.task.outcome": "failed", "error.type": "ValueError"}, 1),
        ({**JOB, "aquila.task.outcome": "retrying"}, 1),
        ({**JOB, "aquila.task.outcome": "completed"}, 1),
        ({**JOB, "aquila.task.outcome": "canceled"}, 1),
    )
    assert measured("messaging.client.sent.messages") == points(({**JOB, "messaging.operation.name": "enqueue"}, 6))
    assert measured("messaging.client.consumed.messages") == points(({**JOB, "messaging.operation.name": "process"}, 5))


def test_an_attempt_within_another_one_has_an_outcome_of_its_own(huey, measured):
    huey.immediate = True

    @huey.task(retries=1)
    def job():
        if current_task().attempt == 1:
            raise ValueError

    job()
    assert measured("aquila.task.ended") == points(
        ({**JOB, "aquila.task.outcome": "retrying", "error.type": "ValueError"}, 1),
        ({**JOB, "aquila.task.outcome": "completed"}, 1),
    )


def test_times_in_the_queue_and_of_execution_are_measured(huey, measured, clocks, monkeypatch):
    monkeypatch.setattr(task_metrics, "time", clocks)

    class Clock:
        times = [100.0, 103.5]

        def now(self):
            return self.times.pop(0)

    @huey.task()
    def job():
        clocks.passed += 1000

    huey.queue_clock = Clock()
    job()
    drain_queue()
    assert measured("aquila.task.queue_time") == points((JOB, (1, 3.5)))
    ((attributes, (count, seconds)),) = measured("messaging.process.duration").items()
    assert dict(attributes) == {**JOB, "messaging.operation.name": "process"}
    assert count == 1
    assert 1000 <= seconds < 2000  # What is above that is what the test itself takes.

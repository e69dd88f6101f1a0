"""One ordered log of Huey's signals and of model calls, and spans of tasks around spans of requests."""

import os
import threading
from functools import partial

import httpx2
import huey as plain
import pytest
from huey.exceptions import RetryTask

import aquila
from aquila.errors import ConfigError, MessageRejected
from aquila.huey import AquilaHuey, MemoryHuey, TaskLog
from aquila.huey.live import publish_jobs
from aquila.huey.scopes import scope_reference
from aquila.huey.telemetry import task_log
from aquila.huey.testing import drain_queue, perform_job, run_consumer
from aquila.testing import use_script
from tests.huey.sample_tasks import returning
from tests.support.upstream import streaming

provider = partial(streaming, "one two")


def names(records):
    return [record.name for record in records if not (record.name == "chunk" and record.data["kind"] != "Chunk")]


@pytest.fixture
def log(huey):
    log = TaskLog(huey)
    yield log
    log.close()


def test_signals_and_calls_of_each_attempt_are_in_order(huey, log):
    @huey.task(retries=1)
    def job():
        aquila.ask("p", transport=provider())
        if len(log.read(attempt=2)) == 0:
            raise ValueError

    result = job()
    drain_queue()
    first, second = log.read(result.id, 1), log.read(result.id, 2)
    assert names(first)[:2] == ["enqueued", "executing"]
    assert names(first)[2:4] == ["call_start", "request_start"]
    assert names(first)[-4:] == ["request_stop", "call_stop", "error", "retrying"]
    assert names(second)[:2] == ["enqueued", "executing"]
    assert names(second)[-1] == "complete"
    for records in (first, second):
        assert [record.seq for record in records] == list(range(len(records)))
    assert log.read(result.id) == first + second


def test_a_call_that_returns_no_response_is_done(huey, log):
    answer = httpx2.MockTransport(lambda request: httpx2.Response(200, json={"text": "four"}))

    @huey.task()
    def job():
        aquila.transcribe(b"sound", transport=answer)

    perform_job(job)
    assert [record.data["outcome"] for record in log.read() if record.name == "call_stop"] == ["done"]


def test_records_say_what_and_not_what_was_said_unless_asked(huey):
    @huey.task()
    def job():
        aquila.ask("p", transport=provider())

    for content, expected in [(False, {"characters": 4}), (True, {"text": "one "})]:
        log = TaskLog(huey, content=content)
        perform_job(job)
        chunks = [record.data for record in log.read() if record.data.get("kind") == "Chunk"]
        assert chunks[0] == {"ref": chunks[0]["ref"], "kind": "Chunk", **expected}
        log.close()


def test_tools_and_retries_of_a_call_are_in_the_log(huey, log):
    def weather(city: str) -> str:
        if city == "Ulm":
            raise ValueError
        return f"fine in {city}"

    @huey.task()
    def job():
        aquila.ask("p", tools=[weather])

    with use_script() as script:
        script.error(429, retry_after=0).tool_call("weather", city="Ulm").tool_call("weather", city="Rome").reply(
            "fine"
        )
        perform_job(job)
    told = [(record.name, record.data) for record in log.read()]
    (retry,) = [data for name, data in told if name == "retry"]
    assert retry["error"] == "RateLimited"
    calls, results = ([data for name, data in told if name == kind] for kind in ("tool_call", "tool_result"))
    assert [call["tool"] for call in calls] == ["weather"] * 2
    assert [(result["id"], result["failed"]) for result in results] == [(calls[0]["id"], True), (calls[1]["id"], False)]


def test_calls_of_other_hueys_and_outside_of_tasks_are_not_in_the_log(huey, log):
    other = MemoryHuey("other")

    @other.task()
    def job():
        aquila.ask("p", transport=provider())

    perform_job(job)
    aquila.ask("p", transport=provider())
    assert log.read() == []


def test_receivers_get_each_record_in_order_and_may_fail(huey, log, caplog):
    seen = []

    @log.receiver
    def broken(record):
        raise ValueError

    @log.receiver
    def receive(record):
        seen.append((record.seq, record.name))

    @huey.task()
    def job():
        aquila.ask("p", transport=provider())
        return 1

    assert perform_job(job).value == 1
    assert [seq for seq, _ in seen] == list(range(len(seen)))
    assert seen[0][1] == "executing"
    assert seen[-1][1] == "complete"


def test_chunks_that_a_background_thread_hands_on_belong_to_their_task(huey, log):
    @huey.task()
    def job():
        with aquila.stream("p", transport=provider(), sink=aquila.Sink.ignore()) as stream:
            stream.result()

    perform_job(job)
    assert "chunk" in names(log.read())


def test_two_workers_do_not_mix_their_records(huey, log):
    meet = threading.Barrier(2)

    @huey.task()
    def job(n):
        with aquila.stream("p", transport=provider()) as stream:
            for event in stream:
                if isinstance(event, aquila.Chunk) and event.text == "one ":
                    meet.wait(60)  # Both are in mid-stream now.
        return n

    with run_consumer(workers=2) as consumer:
        results = [job(1), job(2)]
        consumer.wait(*results)
    for result in results:
        found = names(log.read(result.id))
        assert found[0] == "enqueued"
        assert found[1] == "executing"
        assert found[-2:] == ["call_stop", "complete"]
        assert found.count("call_start") == 1


def test_the_metadata_of_a_call_is_in_the_log_without_secrets(huey, log, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789")

    @huey.task()
    def job(document):
        metadata = {"document": document, "key": os.environ["OPENAI_API_KEY"], "kind": object}
        aquila.ask("p", transport=provider(), metadata=metadata)
        aquila.ask("p", transport=provider())

    perform_job(job, 123)
    first, second = [record.data for record in log.read() if record.name == "call_start"]
    assert first["metadata"] == {"document": 123, "key": "[redacted]", "kind": "<class 'object'>"}
    assert "metadata" not in second


class Clock:
    """Tells the times that it is given."""

    def __init__(self, *times):
        self.times = list(times)

    def now(self):
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


@pytest.mark.parametrize(("began", "waited"), [(100.5, 0.5), (99.0, 0.0)], ids=["later", "clocks differ"])
def test_a_record_tells_how_long_its_task_waited_and_never_less_than_nothing(huey, log, began, waited):
    job = returning(huey, 1)

    huey.queue_clock = Clock(100.0, began)
    result = job()
    drain_queue()
    (executing,) = [record for record in log.read(result.id) if record.name == "executing"]
    assert executing.data == {"waited": waited}


def test_a_retry_waits_from_when_it_was_put_back(huey, log):
    @huey.task(retries=1)
    def job():
        if aquila.huey.current_task().attempt == 1:
            raise ValueError

    huey.queue_clock = Clock(0.0, 10.0, 50.0, 51.0)
    job()
    drain_queue()
    assert [record.data["waited"] for record in log.read() if record.name == "executing"] == [10.0, 1.0]


@pytest.mark.parametrize(("error", "ended"), [(ValueError, "error"), (RetryTask, "retrying")])
def test_the_run_time_of_each_attempt_is_that_of_its_code(huey, log, clocks, monkeypatch, error, ended):
    monkeypatch.setattr(task_log, "time", clocks)

    @huey.task(retries=1)
    def job():
        first = aquila.huey.current_task().attempt == 1
        clocks.passed += 300 if first else 1000
        if first:
            raise error

    job()
    clocks.passed += 5000  # in the queue
    drain_queue()
    timed = {record.name: record.data["seconds"] for record in log.read() if "seconds" in record.data}
    assert ended in timed
    # What is above that is what the test itself takes.
    assert [300 <= timed[ended] < 1000, 1000 <= timed["complete"] < 5000] == [True, True], timed


def test_a_message_of_a_producer_without_a_log_says_nothing_of_waiting(huey, log):
    job = returning(huey, 1)

    clock, huey.queue_clock = huey.queue_clock, None
    job()
    huey.queue_clock = clock
    drain_queue()
    assert [record.data for record in log.read() if record.name == "executing"] == [{}]


@pytest.mark.parametrize("stamp", ["now", 1, float("nan"), float("inf"), None, [1.0], True])
def test_a_forged_time_in_a_message_is_refused(huey, log, stamp):
    job = returning(huey, 1)

    task = job.s()
    fields = {"reference": None, "attempt": 1, "deliveries": 0, "enqueued": stamp}
    task.kwargs = {scope_reference.KEY: fields}
    data = super(AquilaHuey, huey).serialize_task(task)
    if stamp is None:
        assert huey.deserialize_task(data).id == task.id
    else:
        with pytest.raises(MessageRejected):
            huey.deserialize_task(data)


def test_only_so_many_are_kept_in_memory(huey):
    log = TaskLog(huey, keep=3)
    job = returning(huey, 1)

    for _ in range(3):
        job()
    drain_queue()
    assert len(log.read()) == 3
    log.close()


def test_a_closed_log_notes_nothing(huey):
    log = TaskLog(huey)
    log.close()

    @huey.task()
    def job():
        aquila.ask("p", transport=provider())

    perform_job(job)
    assert log.read() == []


def test_a_huey_that_was_not_instrumented_is_refused():
    for make in (TaskLog, aquila.huey.TaskSpans, aquila.huey.TaskMetrics, publish_jobs):
        with pytest.raises(ConfigError, match="instrument"):
            make(plain.MemoryHuey())


# OpenTelemetry


@pytest.fixture
def spans():
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    provider, exporter = trace.TracerProvider(), memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    exporter.provider = provider
    return exporter


def test_the_span_of_a_task_is_around_the_spans_of_its_requests(huey, spans):
    from aquila.otel import OpenTelemetry

    plugin = aquila.register(OpenTelemetry(tracer_provider=spans.provider))
    aquila.huey.TaskSpans(huey, tracer_provider=spans.provider)

    @huey.task(retries=1)
    def job():
        aquila.ask("p", transport=provider())
        if aquila.huey.current_task().attempt == 1:
            raise ValueError

    try:
        result = job()
        job.schedule((), delay=60)  # What does not run has no span.
        drain_queue()
    finally:
        aquila.unregister(plugin)
    request, first, _, second = spans.get_finished_spans()
    assert [span.name for span in (first, second)] == [f"process {__name__}.job"] * 2
    assert request.parent.span_id == first.context.span_id
    assert first.attributes["messaging.message.id"] == result.id
    assert first.attributes["aquila.task.attempt"] == 1
    assert first.attributes["error.type"] == "ValueError"
    assert not first.status.is_ok
    assert second.attributes["aquila.task.attempt"] == 2
    assert "error.type" not in second.attributes


def test_an_exception_that_only_steers_huey_is_no_error_of_the_span(huey, spans):
    aquila.huey.TaskSpans(huey, tracer_provider=spans.provider)

    @huey.task()
    def job():
        raise plain.exceptions.RetryTask(delay=5)

    perform_job(job)
    (span,) = spans.get_finished_spans()
    assert span.attributes["error.type"] == "RetryTask"
    assert span.status.is_unset

"""What happens to jobs is published: queued, begun, answered, tried again, ended; cheaply, and without secrets."""

import contextlib
import dataclasses
import datetime
import importlib
import json
import math
import signal
import threading
from typing import NamedTuple

import httpx2
import pytest
from huey.exceptions import CancelExecution
from redis.connection import AbstractConnection

import aquila
from aquila import tool
from aquila.errors import ConfigError
from aquila.huey import MemoryHuey, current_task, follow
from aquila.huey.live import clock, event_writer, pausing, publish_jobs, subscribe
from aquila.huey.live.clock import SharedClock
from aquila.huey.live.events import append_batch, events_table
from aquila.huey.live.retention import forget_old_jobs
from aquila.huey.live.summaries import JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE
from aquila.huey.state import state_of
from aquila.prices import PriceTable
from tests.huey.live.conftest import Provider, consumer, settle, worker_program
from tests.huey.sample_tasks import failing, returning
from tests.huey.storages import STORAGES, be_away
from tests.support.provider import chat_chunk, chat_stream, one_call
from tests.support.server import sse

KEY = "sk-proj-aB3dE5gH7jK9mN1pQ3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"


def events_of(huey, result):
    return list(subscribe(huey, result, timeout=60))


def summary_of(huey, result):
    return decode_summary(result.id, state_of(huey).get(JOBS_TABLE, result.id))


def text_of(events):
    return "".join(event.data["text"] for event in events if event.kind == "text")


@pytest.mark.parametrize("kind", STORAGES)
def test_a_job_is_published_from_its_queue_to_its_end(published, kind):
    huey = published(kind, price=lambda model, usage: usage.total_tokens * 0.5)

    @huey.task()
    def write(topic):
        with aquila.stream(topic, transport=Provider("Eagles fly high.")) as stream:
            for _ in stream:
                pass
        return stream.response.text

    result = write("eagles")
    assert summary_of(huey, result).state == "queued"
    with consumer(huey):
        events = events_of(huey, result)
    kinds = [event.kind for event in events if event.kind != "text"]
    assert kinds == ["queued", "started", "call", "usage", "done"]
    assert text_of(events) == "Eagles fly high."
    assert [event.number for event in events] == sorted({event.number for event in events})
    done = summary_of(huey, result)
    assert (done.state, done.attempt, done.name) == ("done", 1, f"{write.task_class.__module__}.write")
    assert done.last.tail == "Eagles fly high."
    assert (done.tokens, done.cost) == (8, 4.0)
    assert done.created <= done.started <= done.ended <= done.changed
    assert json.loads(done.arguments) == {"topic": "eagles"}


def test_a_job_is_published_though_the_thread_that_stores_ends_while_it_begins(published, monkeypatch):
    huey = published(every=0.001)
    store = huey.publisher.store

    def describe_late(task):
        if store._thread is not None:
            store._thread.join()  # It ends when it finds nothing to store.
        return ""

    monkeypatch.setattr("aquila.huey.live.publisher.describe_arguments", describe_late)
    result = huey.task(name="job")(int)()
    huey.execute(huey.dequeue())
    settle(huey)
    assert summary_of(huey, result).state == "done"


@pytest.mark.parametrize("immediate", [False, True])
def test_each_attempt_and_its_error_are_published(published, immediate):
    huey = published()
    huey.immediate = immediate
    attempts = []

    @huey.task(retries=1)
    def write():
        attempts.append(1)
        raise ValueError(f"the {len(attempts)}. time, with {KEY}")

    with contextlib.nullcontext() if immediate else consumer(huey):
        events = events_of(huey, write())
    assert [event.kind for event in events] == ["queued", "started", "retry", "started", "failed"]
    assert len({event.run for event in events if event.run}) == 2
    assert events[2].data["error"] == "ValueError: the 1. time, with [redacted]"
    assert "Traceback" in events[4].data["traceback"]
    assert KEY not in repr(events)


def test_a_request_without_a_price_is_counted(published):
    huey = published(price=PriceTable([]))
    result = huey.task(name="ask")(lambda: aquila.ask("p", transport=Provider()).text)()
    huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    assert (summary_of(huey, result).tokens, summary_of(huey, result).cost) == (8, 0.0)


def test_a_retry_is_published_where_a_subclass_enqueues_it_in_a_way_of_its_own():
    class OwnRetries(MemoryHuey):
        def _requeue_task(self, task, timestamp, retry_eta=None):
            task.retries -= 1
            self.enqueue(task)

    huey = OwnRetries("own")
    publish_jobs(huey, every=0.01)
    result = huey.task(retries=1)(lambda: 1 / 0)()
    huey.execute(huey.dequeue())
    settle(huey)
    assert (summary_of(huey, result).state, huey.pending_count()) == ("retrying", 1)


@pytest.mark.parametrize("delay", [0, 3600])
def test_a_retry_says_when_it_will_be(published, delay):
    huey = published()
    write = failing(huey, name="write", retries=1, retry_delay=delay)
    result = huey.enqueue(write.s(eta=datetime.datetime.now() - datetime.timedelta(hours=9)))
    huey.execute(huey.dequeue())
    event = next(event for event in subscribe(huey, result, timeout=60) if event.kind == "retry")
    assert event.data["eta"] - event.at == pytest.approx(delay, abs=100)
    assert summary_of(huey, result).state == "retrying"


@pytest.mark.parametrize("content", [True, False], ids=["with content", "without content"])
def test_tool_calls_are_published_with_what_they_were_given_and_gave(published, content):
    huey = published(content=content)

    @tool
    def weather(city: str, api_key: str) -> dict:
        """The weather."""
        return {"city": city, "sky": "clear", "api_key": KEY}

    answers = iter([one_call("weather", json.dumps({"city": "Ulm", "api_key": KEY})), chat_stream("Clear.")])

    class Answers(Provider):
        def chunks(self):
            yield next(answers)

    @huey.task()
    def ask():
        return aquila.ask("Weather in Ulm?", tools=[weather], transport=Answers()).text

    with consumer(huey):
        events = events_of(huey, ask())
    called, gave = (next(event for event in events if event.kind == kind) for kind in ("tool_call", "tool_result"))
    assert called.data["tool"] == "weather"
    assert gave.data["id"] == called.data["id"]
    if content:
        assert json.loads(called.data["arguments"]) == {"city": "Ulm", "api_key": "[redacted]"}
        assert json.loads(gave.data["result"]) == {"city": "Ulm", "sky": "clear", "api_key": "[redacted]"}
    else:
        assert "Ulm" not in repr(events)
    assert KEY not in repr(events)


@pytest.mark.parametrize("status", [429, 500])
def test_a_request_that_is_sent_again_is_published_within_the_same_attempt(published, status):
    huey = published()
    failures = iter([f"busy, said to {KEY}"])

    class BusyAtFirst(Provider):
        def handle_request(self, request):
            if (message := next(failures, None)) is None:
                return super().handle_request(request)
            return httpx2.Response(status, headers={"retry-after-ms": "7"}, json={"error": {"message": message}})

    @huey.task(retries=1)
    def write():
        return aquila.ask("eagles", transport=BusyAtFirst("Eagles fly high.")).text

    result = write()
    with consumer(huey):
        events = events_of(huey, result)
    kinds = [event.kind for event in events if event.kind != "text"]
    assert kinds == ["queued", "started", "call", "request_retry", "usage", "done"]
    (again,) = (event for event in events if event.kind == "request_retry")
    assert set(again.data) == {"delay", "error"}
    assert again.data["delay"] == 0.007
    assert again.data["error"].startswith("RateLimited: " if status == 429 else "ProviderUnavailable: ")
    assert "busy, said to [redacted]" in again.data["error"]
    assert again.run == events[1].run
    run = summary_of(huey, result).last
    assert (run.attempt, run.requests, run.request_retries) == (1, 1, 1)
    assert KEY not in repr(events)


@pytest.mark.parametrize("kind", STORAGES)
def test_a_job_that_is_handed_back_is_published_as_interrupted_and_goes_on(published, kind):
    huey = published(kind)
    has_begun, may_end = threading.Event(), threading.Event()

    @huey.task()
    def write():
        huey.publisher.note_text(current_task(), "text", "Eagles")
        has_begun.set()
        may_end.wait(60)

    result = write()
    executing = threading.Thread(target=lambda: (huey.execute(huey.dequeue()), huey.storage.close()))
    executing.start()
    assert has_begun.wait(60)
    huey.notify_interrupted_tasks()  # as at SIGTERM
    told = summary_of(huey, result)
    assert (told.last.state, told.ended) == ("interrupted", 0)
    may_end.set()
    executing.join()
    with consumer(huey):
        events = events_of(huey, result)
    kinds = [event.kind for event in events]
    assert kinds == ["queued", "started", "text", "interrupted", "started", "text", "done"]
    first, interrupted, second = (events[at] for at in (1, 3, 4))
    assert set(interrupted.data) == {"seconds"}
    assert interrupted.run == first.run != second.run
    assert (first.data["attempt"], first.data["delivery"]) == (1, 0)
    assert (second.data["attempt"], second.data["delivery"]) == (1, 1)
    assert [event.number for event in events] == sorted({event.number for event in events})
    assert summary_of(huey, result).state == "done"


STOPPED = """
    import time
    from aquila.huey import SqliteHuey
    from aquila.huey.live import publish_jobs
    from aquila.huey.tasks.running_task import current_task

    huey = SqliteHuey("app", filename=f"{__file__}.db")
    publish_jobs(huey, every=0.02)

    @huey.task()
    def write():
        huey.publisher.note_text(current_task(), "text", "Eagles ")
        for _ in range(0 if current_task().delivery > 1 else 6_000):
            time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("worker_type", ["thread", "process", "greenlet"])
def test_a_consumer_that_is_stopped_publishes_that_its_job_was_interrupted(tmp_path, monkeypatch, worker_type):
    name = f"stopped_{worker_type}"
    monkeypatch.syspath_prepend(tmp_path)
    with worker_program(STOPPED, tmp_path, name=name, worker_type=worker_type) as first:
        app = importlib.import_module(name)
        result, told = app.write(), []
        for event in subscribe(app.huey, result, timeout=60):
            told.append(event)
            if event.kind == "text":
                first.send_signal(signal.SIGTERM)
            if event.kind == "interrupted":
                break
        assert first.wait(60) == 0
    with worker_program(STOPPED, tmp_path, name=name, worker_type=worker_type):
        told += subscribe(app.huey, result, after=told[-1].number, timeout=60)
    kinds = [event.kind for event in told]
    assert kinds == ["queued", "started", "text", "interrupted", "started", "text", "done"]
    assert [event.data["delivery"] for event in told if event.kind == "started"] == [0, 1]
    app.huey.storage.close()


def test_secrets_in_arguments_are_not_published(published):
    huey = published()

    @huey.task()
    def write(topic, password, key=None):
        pass

    result = write("eagles", "hunter2", key=KEY)
    assert json.loads(summary_of(huey, result).arguments) == {
        "topic": "eagles",
        "password": "[redacted]",
        "key": "[redacted]",
    }
    with consumer(huey):
        events = events_of(huey, result)
    for secret in (KEY, "hunter2"):
        assert secret not in repr(events)
        assert secret not in repr(state_of(huey).entries(JOBS_TABLE))


def test_an_error_that_repeats_a_secret_argument_is_published_without_it(published):
    huey = published()

    @huey.task()
    def log_in(user, password):
        raise ValueError(f"{password} is not the password of {user}")

    task = log_in.s("eve", "moonlit-harbour-77")
    # Past the publisher, as from a producer in another process.
    huey.storage.enqueue(huey.serialize_task(task))
    huey.execute(huey.dequeue())
    last = events_of(huey, task)[-1]
    assert last.data["error"] == "ValueError: [redacted] is not the password of eve"
    assert "moonlit" not in repr(events_of(huey, task))
    assert "moonlit" not in repr(state_of(huey).entries(JOBS_TABLE))


class Account(NamedTuple):
    password: str


@dataclasses.dataclass
class Login:
    password: str


class Session:
    __slots__ = ()

    def __repr__(self):
        return "Session(password='hunter2', user='eagle')"


@pytest.mark.parametrize(
    "arguments",
    [
        {"topic": "x" * 20_000, "password": "hunter2"},
        {"password": "hunter2", "topic": "x" * 20_000},
        {"topic": {("a", "b"): 1}, "password": "hunter2"},
        {"topic": Account("hunter2")},
        {"topic": Login("hunter2")},
        {"topic": [Session()]},
    ],
)
def test_secrets_in_arguments_that_are_long_or_not_json_are_not_published(published, arguments):
    huey = published()
    huey.immediate = True

    @huey.task()
    def write(topic, password=None):
        pass

    result = write(**arguments)
    assert [event.kind for event in events_of(huey, result)] == ["queued", "started", "done"]
    assert "hunter2" not in repr(events_of(huey, result))
    assert "hunter2" not in summary_of(huey, result).arguments
    assert "[redacted]" in repr(events_of(huey, result)) or len(repr(arguments)) > 16_000


class Odd:
    __slots__ = ()

    def __repr__(self):
        raise AttributeError("nothing to show")


def nest(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("argument", [Odd(), nest(5_000)])
def test_a_job_whose_arguments_cannot_be_shown_is_done_all_the_same(published, argument):
    huey = published()
    huey.immediate = True

    @huey.task()
    def write(topic):
        return 5

    assert write(argument).get() == 5


@pytest.mark.parametrize("repeats", [1, 5])
def test_a_key_that_a_model_says_in_pieces_is_not_published(published, repeats):
    huey = published()

    @huey.task()
    def write():
        middle = ["Q3sTuV5wX7yZ9aB3dE5gH7jK9mN1pQ3sT"] * repeats
        pieces = ["The key is sk-proj-aB3dE5gH7jK9mN1p", *middle, " they say."]

        class Pieces(Provider):
            def chunks(self):
                for piece in pieces:
                    yield sse(chat_chunk(piece), done=False)
                    huey.publisher.store.flush()
                yield sse(chat_chunk(finish="stop"))

        with aquila.stream("the key?", transport=Pieces()) as stream:
            for _ in stream:
                pass

    with consumer(huey):
        events = events_of(huey, write())
    assert next(event.data["text"] for event in events if event.kind == "text") == "The key is "
    assert text_of(events) == "The key is [redacted] they say."
    assert "H7jK9" not in str(state_of(huey).entries("live.jobs"))


def test_it_costs_what_the_docs_say(published, monkeypatch):
    """Of docs/jobs.md: one round trip more to enqueue, none of a worker's own, 1.3 kB beside the text."""
    monkeypatch.setattr(pausing, "_LOOK_EVERY", math.inf)  # Whether it is paused is asked once, not once a second.
    huey = published("redis", every=0.2)
    jobs, trips, send = 200, [], AbstractConnection.send_packed_command

    @huey.task(name="work")
    def work(number):
        huey.publisher.note_text(current_task(), "text", "word " * 200)

    work(0)  # It registers scripts.
    monkeypatch.setattr(
        AbstractConnection,
        "send_packed_command",
        lambda *args, **options: (trips.append(threading.get_ident()), send(*args, **options))[1],
    )
    for number in range(jobs):
        work(number)
    assert trips.count(threading.get_ident()) <= 2 * jobs + 2  # One is Huey's own. The clock is asked once a minute.
    huey.publisher.store.flush()
    del trips[:]
    while huey.pending_count():
        huey.execute(huey.dequeue())
    assert trips.count(threading.get_ident()) <= (3 + 1) * (jobs + 1) + 2  # As without, with the count here.
    huey.publisher.store.flush()
    redis = huey.storage.conn
    keys = redis.scan_iter(f"aquila.*{huey.name}*", count=10_000)
    taken = sum(redis.memory_usage(key, samples=0) or 0 for key in keys) / (jobs + 1)
    assert taken < 1300 + 1.5 * len("word " * 200)


def test_a_canceled_job_is_published_as_canceled(published):
    huey = published()

    @huey.task()
    def stop_itself():
        raise CancelExecution(retry=False)

    never_begun = returning(huey, name="never_begun")

    @huey.pre_execute()
    def refuse(task):
        if task.name == "refused":
            raise CancelExecution

    refused = returning(huey, name="refused")
    results = [stop_itself(), never_begun(), refused()]
    results[1].revoke()
    with consumer(huey):
        kinds = [[event.kind for event in events_of(huey, result)] for result in results]
    assert kinds == [
        ["queued", "started", "canceled"],
        ["queued", "canceled"],
        ["queued", "started", "canceled"],
    ]
    assert {summary_of(huey, result).state for result in results} == {"canceled"}


def test_an_expired_job_is_published_as_expired(published):
    huey = published()
    write = returning(huey, name="write", expires=0.001)
    result = write()
    huey.execute(huey.dequeue(), timestamp=huey._get_timestamp().replace(year=2100))
    assert [event.kind for event in events_of(huey, result)] == ["queued", "expired"]
    assert summary_of(huey, result).state == "expired"


def test_a_job_that_cannot_be_sent_is_not_published(published):
    huey = published()

    @huey.task()
    def write(topic):
        pass

    with pytest.raises(TypeError):
        write(object())
    assert state_of(huey).count(JOBS_TABLE) == 0


def test_a_scheduled_job_is_published_as_scheduled(published):
    huey = published()
    write = returning(huey, name="write")
    result = write.schedule(delay=3600)
    assert summary_of(huey, result).state == "scheduled"


def test_no_job_fails_because_nobody_can_be_told_of_it(published, monkeypatch, caplog):
    huey = published()
    state = state_of(huey)
    write = returning(huey, 5, name="write")
    for method in ("add", "put", "entries"):
        monkeypatch.setattr(state, method, be_away)
    result = write()
    with consumer(huey):
        assert result.get(blocking=True, timeout=60) == 5
        assert caplog.text.count("the page of jobs: the storage does not answer") == 1
        monkeypatch.undo()
        events = events_of(huey, result)
    assert [event.kind for event in events] == ["queued", "started", "done"]


def test_a_flush_with_nothing_to_store_does_not_say_that_the_storage_is_back(published, monkeypatch, caplog):
    huey = published()
    write = returning(huey, name="write")
    monkeypatch.setattr(state_of(huey), "add", be_away)
    write()  # A producer: its summary is not stored, and there is no record.
    huey.publisher.store.flush()
    assert "the page of jobs: the storage does not answer" in caplog.text
    assert "answers again" not in caplog.text
    monkeypatch.undo()
    write()
    assert "answers again" in caplog.text
    assert huey.publisher.store._pause == 0  # the next events do not wait as after an outage


def test_a_batch_whose_confirmation_was_lost_is_stored_once(published, monkeypatch):
    huey = published()
    state, failures = state_of(huey), []
    add = state.add

    def add_and_lose_the_answer(table, *args, **options):
        stored = add(table, *args, **options)
        if table.startswith("live.events.") and not failures:
            failures.append(1)
            raise ConnectionError("after it was stored")
        return stored

    monkeypatch.setattr(state, "add", add_and_lose_the_answer)
    write = returning(huey, name="write")
    result = write()
    with consumer(huey):
        assert [event.kind for event in events_of(huey, result)] == ["queued", "started", "done"]
    assert failures


def test_a_job_is_done_only_when_all_its_events_are_stored(published, monkeypatch):
    huey = published()
    state, batches = state_of(huey), []

    @huey.task()
    def write():
        for number in range(300):  # More than one batch holds.
            huey.publisher.note_event(current_task(), "tool", lambda run: None, name=str(number))

    def count_when_done(store):
        def store_and_count(*args, **options):
            answer = store(*args, **options)
            if summary_of(huey, result).state == "done":
                batches.append(state.count(events_table(result.id)))
            return answer

        return store_and_count

    with huey.publisher.store._flushing:  # Its thread waits.
        result = write()
        task = huey.dequeue()
        huey.publisher.store.flush()
        huey.execute(task)
        for name in ("update", "change_many"):
            monkeypatch.setattr(state, name, count_when_done(getattr(state, name)))
        huey.publisher.store.flush()
        assert batches[0] == state.count(events_table(result.id)) >= 2


def test_the_oldest_jobs_are_forgotten_with_their_events(published):
    huey = published()
    write = returning(huey, name="write")
    results = [write() for _ in range(5)]
    with consumer(huey):
        for result in results:
            events_of(huey, result)
    state = state_of(huey)
    assert forget_old_jobs(state, keep=2, before=0.0) == 3
    assert state.count(JOBS_TABLE) == 2
    forgotten = [result for result in results if summary_of(huey, result) is None]
    assert len(forgotten) == 3
    assert not any(state.count(events_table(result.id)) for result in forgotten)
    assert forget_old_jobs(state, keep=2, before=state.now() + 1) == 2


def test_many_old_jobs_are_forgotten_in_few_transactions(make_huey, monkeypatch):
    state = state_of(make_huey("sqlite"))
    for number in range(30):
        state.put(JOBS_TABLE, f"job {number}", JobSummary(f"job {number}").encode(), order=number)
        append_batch(state, f"job {number}", b"a batch")
    begin, begun = state._storage.db, []
    monkeypatch.setattr(state._storage, "db", lambda *args, **options: begun.append(1) or begin(*args, **options))
    assert forget_old_jobs(state, keep=5, before=0.0) == 25
    assert len(begun) <= 10
    left = [number for number in range(30) if state.count(events_table(f"job {number}"))]
    assert left == [*range(25, 30)]


def test_a_stream_that_is_followed_is_published_too(published):
    huey = published()

    @huey.task()
    def write():
        with aquila.stream("p", transport=Provider("one two")) as stream:
            for _ in follow(stream):
                pass

    with consumer(huey):
        assert text_of(events_of(huey, write())) == "one two"


def test_immediate_mode_publishes_to_its_own_storage(published):
    huey = published("sqlite")
    huey.immediate = True
    write = returning(huey, 1, name="write")
    result = write()
    assert [event.kind for event in events_of(huey, result)] == ["queued", "started", "done"]
    huey.immediate = False
    assert state_of(huey).count(JOBS_TABLE) == 0


def test_a_job_is_stored_where_it_began_though_the_storage_of_the_huey_is_another_by_then(published):
    huey = published(every=0.2)
    real, for_a_test = huey.storage, MemoryHuey().storage
    ended = threading.Event()

    @huey.task()
    def write():
        ended.wait(60)
        return 1

    huey.storage = for_a_test
    executing = threading.Thread(target=huey.execute, args=(huey.enqueue(write.s()) and huey.dequeue(),))
    executing.start()
    state = state_of(huey)
    while not state.count(WORKERS_TABLE):
        pass
    huey.storage = real
    ended.set()
    executing.join()
    settle(huey)
    assert [state_of(huey).count(table) for table in (JOBS_TABLE, WORKERS_TABLE)] == [0, 0]
    job = state.entries(JOBS_TABLE)[0].key
    assert decode_summary(job, state.get(JOBS_TABLE, job)).state == "done"
    assert state.count(WORKERS_TABLE) == 0


def test_a_job_that_can_never_be_published_holds_up_no_other(published, monkeypatch, caplog):
    huey = published()
    write = returning(huey, name="write")
    first, second = write(), write()
    change_many = state_of(huey).change_many

    def refuse_together(changes):
        if any(change.key == first.id for change in changes):
            raise OverflowError("a number is too large")
        return change_many(changes)

    monkeypatch.setattr(state_of(huey), "change_many", refuse_together)
    with consumer(huey):
        assert events_of(huey, second)[-1].kind == "done"
    settle(huey)
    assert not huey.publisher.records
    assert f"the events of job {first.id} cannot be published" in caplog.text


def test_an_error_in_the_publishing_thread_is_logged_once_and_publishing_goes_on(published, monkeypatch, caplog):
    huey = published()
    write = returning(huey, name="write")
    store, failures = huey.publisher.store, iter(range(2))
    flush = store.flush

    def fail_twice():
        if next(failures, None) is not None:
            raise ZeroDivisionError("a bug")
        flush()

    monkeypatch.setattr(store, "flush", fail_twice)
    result = write()
    huey.execute(huey.dequeue())
    assert events_of(huey, result)[-1].kind == "done"
    assert caplog.text.count("ZeroDivisionError: a bug") == 1


def test_a_consumer_that_is_stopped_publishes_what_has_ended_and_takes_leave(published, monkeypatch):
    huey = published(every=0.3)  # The thread stores nothing before that.
    write = returning(huey, name="write")
    result = write()
    state, others = state_of(huey), iter(range(5))
    change_many = state.change_many

    def change_late(changes):
        if changes[0].table == JOBS_TABLE and next(others, None) is not None:
            state.update(JOBS_TABLE, result.id, lambda value: value + b" ")  # As another process, at the same moment.
        return change_many(changes)

    monkeypatch.setattr(state, "change_many", change_late)
    huey.publisher.store.begin_worker()
    huey.execute(huey.dequeue())
    huey.publisher.store.heartbeats.beat()
    assert state_of(huey).count(WORKERS_TABLE) == 1
    huey.notify_interrupted_tasks()  # as at SIGTERM; no hook of a worker may run any more
    assert summary_of(huey, result).state == "done"
    assert state_of(huey).count(WORKERS_TABLE) == 0
    huey.publisher.store.heartbeats.beat()
    assert state_of(huey).count(WORKERS_TABLE) == 0
    huey.publisher.store.end_worker()


def test_a_worker_that_takes_leave_while_it_says_that_it_lives_is_gone(published, monkeypatch):
    huey = published()
    state, store = state_of(huey), huey.publisher.store
    put, saying, has_left, leavers = state.put, threading.Event(), threading.Event(), []

    def leave():
        store.leave()
        has_left.set()

    def put_late(table, *args, **options):
        if table == WORKERS_TABLE and not leavers:
            leavers.append(threading.Thread(target=leave))
            leavers[0].start()
            has_left.wait(0.2)  # It is not to leave before this is stored.
            put(table, *args, **options)
            saying.set()
        else:
            put(table, *args, **options)

    monkeypatch.setattr(state, "put", put_late)
    store.begin_worker()
    try:
        assert saying.wait(60)
        leavers[0].join()
        assert (state.count(WORKERS_TABLE), store.heartbeats._due) == (0, {})
    finally:
        store.end_worker()


def test_who_waits_for_what_is_stored_is_woken_though_a_later_step_fails(published, monkeypatch):
    huey = published()
    state, store, woken = state_of(huey), huey.publisher.store, []
    change_many = state.change_many

    def refuse_summaries(changes):
        return be_away() if any(change.table == JOBS_TABLE for change in changes) else change_many(changes)

    write = returning(huey, name="write")

    with store._flushing, monkeypatch.context() as patch:  # Its thread waits.
        result = write()
        task = huey.dequeue()
        store.flush()
        huey.execute(task)
        known = state.count(events_table(result.id))
        patch.setattr(event_writer, "wake_subscribers", lambda place, jobs: woken.extend(jobs))
        patch.setattr(state, "change_many", refuse_summaries)
        store.flush()
        assert state.count(events_table(result.id)) == known + 1
        assert woken == [result.id]


def test_nobody_gets_a_wrong_time_while_another_asks_the_storage_for_it():
    times, seen = iter([5000.0, 5001.0]), []

    def ask():
        found = next(times)
        if found == 5000.0:  # Another worker comes before the answer does.
            seen.append(clock.now())
        return found

    clock = SharedClock(ask)
    assert round(clock.now()) == 5000
    assert round(seen[0]) == 5001


def test_the_code_of_a_task_never_waits_for_the_time_of_the_storage(published, monkeypatch):
    monkeypatch.setattr(clock, "_AGREED_FOR", 0.0)  # so that whoever may ask for the time asks each time
    huey = published()
    asking = []
    huey.publisher.clock = SharedClock(lambda: asking.append(threading.current_thread()) or 5000.0)

    @huey.task()
    def write():
        asking.clear()
        aquila.ask("p", transport=Provider())
        return [thread is threading.current_thread() for thread in asking]

    result = write()
    huey.execute(huey.dequeue())
    assert True not in result.get()


def test_what_publish_jobs_cannot_use_is_refused():
    with pytest.raises(ConfigError, match="above 0"):
        publish_jobs(MemoryHuey(), every=0)

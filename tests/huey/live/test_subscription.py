"""What happens to a job can be followed from anywhere: nothing is lost and nothing comes twice, whatever breaks."""

import asyncio
import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import aquila
from aquila.errors import ConfigError
from aquila.huey import MemoryHuey, RedisHuey
from aquila.huey.live import JobEvent, publish_jobs, subscribe, subscribe_async, waking
from aquila.huey.live.events import append_batch, decode_batch, encode_batch, events_table
from aquila.huey.live.retention import forget_jobs
from aquila.huey.live.waking import LOOK_SELDOM, wake_subscribers, wake_ups_of
from aquila.huey.state import state_of
from tests.huey.live.conftest import Provider, consumer, settle, worker_program
from tests.huey.storages import STORAGES
from tests.support import servers

NUMBERS = itertools.count()


def write_job(huey, provider):
    @huey.task(name=f"write{next(NUMBERS)}")
    def write():
        with aquila.stream("p", transport=provider) as stream:
            for _ in stream:
                pass

    return write()


@pytest.mark.parametrize("kind", STORAGES)
def test_text_arrives_while_the_model_writes(published, steps, kind):
    huey = published(kind)
    result = write_job(huey, Provider("one two three four five", steps))
    texts = []
    with consumer(huey):
        for event in subscribe(huey, result, timeout=60):
            if event.kind == "text":
                texts.append(event.data["text"])
                steps.release(10_000)
            if event.kind == "call":
                steps.release(3)
    assert "".join(texts) == "one two three four five"
    assert len(texts) > 1


def test_following_goes_on_after_any_event(published):
    huey = published(every=0.001)
    result = write_job(huey, Provider(" ".join(map(str, range(40)))))
    with consumer(huey):
        whole = list(subscribe(huey, result, timeout=60))
    for at, event in enumerate(whole):
        assert list(subscribe(huey, result, after=event.number, timeout=60)) == whole[at + 1 :]


def test_following_in_an_event_loop_is_the_same(published, steps):
    huey = published()
    results = [write_job(huey, Provider("one two three", steps)) for _ in range(3)]

    async def follow(result):
        return [event async for event in subscribe_async(huey, result, timeout=60)]

    async def follow_all():
        tasks = [asyncio.ensure_future(follow(result)) for result in results]
        steps.release(10_000)
        return await asyncio.gather(*tasks)

    with consumer(huey, workers=3):
        found = asyncio.run(follow_all())
    assert found == [list(subscribe(huey, result, timeout=60)) for result in results]


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_a_wake_up_tells_who_waits_for_a_job(published, kind):
    huey = published(kind)
    told = {job: threading.Event() for job in ("a", "b")}
    ready = threading.Event()
    wake_ups = wake_ups_of(huey)
    with (
        wake_ups.calling(ready.set, "ready"),
        wake_ups.calling(told["a"].set, "a"),
        wake_ups.calling(told["b"].set, "b"),
    ):
        while not ready.wait(0.05):
            wake_subscribers(huey, ["ready"])
        for event in told.values():
            event.clear()
        wake_subscribers(huey, ["a"])
        assert told["a"].wait(60)
        assert not told["b"].is_set()
        wake_subscribers(huey, ["x" * 100 for _ in range(200)])  # more than a message holds
        assert told["b"].wait(60)
    settle(huey)
    assert wake_ups._thread is None


def test_a_waiter_that_begins_while_the_listener_closes_gets_one_thread(monkeypatch):
    listeners, listening, closing, may_close = [], *(threading.Event() for _ in range(3))

    @contextlib.contextmanager
    def listen(storage):
        listeners.append(threading.current_thread())
        listening.set()
        yield lambda seconds: None
        if len(listeners) == 1:
            closing.set()
            may_close.wait(60)

    monkeypatch.setattr(waking, "look_every", lambda huey: LOOK_SELDOM)
    monkeypatch.setattr(waking, "_listener_of", listen)
    wake_ups = waking.WakeUps(MemoryHuey("app"))
    with wake_ups.calling(closing.is_set, "a"):
        assert listening.wait(60)
    assert closing.wait(60)
    listening.clear()
    with wake_ups.calling(closing.is_set, "a"):
        assert listening.wait(60)
        may_close.set()
        listeners[0].join(10)
        assert not listeners[0].is_alive()
    assert len(listeners) == 2
    listeners[1].join()


def test_a_job_of_which_nothing_comes_times_out(published):
    huey = published()
    with pytest.raises(TimeoutError, match="nothing happened to job unknown"):
        list(subscribe(huey, "unknown", timeout=0.01))


def test_whoever_has_seen_the_end_of_a_job_waits_for_nothing(published):
    huey = published()
    job = huey.task(name=f"job{next(NUMBERS)}")(int)()
    huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    last = list(subscribe(huey, job, timeout=60))[-1].number
    assert list(subscribe(huey, job, after=last, timeout=0)) == []


@pytest.mark.parametrize(("execute", "read_before"), [(False, []), (True, ["started", "done"])])
def test_whoever_follows_a_job_that_is_deleted_waits_for_nothing(published, execute, read_before):
    huey = published()
    job = huey.task(name=f"job{next(NUMBERS)}")(int)()
    if execute:
        huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    events = subscribe(huey, job, timeout=60)
    assert next(events).kind == "queued"
    forget_jobs(state_of(huey), job.id)
    assert [event.kind for event in events] == read_before
    assert list(subscribe(huey, job, after=1, timeout=60)) == []


def test_a_job_that_was_retried_is_followed_beyond_the_failure_with_which_a_reading_ends(published, monkeypatch):
    monkeypatch.setattr("aquila.huey.live.subscription._AT_ONCE", 2)
    huey, batches = published(), (["started"], ["failed"], ["queued"], ["started"], ["done"])
    for number, kinds in enumerate(batches, start=1):
        events = [(kind, float(number), {}) for kind in kinds]
        append_batch(state_of(huey), "a job", encode_batch("w", f"run {number}", events))
    read = [event.kind for event in subscribe(huey, "a job", timeout=60)]
    assert read == ["started", "failed", "queued", "started", "done"]


@pytest.mark.parametrize("after", [-1, "7", 1.5, True])
def test_an_after_that_is_no_event_number_is_refused(published, after):
    with pytest.raises(ConfigError, match="after="):
        next(subscribe(published(), "x", after=after))


def test_a_storage_that_is_away_is_waited_for(published, monkeypatch, caplog):
    huey = published()
    result = write_job(huey, Provider())
    state, failures, reader = state_of(huey), itertools.count(), threading.current_thread()
    read = state.entries

    def fail_at_first(table, **options):
        # The thread that publishes reads this table, too.
        if table == events_table(result.id) and threading.current_thread() is reader and next(failures) < 3:
            raise ConnectionError("away")
        return read(table, **options)

    with consumer(huey):
        monkeypatch.setattr(state, "entries", fail_at_first)
        assert [event.kind for event in subscribe(huey, result, timeout=60)][-1] == "done"
    assert caplog.text.count("the storage does not answer") == 1


def test_events_that_a_later_version_has_written_are_left_out(published):
    huey = published()
    result = write_job(huey, Provider())
    with consumer(huey):
        whole = list(subscribe(huey, result, timeout=60))
    for number, value in enumerate((b"[]", b"[1,2,[[1]]]")):
        state_of(huey).put(events_table(result.id), f"x{number}", value, order=0.5 + number / 10)
        state_of(huey).put(events_table(result.id), f"y{number}", value, order=10_000 + number)
    assert list(subscribe(huey, result, timeout=0.2)) == whole


def test_what_a_suspended_worker_publishes_after_the_end_keeps_nobody_waiting(published):
    huey = published()
    result = write_job(huey, Provider())
    with consumer(huey):
        whole = list(subscribe(huey, result, timeout=60))
    late = [("started", whole[1].at, {}), ("text", whole[-1].at + 9, {"text": "late"}), ("interrupted", 1.0, {})]
    append_batch(state_of(huey), result.id, encode_batch("w", "suspended", late))
    assert len(list(subscribe(huey, result, timeout=0.2))) == len(whole) + len(late)
    again = encode_batch("w", "", [("queued", whole[-1].at + 9, {})])
    state_of(huey).put(events_table(result.id), "again", again, order=10_000)
    with pytest.raises(TimeoutError):
        list(subscribe(huey, result, timeout=0.05))


def test_a_batch_comes_back_as_it_was():
    batch = encode_batch("w", "run", [("text", 1.5, {"text": "ü\ud800"}), ("done", 2.0, {})])
    assert decode_batch(3, batch) == [
        JobEvent(768, "text", 1.5, "run", {"text": "ü?"}),
        JobEvent(769, "done", 2.0, "run"),
    ]


STREAMING = """
    import time
    from aquila.huey import SqliteHuey
    from aquila.huey.live import publish_jobs
    from aquila.huey.tasks.running_task import current_task

    huey = SqliteHuey("app", filename=f"{__file__}.db")
    publish_jobs(huey, every=0.02)

    @huey.task()
    def write(words):
        for word in range(words):
            huey.publisher.note_text(current_task(), "text", f"{word} ")
            time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_job_is_followed_across_a_killed_worker(tmp_path, monkeypatch):
    found = []
    with worker_program(STREAMING, tmp_path, name="streaming_app") as first:
        monkeypatch.syspath_prepend(tmp_path)
        app = importlib.import_module("streaming_app")
        result = app.write(150)
        for event in subscribe(app.huey, result, timeout=60):
            found.append(event)
            if event.kind == "text" and len(found) > 5:
                break
        first.kill()
    app.huey.storage.enqueue(app.huey.serialize_task(result.task))  # as a rescuer does
    with worker_program(STREAMING, tmp_path, name="streaming_app"):
        found += subscribe(app.huey, result, after=found[-1].number, timeout=60)
    assert [event.number for event in found] == sorted({event.number for event in found})
    runs = dict.fromkeys(event.run for event in found if event.run)
    assert len(runs) == 2
    first_text, text = ("".join(e.data["text"] for e in found if (e.run, e.kind) == (run, "text")) for run in runs)
    whole = "".join(f"{word} " for word in range(150))
    assert text == whole
    assert whole.startswith(first_text)
    assert 0 < len(first_text) < len(whole)
    app.huey.storage.close()


def follow_into(found, is_under_way, huey, result):
    """Follow a job by ``subscribe``, into a list."""
    for event in subscribe(huey, result, timeout=60):
        found.append(event)
        if event.kind == "text":
            is_under_way.set()


def follow_into_in_a_loop(found, is_under_way, huey, result):
    """Follow a job by ``subscribe_async``, into a list."""

    async def follow():
        async for event in subscribe_async(huey, result, timeout=60):
            found.append(event)
            if event.kind == "text":
                is_under_way.set()

    asyncio.run(follow())


FOLLOWING = pytest.mark.parametrize("follow", [follow_into, follow_into_in_a_loop])
WORDS = " ".join(map(str, range(60)))


def assert_nothing_is_lost_or_doubled(found):
    assert "".join(event.data["text"] for event in found if event.kind == "text") == WORDS
    assert [event.kind for event in found if event.kind != "text"] == ["queued", "started", "call", "usage", "done"]
    assert [event.number for event in found] == sorted({event.number for event in found})


@pytest.mark.slow
@FOLLOWING
def test_a_job_is_followed_across_a_restart_of_redis(steps, follow):
    redis = pytest.importorskip("redis")
    with servers.socket_folder("aquila-redis-") as folder:
        with running_redis(redis, folder) as url:
            huey = RedisHuey("app", url=url)
            publish_jobs(huey, every=0.02)
            result = write_job(huey, Provider(WORDS, steps))
            found, is_under_way = [], threading.Event()
            steps.release(5)
            running = consumer(huey)
            running.__enter__()
            reader = threading.Thread(target=follow, args=(found, is_under_way, huey, result))
            reader.start()
            assert is_under_way.wait(60)
        steps.release(20)  # the model writes on while the storage is away
        with running_redis(redis, folder):
            steps.release(10_000)
            reader.join(60)
            assert not reader.is_alive()
            running.__exit__(None, None, None)
            settle(huey)
            huey.storage.conn.connection_pool.disconnect()
    assert_nothing_is_lost_or_doubled(found)


@FOLLOWING
def test_a_job_is_followed_though_every_connection_to_postgres_is_cut(published, steps, postgres_dsn, follow):
    psycopg = pytest.importorskip("psycopg")
    huey = published("postgres")
    result = write_job(huey, Provider(WORDS, steps))
    found, is_under_way, listeners = [], threading.Event(), []
    reader = threading.Thread(target=follow, args=(found, is_under_way, huey, result))
    with psycopg.connect(postgres_dsn, autocommit=True) as administrator:

        def find(condition):
            others = "from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'"
            return [pid for (pid,) in administrator.execute(f"select pid {others} and {condition}").fetchall()]

        def cut_all():
            cut = set(find("true"))
            for pid in cut:
                administrator.execute("select pg_terminate_backend(%s)", [pid])
            while cut & set(find("true")):
                pass
            return cut

        with consumer(huey), contextlib.closing(SimpleNamespace(close=lambda: steps.release(10_000))):
            steps.release(5)
            reader.start()
            assert is_under_way.wait(60)
            for _ in range(3):
                while not (listeners := find("query like 'listen %'")):
                    pass  # One that waits for wake-ups is there, and cut with the others.
                assert set(listeners) <= cut_all()
                steps.release(15)
            steps.release(10_000)
            reader.join(60)
            assert not reader.is_alive()
    assert_nothing_is_lost_or_doubled(found)


class running_redis:
    """A Redis that keeps what it was told, on a socket in a folder."""

    def __init__(self, redis, folder):
        program = servers.shutil.which("redis-server")
        if program is None:
            pytest.skip("no redis-server here")
        path = str(Path(folder, "socket"))
        place = ["--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
        self._command = [program, *place, "--appendonly", "yes", "--appendfsync", "always"]
        self._client = redis.Redis(unix_socket_path=path)
        self._error = redis.ConnectionError
        self._url = f"unix://{path}?db=0"

    def __enter__(self):
        self._server = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        servers._wait_for(self._client.ping, self._server, self._error)
        return self._url

    def __exit__(self, *exc_info):
        self._client.close()
        os.kill(self._server.pid, signal.SIGTERM)
        self._server.wait()


@pytest.mark.parametrize("kind", STORAGES)
def test_where_the_storage_can_wake_whoever_waits_it_is_asked_seldom(make_aquila_huey, kind):
    assert waking.look_every(make_aquila_huey(kind)) == (2.0 if kind in ("redis", "postgres") else 0.1)

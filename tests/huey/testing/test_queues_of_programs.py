"""Testing mode in the programs that a test starts, on real servers: where a job goes counts, not its Huey's name."""

import pytest

HUEYS = """
import functools, os
from huey import PostgresHuey, PriorityRedisExpireHuey, PriorityRedisHuey, RedisExpireHuey, RedisHuey, SqliteHuey
from redis import ConnectionPool

def on(database):
    return os.environ["REDIS_URL"].replace("db=0", f"db={database}")

HUEYS = {
    "redis": RedisHuey("app", url=on(0)),
    "priority": PriorityRedisHuey("priority", url=on(0)),
    "expire": RedisExpireHuey("expire", url=on(0)),
    "both": PriorityRedisExpireHuey("both", url=on(0)),
    "pool": RedisHuey("pool", connection_pool=ConnectionPool.from_url(on(0))),
    "cleaned": RedisHuey("cleaned-name", url=on(0)),
}
# Of the same names, elsewhere.
OTHERS = {
    "database": RedisHuey("app", url=on(1)),
    "sqlite": SqliteHuey("app", filename="app.db"),
    "name": RedisHuey("appp", url=on(0)),
}
huey = HUEYS["redis"]

def double(number):
    return 2 * number

TASKS = {name: each.task()(double) for name, each in (HUEYS | OTHERS).items()}

def enqueue_all():
    from aquila.errors import LiveCallRefused
    for name, each in (HUEYS | OTHERS).items():
        ways = (
            lambda: TASKS[name](1),
            lambda: TASKS[name].schedule((1,), delay=60),
            lambda: each.add_schedule(TASKS[name].s(1)),
            lambda: each.storage.enqueue(each.serialize_task(TASKS[name].s(1))),
        )
        for way in ways:
            try:
                way()
            except LiveCallRefused:
                pass

def counts(hueys):
    return {name: (each.pending_count(), each.scheduled_count()) for name, each in hueys.items()}

@huey.task()
def spread():
    TASKS["database"](1)
"""


@pytest.fixture
def program_project(pytester, redis_url, monkeypatch):
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(app=HUEYS)
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    return pytester


@pytest.mark.slow
def test_a_script_reaches_the_queues_on_redis_that_are_under_test_with_their_own_storage_and_no_other(program_project):
    program_project.makepyfile(
        test_one="""
        import contextlib, subprocess, sys
        import app
        from aquila.huey.testing import use_test_queue

        def start():
            command = [sys.executable, "-c", "import app; app.enqueue_all()"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done

        def nothing_in(hueys):
            return dict.fromkeys(hueys, (0, 0))

        def test_memory(aquila_refusals):
            start()
            aquila_refusals.forget()
            real = app.HUEYS | app.OTHERS | {"redis": app.RedisHuey("app", url=app.on(0))}
            assert app.counts(real) == nothing_in(real)

        def test_own(aquila_refusals):
            with contextlib.ExitStack() as queues:
                for huey in app.HUEYS.values():
                    queues.enter_context(use_test_queue(huey, storage="own"))
                start()
                aquila_refusals.forget()
                assert app.counts(app.HUEYS) == dict.fromkeys(app.HUEYS, (3, 1))
                assert app.counts(app.OTHERS) == nothing_in(app.OTHERS)
                for huey in app.HUEYS.values():
                    huey.flush()
        """
    )
    program_project.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_program_worker_on_redis_reaches_no_queue_of_the_same_name_in_another_database(program_project):
    program_project.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    program_project.makepyfile(
        test_one="""
        import app, pytest

        @pytest.mark.parametrize("worker", [{"subprocess": True}, {"worker_type": "process"}], ids=str)
        def test_refused(run_consumer, worker):
            with run_consumer(**worker, timeout=240):
                app.spread()

        def test_nothing_is_there():
            assert app.counts(app.OTHERS) == dict.fromkeys(app.OTHERS, (0, 0))
        """
    )
    result = program_project.runpytest_subprocess("-W", "error")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*a job for the queue of the RedisHuey 'app' was refused: it is real, and *",
            "*This queue is 'huey.redis.app' on Redis at /*, database 1. The queues under test that are outside of *",
        ]
    )


@pytest.mark.slow
def test_a_script_reaches_the_tables_on_postgres_that_are_under_test_and_no_other(pytester, postgres_dsn, monkeypatch):
    monkeypatch.setenv("POSTGRES_DSN", postgres_dsn)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    pytester.makepyfile(
        app="""
        import os
        from huey import PostgresHuey

        dsn = os.environ["POSTGRES_DSN"]
        huey, other = PostgresHuey("app", dsn=dsn), PostgresHuey("app", dsn=dsn, table_prefix="other")
        double, halve = huey.task()(lambda number: 2 * number), other.task()(lambda number: number / 2)
        """,
        test_one="""
        import subprocess, sys
        import app

        def test_own(aquila_tasks, aquila_refusals):
            command = [sys.executable, "-c", "import app; app.double(1); app.halve(1)"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 1 and "the PostgresHuey 'app' was refused" in done.stderr, done
            aquila_refusals.forget()
            assert (app.huey.pending_count(), app.other.pending_count()) == (1, 0)
            app.huey.storage.close(), app.other.storage.close()
        """,
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)

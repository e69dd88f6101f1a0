"""One consumer for all tests of a run, seen from a user's project."""

import threading

import pytest
from huey.storage import MemoryStorage

from aquila.huey import MemoryHuey
from aquila.huey.testing import use_test_queue
from aquila.huey.testing.consumers.shared_consumer import share_consumer

APP = """
import threading
import aquila
from huey import SqliteHuey

huey = SqliteHuey("app", filename="queue.db")
threads = set()

@huey.task()
def ask(prompt):
    threads.add(threading.current_thread())
    return aquila.ask(prompt, base_url="https://provider.example/v1", api_key="-").text

@huey.task()
def twice(number):
    done.append(number)
    if number:
        twice(number - 1)

done = []

@huey.task()
def fail():
    raise ValueError("it fails")

@huey.task()
def fall_silent():
    try:
        ask.call_local("nobody knows")
    except Exception:
        pass
    return "swallowed"
"""


@pytest.fixture
def project(run_project):
    run_project.pytester.makepyfile(app=APP)
    run_project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    return run_project


@pytest.mark.slow
def test_one_consumer_serves_each_test_with_its_own_answers_and_errors(project):
    result = project(
        test_app="""
        import pytest
        import app
        from aquila.errors import RemoteTaskError

        @pytest.fixture(scope="session")
        def aquila_consumer_options():
            return {"workers": 2, "timeout": 120}

        @pytest.mark.parametrize("number", [1, 2, 3])
        def test_answers(aquila_consumer, aquila_script, number):
            aquila_script.reply(f"answer {number}")
            assert aquila_consumer.wait(app.ask("hi")) == f"answer {number}"

        def test_all_is_executed_before_the_test_ends(aquila_consumer):
            app.twice(20)

        def test_it_was():
            assert app.done == list(range(20, -1, -1))
            assert len(app.threads) <= 2

        def test_a_task_that_fails(aquila_consumer):
            app.fail()

        def test_a_miss(aquila_consumer, aquila_cassette):
            app.fall_silent()

        def test_errors_of_others_are_forgotten(aquila_consumer, perform_job):
            assert aquila_consumer.errors == []
            assert perform_job(app.twice, 0).state == "complete"

        def test_nothing_is_left(aquila_tasks):
            assert aquila_tasks.pending_count() == 0
        """
    )
    result.assert_outcomes(passed=9, errors=2)
    result.stdout.fnmatch_lines(["E*ValueError: it fails", "*CassetteMiss: *"])


@pytest.mark.slow
def test_it_says_what_it_needs(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(test_app="def test_one(aquila_consumer): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigError: aquila_consumer serves all tests of a run, so its Huey must be known*"])
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    result = project(
        test_app="""
        import pytest
        from huey import MemoryHuey

        @pytest.fixture
        def aquila_huey():
            return MemoryHuey("other")

        def test_one(aquila_consumer): pass
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigError: aquila_consumer works for 'app', *use aquila_run_consumer"])


class _WaitingStorage(MemoryStorage):
    """A queue at which workers wait for tasks, as at Redis, and here for as long as ``blocking`` says so."""

    def __init__(self, name):
        super().__init__(name)
        self.blocking = True
        self.is_waited_at = threading.Event()
        self._end = threading.Event()

    def dequeue(self):
        while (data := super().dequeue()) is None and self.blocking:
            self.is_waited_at.set()
            if self._end.wait(0.01):
                break
        return data

    def end_waits(self):
        self._end.set()


def test_workers_that_wait_in_the_server_of_the_queue_are_idle():
    huey = MemoryHuey("app")
    double = huey.task()(lambda number: 2 * number)
    storage = _WaitingStorage("app")
    with share_consumer(huey, timeout=60) as shared, use_test_queue(huey, storage=storage):
        try:
            with shared.serve() as consumer:
                assert consumer.wait(double(4)) == 8
                storage.is_waited_at.clear()
                assert storage.is_waited_at.wait(60)
        finally:
            storage.end_waits()


def test_the_end_of_a_test_waits_for_a_task_that_executes():
    huey = MemoryHuey("app")
    started, go, looks, done = threading.Event(), threading.Event(), [], []

    @huey.task()
    def work():
        started.set()
        go.wait(60)
        done.append("work")

    with share_consumer(huey, timeout=60) as shared:
        is_idle = shared._is_idle

        def look_and_let_go():
            looks.append(is_idle())
            go.set()
            return looks[-1]

        shared._is_idle = look_and_let_go
        with shared.serve():
            work()
            assert started.wait(60)
    assert (looks[0], done) == (False, ["work"])

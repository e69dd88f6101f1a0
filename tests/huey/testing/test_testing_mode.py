"""The whole run in testing mode, seen from a user's project: what becomes of jobs for real queues, wherever from."""

import pytest

from tests.huey.testing.conftest import APP


def test_where_the_ini_key_names_hueys_no_test_reaches_their_queues(project):
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey second:huey, third:huey fourth:huey\n")
    hueys = {
        "second": "from huey import SqliteHuey\nhuey = SqliteHuey('second', filename='second.db')",
        "third": "from huey import SqliteHuey\nhuey = SqliteHuey('third', filename='third.db', immediate=True)",
        "fourth": "from huey import MemoryHuey\nhuey = MemoryHuey('fourth')",
    }
    task = "\n@huey.task()\ndef double(number):\n    return 2 * number\n"
    project.pytester.makepyfile(**{name: code + task for name, code in hueys.items()})
    result = project(
        test_one="""
        import pytest
        import app, second, third, fourth
        from huey import SqliteHuey
        from aquila.huey.testing import drain_queue

        STORAGES = [each.huey.storage for each in (app, second)]

        @pytest.mark.parametrize("time", [1, 2])
        def test_without_a_fixture(time):
            app.greet("eve")
            second.double(1)
            assert [each.huey.pending_count() for each in (app, second)] == [1, 1]
            assert drain_queue() == {"complete": 1}          # of the first
            assert drain_queue(huey=second.huey) == {"complete": 1}
            assert third.double(2).get() == 4
            third.huey.immediate = False
            third.double(3)
            third.huey.immediate = True
            assert third.double(2).get() == 4
            fourth.double(3)
            assert fourth.huey.pending_count() == 1

        def test_with_a_fixture(perform_job, aquila_tasks):
            assert aquila_tasks is app.huey
            assert perform_job(second.double, 2).value == 4
            second.double(1)

        def test_its_own_storage_is_the_real_one(use_test_queue):
            with use_test_queue(storage="own"):
                assert app.huey.storage is STORAGES[0]

        def test_nothing_reached_the_real_queues():
            real = [*STORAGES, SqliteHuey("third", filename="third.db").storage]
            assert [storage.queue_size() for storage in real] == [0, 0, 0]
        """,
    )
    result.assert_outcomes(passed=5)


@pytest.mark.slow
def test_what_imports_and_fixtures_of_many_tests_enqueue_reaches_no_real_queue(project):
    other = APP.replace('"app", filename="q.db"', '"other", filename="other.db"')
    project.pytester.makeini(
        "[pytest]\npythonpath = .\naquila_huey = app:huey other:huey\nusefixtures = of_the_session\n"
    )
    result = project(
        app=APP + "\ngreet('the application')\n",
        other=other + "\ngreet('another')\n",
        conftest="""
        import pytest
        import app, other
        app.greet("a conftest")

        @pytest.fixture(scope="session")
        def of_the_session():
            app.greet("the session")
            yield
            app.greet("its end")

        def pytest_unconfigure():
            from aquila.huey.testing import all_enqueued
            print("shared:", *(task.args[0] for task in all_enqueued()), flush=True)

        @pytest.hookimpl(wrapper=True)
        def pytest_cmdline_main():
            status = yield
            print("real:", *((type(each.huey.storage).__name__, each.huey.pending_count()) for each in (app, other)))
            return status
        """,
        test_one="""
        import unittest
        from app import greet, huey
        greet("a test module")

        def setup_module():
            greet("a module")

        def teardown_module():
            greet("its end")

        class TestOne(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                greet("a class")

            def test_one(self):
                assert huey.pending_count() == 0
                greet("test")
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "shared: the application a conftest a test module the session a module a class its end its end",
            "real: ('SqliteStorage', 0) ('SqliteStorage', 0)",
        ]
    )


@pytest.mark.slow
def test_immediate_mode_on_a_real_storage_stays_immediate_and_leaves_that_storage_alone(project):
    project.pytester.makepyfile(
        app="""
        from huey import SqliteHuey
        huey = SqliteHuey(filename="q.db", immediate=True, immediate_use_memory=False)
        REAL = huey.storage

        @huey.task()
        def double(number):
            return 2 * number
        """
    )
    result = project(
        test_one="""
        from app import REAL, double, huey

        def test_without_a_fixture():
            assert double(2)() == 4
            double(3), double.schedule((4,), delay=60)
            assert (huey.result_count(), huey.scheduled_count()) == (1, 1)
            assert (REAL.result_store_size(), REAL.schedule_size()) == (0, 0)

        def test_with_a_fixture(drain_queue):
            double(2)
            assert drain_queue() == {"complete": 1}
        """,
    )
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_what_aquila_notes_of_a_job_before_it_is_enqueued_reaches_no_real_storage_either(project):
    project.pytester.makepyfile(
        app="""
        from aquila.huey import SqliteHuey
        from aquila.huey.live import publish_jobs

        huey = SqliteHuey("app", filename="q.db")
        publish_jobs(huey)
        REAL = huey.storage

        @huey.task(unique=True)
        def greet(name):
            return name
        """
    )
    result = project(
        test_one="""
        from app import REAL, greet
        greet("a module")

        def test_one():
            names = [name for name, in REAL.sql("select name from sqlite_master where type = 'table'", results=True)]
            assert {name: rows for name in names if (rows := REAL.sql(f"select * from {name}", results=True))} == {}
        """,
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_a_job_for_another_huey_is_refused_unless_that_is_allowed(project):
    project.pytester.makepyfile(
        other="""
        from huey import MemoryHuey, SqliteHuey
        mail, log, sms = (SqliteHuey(name, filename="other.db") for name in ("mail", "log", "sms"))
        memory = MemoryHuey("memory")
        immediate = SqliteHuey("immediate", filename="other.db", immediate=True)
        send, write, text, keep, now = (
            huey.task()(lambda number: number) for huey in (mail, log, sms, memory, immediate)
        )
        """
    )
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_ignore_hueys = lo*\n")
    result = project(
        test_one="""
        import pytest
        from aquila.huey.testing import use_test_queue
        import app, other

        def test_refused():
            other.send(1)

        def test_refused_though_it_swallows_that():
            try:
                other.send.schedule((1,), delay=60)
            except BaseException:
                pass

        @pytest.mark.aquila(ignore_hueys="sms")
        def test_allowed():
            other.text(1)
            assert other.sms.pending_count() == 1

        def test_let_be(perform_job):
            other.write(1), other.keep(1)
            assert other.now(1).get() == 1
            assert [huey.pending_count() for huey in (other.log, other.memory)] == [1, 1]
            assert perform_job(other.send, 1).value == 1
            with use_test_queue(other.mail):
                other.send(1)

        def test_nothing_was_enqueued():
            assert other.mail.pending_count() == other.mail.scheduled_count() == 0
        """,
    )
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*a job for the queue of the SqliteHuey 'mail' was refused: it is real, and this run is in testing mode",
            "*  job        other.<lambda>(1)",
            "*  test       test_one.py::test_refused",
            "*To put it under test, name it too in tox.ini: aquila_huey = app:huey module:attribute",
            "*To let jobs into its real queue: aquila_ignore_hueys = mail in tox.ini, *(ignore_hueys='mail')*",
        ]
    )


@pytest.mark.slow
def test_no_way_into_the_queue_of_another_huey_of_the_same_name_is_open(project):
    project.pytester.makepyfile(
        other="""
        from huey import BlackHoleHuey, Huey, SqliteHuey

        class Direct(SqliteHuey):
            def enqueue(self, task):
                self.storage.enqueue(self.serialize_task(task))

        same, direct = SqliteHuey("app", filename="other.db"), Direct("app", filename="other.db")
        nowhere, itself = BlackHoleHuey("nowhere"), SqliteHuey("app", filename="./q.db")
        work, send, forget, greet = (
            huey.task(name="same")(lambda number: number) for huey in (same, direct, nowhere, itself)
        )
        nightly = same.periodic_task(lambda now: True)(lambda: None)
        """
    )
    result = project(
        test_one="""
        import datetime
        import pytest
        import app, other
        from aquila.errors import LiveCallRefused
        from aquila.huey.testing import use_test_queue

        STORAGE = app.huey.storage
        LATER = datetime.datetime(2100, 1, 1)
        WAYS = {
            "call": lambda: other.work(1),
            "eta": lambda: other.work.schedule((1,), eta=LATER),
            "map": lambda: other.work.map([1, 2]),
            "pipeline": lambda: other.same.enqueue(other.work.s(1).then(other.work)),
            "schedule": lambda: other.same.add_schedule(other.work.s(1)),
            "periodic": lambda: [other.same.enqueue(task) for task in other.same.read_periodic(None)],
            "storage": lambda: other.same.storage.enqueue(b"a secret"),
            "schedule of the storage": lambda: other.same.storage.add_to_schedule(b"a secret", LATER),
            "overridden": lambda: other.send(1),
            "another object for a queue in memory": lambda: other.greet(1),
            "a real storage that the test sets": lambda: setattr(app.huey, "storage", STORAGE) or app.greet(1),
        }

        @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
        def test_refused(way):
            way()

        @pytest.mark.parametrize("way", list(WAYS.values())[:-2], ids=list(WAYS)[:-2])
        def test_refused_beside_its_own_storage(way):
            with use_test_queue(app.huey, storage="own"):
                way()

        def test_the_storage_from_before_the_run_is_refused():
            app.huey.storage.enqueue(b"it is in memory")
            STORAGE.enqueue(b"a secret")

        def test_let_be():
            other.forget(1)
            with use_test_queue(app.huey, storage="own"):
                other.greet(1)                                  # another object for the queue under test
                assert app.huey.pending_count() == 1
                app.huey.flush()

        @pytest.mark.aquila(ignore_hueys="app")
        def test_allowed():
            other.work(1), other.same.add_schedule(other.work.s(1)), other.same.storage.enqueue(b"")
            assert (other.same.pending_count(), other.same.scheduled_count()) == (2, 1)
            other.same.flush()

        def test_nothing_was_enqueued():
            assert other.same.pending_count() == other.same.scheduled_count() == STORAGE.queue_size() == 0
        """,
    )
    result.assert_outcomes(passed=3, failed=21)
    result.stdout.fnmatch_lines(["*job        a message of 8 bytes", "*as in huey.storage.enqueue(...)."])
    result.stdout.no_fnmatch_line("*secret*refused*")


@pytest.mark.slow  # a process for each run
def test_a_storage_that_hands_on_to_a_real_one_is_let_through_with_it(project):
    result = project(
        test_one="""
        import pytest
        from huey import Huey
        from huey.storage import SqliteStorage
        from aquila.huey.testing import use_test_queue
        import app

        made = []

        @pytest.fixture(autouse=True)
        def closed():
            yield
            while made:
                made.pop().close()

        class Storage(SqliteStorage):
            def __init__(self, name, filename):
                super().__init__(name, filename)
                made.append(self)

        class Sealing(Storage):
            def __init__(self, name="sealing", **options):
                super().__init__(name, filename="outer.db")
                self.shards = [Storage("shard", filename="shard.db")]
                self.shards[0].around = self

            def enqueue(self, data, priority=None):
                self.shards[0].enqueue(data[::-1], priority)

        def test_as_the_storage_of_a_test():
            with use_test_queue(app.huey, storage=Sealing()) as huey:
                app.greet(1)
                huey.storage.enqueue(b"by itself")

        @pytest.mark.aquila(ignore_hueys="sealing")
        def test_where_its_name_is_allowed():
            Huey("sealing", storage_class=Sealing).task()(int)()

        def test_another_one_is_refused_meanwhile():
            with use_test_queue(app.huey, storage=Sealing()):
                Storage("shard", filename="other.db").enqueue(b"")
        """
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_one.py::test_another_one_is_refused_meanwhile*"])


@pytest.mark.slow
def test_a_huey_that_is_made_elsewhere_than_it_is_named_is_refused_until_its_name_is_imported(project):
    project.pytester.makepyfile(
        made=APP + "\nif __import__('os').environ.get('EARLY'):\n    greet('early')\n",
        app="from made import greet, huey",
    )
    test = "import made\nmade.greet('late')\n\ndef test_one(aquila_tasks):\n    assert aquila_tasks is made.huey"
    project(test_one=test).assert_outcomes(passed=1)
    project.pytester._monkeypatch.setenv("EARLY", "1")
    result = project(test_one=test.replace("import made", "import app, made"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*The ini key aquila_huey names app:huey, which is still being imported.*"])


@pytest.mark.slow
def test_an_overridden_fixture_puts_every_test_that_can_ask_it_into_testing_mode(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(
        conftest="""
        import pytest
        import app

        @pytest.fixture
        def aquila_huey():
            return app.huey

        @pytest.fixture(scope="session")
        def shared():
            app.greet("a shared fixture")
        """,
        test_early="""
        from app import greet
        greet("a module")
        """,
        test_one="""
        from app import greet, huey

        def test_without_a_fixture():
            greet("eve")
            assert huey.pending_count() == 1 and type(huey.storage).__name__ == "MemoryStorage"

        def test_with_a_fixture(drain_queue):
            greet("eve")
            assert drain_queue() == {"complete": 1}

        def test_with_what_is_shared(shared):
            pass

        def test_nothing_is_enqueued():
            from huey.storage import SqliteStorage
            assert SqliteStorage("app", filename="q.db").queue_size() == 0
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*a job for the queue of the SqliteHuey 'app' was refused: *"])
    result = project("test_one.py")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["*The fixture aquila_huey says which Hueys are under test, and only tests can ask it.*"]
    )


@pytest.mark.slow
def test_a_test_without_the_parameters_of_an_overridden_fixture_does_not_ask_it(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(
        test_one="""
        import pytest
        import app

        @pytest.fixture(params=[1, 2])
        def number(request):
            return request.param

        @pytest.fixture
        def aquila_huey(number):
            return app.huey

        def test_with_it(drain_queue):
            app.greet("eve")
            assert drain_queue() == {"complete": 1}

        def test_without_it():
            pass

        def test_refused():
            app.greet("eve")
        """
    )
    result.assert_outcomes(passed=3, failed=1)


@pytest.mark.slow
def test_a_program_may_run_pytest_in_testing_mode_twice(project):
    project.pytester.makepyfile(test_it="import app\ndef test_it():\n    app.greet(1)")
    program = project.pytester.makepyfile(
        program="""
        import pytest
        print("codes", *(int(pytest.main(["-W", "error"])) for _ in range(2)))
        """
    )
    assert "codes 0 0" in project.pytester.runpython(program).stdout.str()


@pytest.mark.slow
def test_without_a_huey_under_test_every_queue_is_left_alone(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(
        test_one="""
        import sys
        from app import greet, huey
        greet("eve")

        def test_one():
            greet("eve")
            assert huey.pending_count() == 2
            assert not any(name.startswith("aquila.huey") for name in sys.modules)
        """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_workers_of_xdist_whose_variable_is_in_the_name_of_the_storage_do_not_see_each_other_s_jobs(project):
    name = "import os\n" + APP.replace('"q.db"', "os.environ['PYTEST_XDIST_WORKER'] + '.db'")
    result = project(
        *("-n2", "--dist=each", "-p", "no:cacheprovider"),
        app=name,
        test_both="""
        import os, pathlib, time
        import app, pytest

        @pytest.fixture
        def aquila_huey_storage():
            return "own"

        @pytest.mark.parametrize("time_of_both", [1, 2])
        def test_it(time_of_both, all_enqueued):
            assert all_enqueued() == []
            app.greet("eve")
            pathlib.Path(f"{os.environ['PYTEST_XDIST_WORKER']}-{time_of_both}").touch()
            while not all(pathlib.Path(f"gw{number}-{time_of_both}").exists() for number in (0, 1)):
                time.sleep(0.01)
            assert len(all_enqueued()) == 1
        """,
    )
    result.assert_outcomes(passed=4)


@pytest.fixture
def two_queues(project):
    """A project whose task enqueues another job, for a Huey that is not under test."""
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    project.pytester.makepyfile(
        app=APP
        + "\nmail = SqliteHuey('mail', filename='mail.db')\n"
        + "\n@mail.task()\ndef send(number):\n    return number\n"
        + "\n@huey.task()\ndef answer(number):\n    send(number)\n"
    )
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    "consumer", ["'thread'", "'greenlet'", "'process'", "subprocess=True", "'process', subprocess=True"]
)
def test_a_task_in_a_worker_of_any_kind_reaches_no_other_real_queue(two_queues, monkeypatch, consumer):
    monkeypatch.setenv("PYTHONPATH", str(two_queues.pytester.path))
    result = two_queues(
        test_one=f"""
        import app, pytest

        def test_refused(run_consumer):
            with run_consumer({consumer}, timeout=240):
                app.answer(1)

        @pytest.mark.aquila(ignore_hueys="mail")
        def test_allowed(run_consumer):
            with run_consumer({consumer}, timeout=240):
                app.greet("eve")
                app.answer(1)
            assert app.mail.pending_count() == 1
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*a job for the queue of the SqliteHuey 'mail' was refused: it is real, and *"])


@pytest.mark.slow
def test_a_script_that_a_test_starts_reaches_the_queue_under_test_where_that_has_its_own_storage_only(
    two_queues, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(two_queues.pytester.path))
    result = two_queues(
        test_one="""
        import subprocess, sys
        import app, pytest
        from aquila.huey.testing import use_test_queue

        def start(code):
            return subprocess.run([sys.executable, "-c", f"import app; {code}"], capture_output=True, text=True)

        def test_refused(aquila_tasks, aquila_refusals):
            with use_test_queue(app.huey):
                done = start("app.greet(1)")
            assert done.returncode == 1 and "run of tests that started this process" in done.stderr, done
            assert "aquila_huey_storage = own" in done.stderr

            assert start("app.send(1)").returncode == 1
            assert app.mail.pending_count() == app.huey.pending_count() == 0
            aquila_refusals.forget()

        def test_own(aquila_tasks):
            done = start("app.greet(1); app.mail.immediate = True; app.send(2)")
            assert (done.returncode, app.huey.pending_count(), app.mail.pending_count()) == (0, 1, 0), done

        @pytest.mark.aquila(ignore_hueys="mail")
        def test_allowed():
            done = start("app.send(1)")
            assert (done.returncode, app.mail.pending_count()) == (0, 1), done
        """
    )
    result.assert_outcomes(passed=3)

"""The fixtures, seen from a user's project."""

import pytest

APP = """
import os
from huey import SqliteHuey, crontab
huey = SqliteHuey("app", filename={filename!r}, results=True)

@huey.task(retries=1)
def greet(name, shout=False):
    if name == "nobody":
        raise ValueError("nobody")
    return name.upper() if shout else name

@huey.periodic_task(crontab(hour="2", minute="0"))
def nightly():
    return "night"

@huey.task()
def pid():
    return os.getpid()
"""


@pytest.fixture
def project(run_project):
    """A project with an application, which its ini file names; returns the function that runs its tests."""
    run_project.pytester.makepyfile(app=APP.format(filename=str(run_project.pytester.path / "q.db")))
    run_project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    return run_project


@pytest.mark.slow
def test_every_fixture_works_on_the_huey_of_the_ini_file(project):
    result = project(
        test_all="""
        import datetime as dt, os
        import pytest
        from app import greet, nightly, pid

        def test_perform(perform_job):
            run = perform_job(greet, "eve", shout=True)
            assert run.value == "EVE"
            with pytest.raises(ValueError):
                perform_job(greet, "nobody")

        def test_build(build_task, perform_job, aquila_tasks):
            assert perform_job(build_task(greet, "eve", attempt=2)).attempt == 2
            assert aquila_tasks.pending_count() == 0

        def test_asserts(all_enqueued, assert_enqueued, refute_enqueued):
            greet.schedule(("eve",), delay=60)
            assert len(all_enqueued()) == 1
            assert_enqueued(greet, name="eve", scheduled_in=60)
            refute_enqueued(greet, name="adam")

        def test_the_queue_is_empty_again(all_enqueued):
            assert all_enqueued() == []

        def test_drain(drain_queue):
            greet("eve")
            assert drain_queue() == {"complete": 1}

        def test_modes(use_test_queue):
            with use_test_queue("inline"):
                assert greet("eve").get() == "eve"

        def test_periodic(run_periodic):
            (run,) = run_periodic(dt.datetime(2026, 1, 1, 2, 0))
            assert run.value == "night"

        def test_consumer(run_consumer):
            with run_consumer() as consumer:
                assert consumer.wait(greet("eve")) == "eve"

        def test_nothing_reached_the_real_queue():
            from app import huey
            assert huey.pending_count() == 0 and huey.result_count() == 0
    """
    )
    result.assert_outcomes(passed=9)


@pytest.mark.slow
def test_a_task_that_asks_no_model_opens_no_scope_and_patches_nothing(project):
    result = project(
        test_quiet="""
        import sys
        from huey.api import Task
        from app import greet, huey

        def test_quiet(perform_job, monkeypatch):
            assigned = []
            for kind in (type(huey), Task):
                monkeypatch.setattr(
                    kind, "__setattr__", lambda self, *item: assigned.append(item) or object.__setattr__(self, *item)
                )
            assert perform_job(greet, "eve").value == "eve"
            assert {"execute", "_emit", "_signal", "_run_post_execute", "_requeue_task"}.isdisjoint(dict(assigned))
            heavy = ("aquila.recording.scope", "aquila.recording.sessions.session", "httpx", "openai")
            assert [name for name in sys.modules if name.startswith(heavy)] == []
    """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_the_huey_and_its_storage_can_be_given_by_overriding(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(
        test_own="""
        import os
        import pytest
        from app import pid

        @pytest.fixture
        def aquila_huey():
            return pid.huey

        @pytest.fixture
        def aquila_huey_storage():
            return "own"

        def test_processes(run_consumer):
            with run_consumer("process") as consumer:
                assert consumer.wait(pid()) != os.getpid()

        def test_program(run_consumer):
            with run_consumer(subprocess="app.huey", timeout=240) as consumer:
                assert consumer.wait(pid()) != os.getpid()
    """
    )
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_program_runs_the_huey_of_the_ini_file_on_its_own_storage(project):
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    result = project(
        test_program="""
        import os
        from app import pid

        def test_program(run_consumer):
            with run_consumer(subprocess=True, timeout=240) as consumer:
                assert consumer.wait(pid()) != os.getpid()
    """
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_without_a_huey_the_ini_key_is_named(project):
    uses = "def test_one(aquila_perform_job): pass"
    for ini, message in [
        ("", "*aquila_huey = myapp.tasks:huey*"),
        ("aquila_huey = app.huey\n", "*'app.huey', which is no path of a Huey*"),
        ("aquila_huey = app:queue\n", "*app has no 'queue'*"),
        ("aquila_huey = ap:huey\n", "*aquila_huey is 'ap:huey', and there is no module 'ap'; *pythonpath = .*"),
        ("aquila_huey = app.tasks:huey\n", "*is 'app.tasks:huey', and there is no module 'app.tasks'; *"),
        ("aquila_huey = broken:huey\n", "*No module named 'no_such_library'*"),
    ]:
        project.pytester.makeini(f"[pytest]\npythonpath = .\n{ini}")
        result = project(test_one=uses, broken="import no_such_library")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([message])


@pytest.mark.slow
def test_a_project_without_a_huey_has_only_the_names_with_the_prefix(project):
    project.pytester.makeini("[pytest]\npythonpath = .\n")
    result = project(
        test_other="""
        import pytest

        class TestOfItsOwn:
            @pytest.fixture
            def perform_job(self):
                return "the project's"

            def test_it(self, perform_job):
                assert perform_job == "the project's"

        def test_missing(drain_queue):
            pass
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["drain_queue is the short name of aquila_drain_queue. To use it, name the Huey*"])


@pytest.mark.slow
def test_where_a_huey_is_under_test_both_names_work_and_the_project_s_own_come_first(project):
    result = project(
        conftest="""
        import pytest

        @pytest.fixture
        def build_task():
            return "the project's"
        """,
        test_one="""
        from app import greet

        def test_one(aquila_perform_job, perform_job, build_task):
            assert aquila_perform_job is perform_job and perform_job(greet, "eve").value == "eve"
            assert build_task == "the project's"
        """,
        test_two="""
        import pytest

        @pytest.fixture(scope="module")
        def too_wide(perform_job): pass

        def test_two(too_wide): pass
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["ScopeMismatch: *", "*  def perform_job(*aquila_perform_job)"])


@pytest.mark.parametrize(
    ("way", "overrides"), [("pytest_plugins", False), ("addopts", False), ("pytest_plugins", True)]
)
@pytest.mark.slow
def test_fixtures_of_the_project_s_plugins_come_before_the_short_names(project, way, overrides):
    ini = "" if overrides else "aquila_huey = app:huey\n"
    ini += "addopts = -p fx\n" if way == "addopts" else ""
    project.pytester.makeini(f"[pytest]\npythonpath = .\n{ini}")
    project.pytester.makepyfile(
        fx="import pytest\n\n@pytest.fixture\ndef perform_job():\n    return 'the project\\'s'\n"
    )
    conftest = "import pytest\nimport app\n" + ("pytest_plugins = ['fx']\n" if way == "pytest_plugins" else "")
    conftest += "@pytest.fixture\ndef build_task():\n    return 'the conftest\\'s'\n"
    if overrides:
        conftest += "@pytest.fixture\ndef aquila_huey():\n    return app.huey\n"
    result = project(
        conftest=conftest,
        test_one="""
        from app import greet

        def test_one(perform_job, build_task, drain_queue):
            assert (perform_job, build_task) == ("the project's", "the conftest's")
            greet("eve")
            assert drain_queue() == {"complete": 1}
        """,
    )
    result.assert_outcomes(passed=1)


@pytest.mark.slow
def test_an_object_in_the_ini_file_that_is_no_huey_is_named(project):
    pytest.importorskip("gevent")
    project.pytester.makepyfile(app="from huey.contrib.mini import MiniHuey\nhuey = MiniHuey()")
    result = project(test_one="def test_one(): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigError: huey.contrib.mini.MiniHuey is no huey.Huey: *"])
    assert "AttributeError" not in result.stdout.str()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("report", "storage", "outcomes"),
    [("fail", "memory", {"errors": 2}), ("ignore", "memory", {}), ("warn", "own", {"errors": 2})],
)
def test_a_task_left_behind_is_reported_on_request(project, report, storage, outcomes):
    project.pytester.makeini(
        "[pytest]\npythonpath = .\naquila_huey = app:huey mail:huey\n"
        f"aquila_huey_storage = {storage}\naquila_huey_leftover = {report}\n"
    )
    result = project(
        mail="""
        from huey import MemoryHuey
        huey = MemoryHuey("mail")

        @huey.task()
        def send():
            pass
        """,
        test_one="""
        import pytest
        from app import greet
        from mail import send

        def test_leaves(aquila_tasks):
            greet("eve")

        def test_of_another_huey_leaves():
            send()

        def test_takes(aquila_tasks, drain_queue):
            greet("eve")
            drain_queue()

        def test_fails(aquila_tasks):
            greet("eve")
            assert 0

        def test_skips():
            greet("eve")
            pytest.skip("not today")
    """,
    )
    result.assert_outcomes(passed=3, failed=1, skipped=1, **outcomes)
    if outcomes:
        result.stdout.fnmatch_lines(
            ["*test_leaves leaves tasks behind*", "*app.greet*", "*leaves tasks behind*", "*mail.send*"]
        )


@pytest.mark.slow
def test_a_failing_assertion_shows_the_run_or_what_is_due(project):
    result = project(
        test_one="""
        import datetime
        from aquila.huey import MemoryHuey
        from aquila.huey.testing import use_test_queue
        from app import greet

        def test_one(perform_job, run_periodic):
            assert run_periodic(datetime.datetime(2026, 1, 1)) == []
            with use_test_queue(MemoryHuey("another")):  # which is closed before the report is written
                assert run_periodic(datetime.datetime(2026, 1, 2), queue="another") == []
            assert perform_job(greet, "eve").value == "adam"
    """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Captured task run*",
            "<TaskRun app.greet complete on attempt 1 in *",
            "*Captured run_periodic teardown*",
            "nothing of 'app' was due at 2026-01-01 00:00 UTC. Due next:",
            "  2026-01-01 02:00  app.nightly",
            "nothing of 'another' was due at 2026-01-02 00:00 UTC. It has no periodic task.",
        ]
    )


@pytest.mark.slow
def test_huey_is_not_imported_by_a_run_that_does_not_use_it(project):
    project.pytester.makeini("[pytest]\n")
    result = project(
        test_one="""
        import sys
        def test_one():
            assert "huey" not in sys.modules and "aquila.huey" not in sys.modules
    """
    )
    result.assert_outcomes(passed=1)


def test_own_storage_is_open_before_the_fixtures_that_enqueue_or_start_a_program(project):
    result = project(
        test_one="""
        import json, os
        import pytest
        from app import greet

        @pytest.fixture
        def aquila_huey_storage():
            return "own"

        @pytest.fixture
        def enqueued():
            return greet("eve")

        @pytest.fixture
        def told_to_programs():
            return json.loads(os.environ["AQUILA_QUEUES"])

        def test_one(enqueued, told_to_programs, drain_queue):
            assert told_to_programs
            assert drain_queue() == {"complete": 1}
        """,
    )
    result.assert_outcomes(passed=1)

"""The fixtures, seen from a user's project."""

import pytest

from tests.huey.testing.conftest import APP


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

        def test_misspelt(drain_quue):
            pass
        """,
    )
    result.assert_outcomes(passed=1, errors=2)
    assert result.stdout.str().count("is the short name of") == 1
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
    nightly = '@huey.periodic_task(crontab(hour="2", minute="0"))\ndef nightly():\n    pass\n'
    result = project(
        app=f"from huey import crontab\n{APP}\n{nightly}",
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
    """,
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

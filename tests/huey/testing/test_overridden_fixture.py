"""Projects that override the fixture ``aquila_huey``, with one Huey or several, anywhere and with any scope."""

import pytest

APPS = {
    name: f"""
from huey import SqliteHuey
huey = SqliteHuey({name!r}, filename="{name}.db")

@huey.task()
def run(number):
    return 2 * number

@huey.periodic_task(lambda now: True)
def tick():
    return {name!r}
"""
    for name in ("app", "mail", "sms")
}


@pytest.fixture
def project(run_project):
    """A project with three applications, of which its ini file names none; returns the function that runs its tests."""
    run_project.pytester.makepyfile(**APPS)
    run_project.pytester.makeini("[pytest]\npythonpath = .\n")
    return run_project


EVERY_FIXTURE = """
import pytest
import app, mail, sms
from aquila.errors import ConfigError

def test_perform(perform_job, build_task):
    assert perform_job(mail.run, 2).value == perform_job(build_task(app.run, 2)).value == 4

def test_queues(all_enqueued, assert_enqueued, refute_enqueued, assert_unique, drain_queue, run_periodic, aquila_tasks):
    assert aquila_tasks is app.huey
    app.run(1), mail.run(2), mail.run(3)
    assert_enqueued(app.run, 1), assert_enqueued(mail.run, 2), refute_enqueued(app.run, 2), assert_unique(mail.run, 3)
    assert [len(all_enqueued()), len(all_enqueued(queue="mail"))] == [1, 2]
    assert drain_queue(queue="mail") == {"complete": 2}
    assert drain_queue() == {"complete": 1}
    assert [run.value for run in run_periodic() + run_periodic(queue="mail")] == ["app", "mail"]

def test_consumers(run_consumer):
    with run_consumer() as first, run_consumer(queue="mail") as second:
        assert (first.wait(app.run(1)), second.wait(mail.run(2))) == (2, 4)

def test_own(use_test_queue):
    with use_test_queue(queue="mail", storage="own"), use_test_queue(storage="own"):
        app.run(1), mail.run(2)
        assert [type(each.huey.storage).__name__ for each in (app, mail)] == ["SqliteStorage"] * 2
        app.huey.flush(), mail.huey.flush()

def test_without_a_fixture():
    app.run(1), mail.run(2)
    assert (app.huey.pending_count(), mail.huey.pending_count()) == (1, 1)

def test_another_is_refused():
    sms.run(1)

def test_nothing_was_enqueued():
    from huey.storage import SqliteStorage
    assert [SqliteStorage(name, filename=f"{name}.db").queue_size() for name in ("app", "mail", "sms")] == [0, 0, 0]
"""


def test_every_fixture_works_on_several_hueys(project):
    conftest = (
        "import pytest\nimport app, mail\n\n@pytest.fixture\ndef aquila_huey():\n    return [app.huey, mail.huey]\n"
    )
    result = project(conftest=conftest, test_one=EVERY_FIXTURE)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["*a job for the queue of the SqliteHuey 'sms' was refused: *"])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("-n2", "-p", "no:cacheprovider")], ids=["one process", "xdist"])
def test_each_folder_module_and_class_has_the_hueys_of_its_own_fixture(project, arguments):
    override = "import pytest\n\n@pytest.fixture(scope={scope!r})\ndef aquila_huey({self}):\n    return {given}\n"
    tests = """
import pytest
import app, mail, sms
from aquila.huey.testing import all_enqueued

def test_its_own(aquila_tasks):
    assert aquila_tasks is {first}.huey
    {first}.run(1)
    assert len(all_enqueued(queue={first!r})) == 1

def test_another():
    {other}.run(1)
"""
    for folder, given, scope in (("one", '"app:huey"', "session"), ("two", '["mail:huey", "sms:huey"]', "package")):
        project.pytester.mkdir(folder).joinpath("conftest.py").write_text(
            override.format(given=given, scope=scope, self="")
        )
    folders = {"one": ("app", "mail"), "two": ("mail", "app")}
    for folder, (first, other) in folders.items():
        (project.pytester.path / folder / f"test_{folder}.py").write_text(tests.format(first=first, other=other))
    (project.pytester.path / "two" / "test_module.py").write_text(
        override.format(given='"sms:huey"', scope="module", self="") + tests.format(first="sms", other="mail")
    )
    in_a_class = override.format(given='["app:huey"]', scope="function", self="self") + (
        "\ndef test_its_own(self, aquila_tasks):\n    assert aquila_tasks.name == 'app'\n"
    )
    (project.pytester.path / "two" / "test_class.py").write_text(
        "import pytest\n\nclass TestOne:\n" + "".join(f"    {line}\n" for line in in_a_class.splitlines()[1:])
        + "\ndef test_outside_of_the_class(aquila_tasks):\n    assert aquila_tasks.name == 'mail'\n"
    )  # fmt: skip
    result = project(*arguments)
    result.assert_outcomes(passed=5, failed=3)


@pytest.mark.slow
def test_the_fixture_may_add_to_the_huey_of_the_ini_file_and_be_parametrized(project):
    project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    folder = project.pytester.mkdir("folder")
    folder.joinpath("conftest.py").write_text(
        "import pytest\n\n@pytest.fixture\ndef aquila_huey(aquila_huey):\n    return ['mail:huey', aquila_huey]\n"
    )
    folder.joinpath("test_folder.py").write_text(
        "import app, mail, unittest\n\nclass TestBoth(unittest.TestCase):\n    def test_it(self):\n"
        "        app.run(1), mail.run(2)\n"
        "        self.assertEqual([app.huey.pending_count(), mail.huey.pending_count()], [1, 1])\n"
    )
    result = project(
        test_one="""
        import pytest
        import app, mail

        FORMS = ["mail:huey", ["app:huey", mail.huey], ("app:huey", mail.huey, app.huey), "app:huey, mail:huey"]

        @pytest.mark.parametrize("aquila_huey", FORMS)
        def test_parametrized(aquila_huey, all_enqueued):
            mail.run(1)
            assert len(all_enqueued(queue="mail")) == 1
        """
    )
    result.assert_outcomes(passed=5)


@pytest.mark.slow
@pytest.mark.parametrize("named_by", ["the ini key", "the fixture"])
def test_what_another_fixture_of_a_test_enqueues_is_in_the_queue_of_that_test(project, named_by):
    conftest = """
import pytest
import app, mail

@pytest.fixture(autouse=True)
def filled():
    app.run(1), mail.run(2)
"""
    in_memory = APPS["mail"].replace("SqliteHuey", "MemoryHuey").replace(', filename="mail.db"', "")
    immediate = APPS["app"].replace('"app.db"', '"app.db", immediate=True')
    project.pytester.makepyfile(mail=in_memory, app=immediate)
    if named_by == "the ini key":
        project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey mail:huey\n")
    else:
        conftest += "\n@pytest.fixture\ndef aquila_huey():\n    return ['app:huey', 'mail:huey']\n"
    result = project(
        conftest=conftest,
        test_one="""
        import app, mail

        def test_with_fixtures(assert_enqueued, drain_queue):
            assert_enqueued(app.run, 1), assert_enqueued(mail.run, 2)
            assert drain_queue() == {"complete": 1}

        def test_without_a_fixture():
            assert [app.huey.pending_count(), mail.huey.pending_count()] == [0, 1]      # the first one is immediate
        """,
    )
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_huey_that_is_made_anew_for_each_test_is_under_test(project):
    result = project(
        conftest="""
        import pytest
        from huey import SqliteHuey

        @pytest.fixture
        def aquila_huey(tmp_path):
            hueys = [SqliteHuey(name, filename=str(tmp_path / "q.db")) for name in ("app", "mail")]
            for huey in hueys:
                huey.task(name="run")(lambda number: number)
            yield hueys
            assert [huey.pending_count() for huey in hueys] == [0, 0]   # here they have their own storage again
            for huey in hueys:
                huey.storage.close()
        """,
        test_one="""
        import pytest

        @pytest.mark.parametrize("time", [1, 2])
        def test_it(aquila_huey, all_enqueued, time):
            for huey in aquila_huey:
                (run,) = huey._registry._registry.values()
                huey.enqueue(run((1,)))
            assert [len(all_enqueued()), len(all_enqueued(queue="mail"))] == [1, 1]
        """,
    )
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_a_program_worker_finds_a_huey_that_the_fixture_names_by_its_path(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(project.pytester.path))
    result = project(
        conftest="""
        import pytest

        @pytest.fixture
        def aquila_huey():
            return ["app:huey", "mail:huey"]
        """,
        test_one="""
        import app, mail

        def test_it(use_test_queue, run_consumer):
            with use_test_queue(queue="mail", storage="own"):
                with run_consumer(subprocess=True, queue="mail", timeout=240) as consumer:
                    assert consumer.wait(mail.run(2)) == 4
        """,
    )
    result.assert_outcomes(passed=1)


NO_HUEYS = [
    ("None", "gives None: return a Huey, its path"),
    ("[]", "gives no Huey, but []: return a Huey, its path"),
    ("{'app': app.huey}", "gives a dict: return a Huey, its path"),
    ("[app.huey, app.run]", "gives a TaskWrapper: return a Huey, its path"),
    ("'app:hueys'", "gives 'app:hueys', and app has no 'hueys'"),
    ("'app.huey'", "gives 'app.huey', which is no path of a Huey: write module:attribute"),
]


@pytest.mark.slow
def test_what_is_no_huey_is_refused_with_the_place_of_the_fixture(project):
    classes = [
        f"class Test{number}:\n    @pytest.fixture\n    def aquila_huey(self):\n        return {given}\n"
        "    def test_it(self): ...\n"
        for number, (given, _) in enumerate(NO_HUEYS)
    ]
    result = project(test_one="\n".join(["import pytest", "import app", *classes]))
    result.assert_outcomes(errors=len(NO_HUEYS))
    for _, message in NO_HUEYS:
        result.stdout.fnmatch_lines_random(
            [f"*the fixture aquila_huey (*test_one.py:*) {message.replace('[', '[[]')}*"]
        )


@pytest.mark.slow
def test_a_conftest_that_overrides_the_fixture_has_its_hooks_in_testing_mode(project):
    result = project(
        conftest="""
        import pytest
        import app

        @pytest.fixture
        def aquila_huey():
            return app.huey

        def pytest_configure():
            app.run(1)
        """,
        test_one="def test_it():\n    pass",
    )
    assert result.ret != 0
    assert "a job for the queue of the SqliteHuey 'app' was refused" in result.stderr.str() + result.stdout.str()


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("-n1", "-p", "no:cacheprovider")], ids=["one process", "xdist"])
def test_what_the_import_of_such_a_conftest_enqueues_is_let_through_with_workers_as_without(project, arguments):
    done = project(
        *arguments,
        conftest="import pytest, app\napp.run(1)\n@pytest.fixture\ndef aquila_huey():\n    return app.huey\n",
        test_it="def test_it(aquila_tasks):\n    assert aquila_tasks.pending_count() == 0\n",
    )
    done.assert_outcomes(passed=1)


@pytest.mark.slow  # a process for each run
def test_a_huey_that_a_conftest_imports_under_the_name_of_the_fixture_overrides_nothing(project):
    done = project(
        conftest="from app import huey as aquila_huey\n",
        test_it="import app\ndef test_it():\n    app.run(1)\n    assert app.huey.pending_count() == 1\n",
    )
    done.assert_outcomes(passed=1)

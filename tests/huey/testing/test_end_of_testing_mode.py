"""How long testing mode lasts, and in what: threads and functions that outlive the run, programs, runs within a run."""

import sqlite3

import pytest

APP = """
from huey import SqliteHuey
huey, other = SqliteHuey("app", filename={file!r}), SqliteHuey("other", filename={file!r})
greet, send = huey.task()(lambda name: name), other.task(name="send")(lambda name: name)

def try_both(when):
    for task in (greet, send):
        try:
            task(when)
        except BaseException as error:
            print(when, type(error).__name__, flush=True)
        else:
            print(when, "enqueued", flush=True)
"""
LEAVES_SOMETHING = """
import atexit, subprocess, sys, threading
import app

def test_that_leaves_something():
    def go_on():
        threading.main_thread().join()
        app.try_both("thread")

    threading.Thread(target=go_on).start()
    atexit.register(app.try_both, "atexit")
    {more}
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(app=APP.format(file=str(pytester.path / "q.db")))
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    return pytester


def count_real_jobs(project):
    with sqlite3.connect(project.path / "q.db") as connection:
        (count,) = connection.execute("select count(*) from task").fetchone()
    connection.close()
    return count


@pytest.mark.slow
def test_what_outlives_the_run_reaches_no_real_queue_until_the_interpreter_ends(project):
    child = 'atexit.register(subprocess.run, [sys.executable, "-c", "import app; app.try_both(\'child\')"])'
    project.makepyfile(test_one=LEAVES_SOMETHING.format(more=child))
    result = project.runpytest_subprocess("-W", "error", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines_random([f"{when} LiveCallRefused" for when in ("thread", "atexit", "child") * 2])
    result.stderr.fnmatch_lines_random(
        [f"aquila: after the tests, a job for the queue of the SqliteHuey '{name}' was *" for name in ("app", "other")]
    )
    assert count_real_jobs(project) == 0


@pytest.mark.slow
def test_a_program_that_has_called_pytest_has_its_queues_back_and_what_the_run_has_left_has_not(project):
    program = project.makepyfile(
        test_one=LEAVES_SOMETHING.format(more=""),
        program="""
        import subprocess, sys
        import app, pytest
        app.try_both("before")
        assert pytest.main(["-q", "-s", "test_one.py"]) == 0
        app.try_both("after")
        subprocess.run([sys.executable, "-c", "import app; app.try_both('child')"], check=True)
        """,
    )
    result = project.runpython(program.with_name("program.py"))
    result.stdout.fnmatch_lines_random(
        ["before enqueued", "after enqueued", "child enqueued", "thread LiveCallRefused", "atexit LiveCallRefused"] * 2
    )
    assert count_real_jobs(project) == 6


@pytest.mark.slow
def test_a_run_within_a_test_reaches_no_real_queue_whatever_its_own_ini_file_says(project):
    inner = project.mkdir("inner")
    inner.joinpath("pytest.ini").write_text("[pytest]\n")
    inner.joinpath("test_inner.py").write_text("import app\n\ndef test_inner():\n    app.try_both('inner')\n")
    project.makepyfile(
        test_one="""
        import subprocess, sys
        import pytest
        OPTIONS = ["-q", "-s", "--rootdir=inner", "-c", "inner/pytest.ini", "inner/test_inner.py"]

        def test_in_a_process_of_its_own():
            done = subprocess.run([sys.executable, "-m", "pytest", *OPTIONS], capture_output=True, text=True)
            assert done.stdout.count("inner LiveCallRefused") == 2, done

        def test_in_this_process(capsys):
            pytest.main(OPTIONS)
            assert capsys.readouterr().out.count("inner LiveCallRefused") == 1     # the other one has a queue in memory
        """
    )
    project.runpytest_subprocess("-W", "error", "test_one.py").assert_outcomes(passed=2)
    assert count_real_jobs(project) == 0
